/** A rehearsal's report for people. */
import type { MigrationReport } from '../migration/report.js';
import { formatSize } from '../units.js';
import { print, table } from './output.js';

export function printReport(report: MigrationReport): void {
  const { verdict, from, to, reasons, failure } = report;
  print(`${verdict === 'pass' ? 'PASS' : 'FAIL'}  ${from} to ${to}`);
  for (const reason of reasons) print(`      ${reason}`);
  if (failure) print(`      ${failure.source_serves ? 'The source serves again.' : 'The source does not serve.'}`);
  if (report.phases.length === 0) return;
  print('');
  printPhases(report);
  print('');
  printNumbers(report);
}

function printPhases({ phases }: MigrationReport): void {
  const rows = phases.map(phase => [phase.name, ms(phase.duration_ms), phase.operations, ms(phase.device_ms)]);
  print(table(['PHASE', 'MS', 'OPERATIONS', 'IN DEVICE MS'], rows, [1, 2, 3]));
}

function printNumbers({
  blackout_ms,
  guest_gap_ms,
  memory,
  workload,
  verification,
  maps_kept,
  placement,
}: MigrationReport): void {
  const rows: [string, string][] = [
    ['blackout', `${ms(blackout_ms)} ms (suspend on the source to start on the destination, without the comparison)`],
    ['guest gap', `${ms(guest_gap_ms)} ms (last completion before to first after)`],
    ['maps', `${maps_kept ? 'kept through resets' : 'made again at each switch'}, ${placement}`],
    [
      'memory',
      `${formatSize(memory.bytes)}, ${formatSize(memory.copied_bytes)} copied in ${memory.rounds} rounds and the last copy`,
    ],
    ['dirty pages', `${memory.dirty_pages} (guest ${memory.guest_dirty_pages}, device ${memory.device_dirty_pages})`],
    [
      'compared',
      `${verification.pages_compared} pages (${verification.hole_pages} holes), ${verification.mismatches} differ`,
    ],
    [
      'requests',
      `${workload.submitted} submitted, ${workload.completed} completed (${workload.reads} reads, ${workload.writes} writes)`,
    ],
    [
      '',
      `${workload.lost} lost, ${workload.duplicated} duplicated, ${workload.corrupt} corrupt, ${workload.errors} errors`,
    ],
    [
      'in flight',
      `${workload.in_flight_at_switch} at the switch, ${workload.in_flight_at_blackout} at the blackout (${workload.replayed} sent again), ${workload.available_in_blackout} more made available in the dark`,
    ],
  ];
  for (const [name, value] of rows) print(`${name.padEnd(12)}${value}`);
}

function ms(value: number | null): string {
  return value === null ? '-' : value.toFixed(2);
}
