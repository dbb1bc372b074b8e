// @ts-check
// Rehearses over and over on the rig's block devices and holds every run to what a rehearsal promises.
// npm run soak [-- RUNS]; on another kernel: npm run rig -- --kernel 6.12 --timeout 3000 node test/kernel/soak.mjs RUNS
import { spawnSync } from 'node:child_process';

const runs = Number(process.argv[2] ?? 50);
const MIGRATE = ['bin/svq.js', 'migrate', '--from', 'vblk0', '--to', 'vblk1', '--destroy', '--json'];

/** @param {import('vhost-vdpa').MigrationReport} report */
function broken({ verdict, workload }) {
  const inFlight = workload.in_flight_at_switch > 0 && workload.in_flight_at_blackout > 0;
  return verdict !== 'pass' || !inFlight || workload.available_in_blackout === 0;
}

let failed = 0;
/** @type {number[]} */
const blackouts = [];
for (let run = 1; run <= runs; run++) {
  const placement = run % 2 === 0 ? ['--relocated'] : [];
  const { stdout, stderr } = spawnSync(process.execPath, [...MIGRATE, '--seed', String(run), ...placement], {
    encoding: 'utf8',
  });
  const report = JSON.parse(stdout);
  const bad = report.schema !== 'svq.migrate/1' || broken(report);
  if (bad) failed++;
  else blackouts.push(report.blackout_ms);
  process.stdout.write(
    `${run} ${bad ? `FAILED ${stdout}${stderr}` : `pass ${report.placement} ${report.workload.completed} requests`}\n`,
  );
}
blackouts.sort((a, b) => a - b);
const median = blackouts[blackouts.length >> 1]?.toFixed(1) ?? '-';
process.stdout.write(`median blackout ${median} ms (in the rig: only a ratio within one run means something)\n`);
process.stdout.write(`${runs - failed} passed, ${failed} failed\n`);
process.exitCode = failed === 0 ? 0 : 1;
