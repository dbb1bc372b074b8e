#!/usr/bin/env node
// @ts-check
// npm test: builds, checks, runs the host's tiers and then the kernel tier on every kernel of MATRIX. Nothing is skipped
// silently: a tier that could not run is a failure. The last line is the sum.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runInRig } from './rig/rig.mjs';

/**
 * A boot of the kernel tier.
 * @typedef {{ name: string, kernel: string, params?: string[], env?: Record<string, string>, files?: string[] }} Boot
 */

/** @type {Boot[]} */
const MATRIX = [
  { name: 'Linux 7.2', kernel: '7.2' },
  { name: 'Linux 6.12', kernel: '6.12', env: { VHOST_VDPA_HOTPLUG_STEPS: '400' } },
  // Simulators that pin what they map, with the 8 MiB memlock limit every root has.
  {
    name: 'Linux 7.2, pinned memory',
    kernel: '7.2',
    params: ['vdpa_sim.use_va=0'],
    env: { VHOST_VDPA_PINNED: '1' },
    files: ['coverage', 'attach', 'migrate', 'switching'],
  },
  {
    name: 'Linux 7.2, pinned memory, 1024 entries',
    kernel: '7.2',
    params: ['vdpa_sim.use_va=0', 'vhost_vdpa.max_iotlb_entries=1024'],
    env: { VHOST_VDPA_PINNED: '1' },
    files: ['coverage', 'pinned'],
  },
  // Parents that take one map at a time (.dma_map) instead of whole tables (.set_map).
  {
    name: 'Linux 7.2, map by map',
    kernel: '7.2',
    params: ['vdpa_sim.batch_mapping=0'],
    env: { VHOST_VDPA_HOTPLUG_STEPS: '400' },
    files: ['coverage', 'memory', 'hotplug', 'switching', 'migrate'],
  },
  {
    name: 'Linux 7.2, 8 entries in a device',
    kernel: '7.2',
    params: ['vdpa_sim.max_iotlb_entries=8'],
    files: ['coverage', 'limits'],
  },
  {
    name: 'Linux 7.2, 8 entries in vhost',
    kernel: '7.2',
    params: ['vhost_vdpa.max_iotlb_entries=8'],
    files: ['coverage', 'limits'],
  },
];
/** Files that need a boot of their own: other boots pass them over. */
const SPECIAL = ['limits', 'pinned'];
const BOOT_SECONDS = 600;
const DEADLINE_SECONDS = 3;
const VITEST = 'node_modules/vitest/vitest.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const total = { passed: 0, failed: 0 };

/** @param {string} text */
const say = text => process.stdout.write(`${text}\n`);

/**
 * Counts a check that is no vitest test.
 * @param {string} name
 * @param {string[]} argv
 */
function check(name, argv) {
  const [command, ...args] = argv;
  const { status, stdout, stderr } = spawnSync(/** @type {string} */ (command), args, { cwd: root, encoding: 'utf8' });
  total[status === 0 ? 'passed' : 'failed']++;
  say(`${status === 0 ? 'ok    ' : 'FAILED'} ${name}`);
  if (status !== 0) say(`${stdout}${stderr}`);
  return status === 0;
}

/**
 * @typedef {{ fullName: string, status: string, failureMessages: string[], duration?: number }} Assertion
 * @typedef {{ numPassedTests: number, numFailedTests: number, numPendingTests: number, success: boolean,
 *   testResults: { name: string, status: string, message: string, assertionResults: Assertion[] }[] }} Results
 */

/**
 * Adds the results of a vitest run and prints its failures.
 * @param {string} name
 * @param {Results} results
 */
function count(name, results) {
  // A file that failed to load has no tests to count.
  const broken = results.testResults.filter(file => file.status === 'failed' && file.assertionResults.length === 0);
  const failed = results.numFailedTests + broken.length;
  total.passed += results.numPassedTests;
  total.failed += failed;
  say(
    `${failed === 0 ? 'ok    ' : 'FAILED'} ${name}: ${results.numPassedTests} passed, ${failed} failed, ${results.numPendingTests} not for this tier`,
  );
  for (const file of broken) say(`  ${file.name}\n${file.message}`);
  for (const test of results.testResults.flatMap(file => file.assertionResults)) {
    if (test.status === 'failed') say(`  ${test.fullName}\n${test.failureMessages.join('\n')}`);
  }
}

function runHostTiers() {
  const folder = mkdtempSync(join(tmpdir(), 'vhost-vdpa-test-'));
  const output = join(folder, 'results.json');
  try {
    const args = [VITEST, 'run', '--reporter=json', `--outputFile=${output}`];
    const { status, stderr } = spawnSync(process.execPath, args, { cwd: root, encoding: 'utf8', maxBuffer: 2 ** 26 });
    if (status !== 0) process.stderr.write(stderr);
    count('unit, property and CLI tests', JSON.parse(readFileSync(output, 'utf8')));
  } catch (error) {
    fail('unit, property and CLI tests', error);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** @param {Boot} boot */
async function runKernelTier({ name, kernel, params = [], env = {}, files = [] }) {
  const passOver = SPECIAL.flatMap(file => ['--exclude', `test/kernel/${file}.test.ts`]);
  const title = `kernel tier on ${name}`;
  try {
    const vitest = [
      VITEST,
      'run',
      '--configLoader',
      'runner',
      '--config',
      'vitest.kernel.config.ts',
      '--reporter=json',
    ];
    const { code, stdout, stderr, timedOut } = await runInRig({
      kernel,
      params,
      env,
      timeoutSeconds: BOOT_SECONDS,
      command: ['node', ...vitest, ...(files.length > 0 ? files : passOver)],
      say: message => process.stderr.write(`rig: ${message}\n`),
    });
    process.stdout.write(stderr.toString().replace(/^(?!covered:).*\n/gm, ''));
    if (timedOut) throw new Error(`it did not end within ${BOOT_SECONDS} s`);
    const text = stdout.toString();
    if (!text.includes('"numTotalTests"')) throw new Error(`it ended with code ${code}:\n${text}${stderr}`);
    /** @type {Results} */
    const results = JSON.parse(text.slice(text.indexOf('{"num')));
    if (results.numPassedTests === 0) throw new Error(`no test ran:\n${stderr}`);
    count(title, results);
  } catch (error) {
    fail(title, error);
  }
}

/**
 * @param {string} name
 * @param {unknown} error
 */
function fail(name, error) {
  total.failed++;
  say(`FAILED ${name}: ${error instanceof Error ? error.message : error}`);
}

const built = check('build', [process.execPath, 'node_modules/typescript/bin/tsc', '-p', 'tsconfig.json']);
check('lint and format', [process.execPath, 'node_modules/@biomejs/biome/bin/biome', 'ci', '.']);
check('types of the tests', [
  process.execPath,
  'node_modules/typescript/bin/tsc',
  '-p',
  'test/tsconfig.json',
  '--noEmit',
]);
/** As many boots at a time as there are processors, two at most: a boot waits for threads more than it computes. */
async function runKernelTiers() {
  const boots = [...MATRIX];
  const next = async () => {
    for (let boot = boots.shift(); boot; boot = boots.shift()) await runKernelTier(boot);
  };
  await Promise.all(Array.from({ length: Math.min(2, availableParallelism()) }, next));
}

/** A boot that does not end is ended, command and kernel. */
async function checkDeadline() {
  const name = 'a boot has a deadline';
  const started = performance.now();
  try {
    const { timedOut } = await runInRig({ kernel: '7.2', timeoutSeconds: DEADLINE_SECONDS, command: ['sleep', '300'] });
    const seconds = (performance.now() - started) / 1000;
    if (!timedOut || seconds > 10 * DEADLINE_SECONDS) throw new Error(`ended after ${seconds.toFixed(1)} s`);
    total.passed++;
    say(`ok     ${name}`);
  } catch (error) {
    fail(name, error);
  }
}

if (built) {
  runHostTiers();
  await runKernelTiers();
  await checkDeadline();
}
say(`${total.passed} passed, ${total.failed} failed`);
process.exitCode = total.failed === 0 ? 0 : 1;
