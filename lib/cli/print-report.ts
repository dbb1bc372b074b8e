/** A rehearsal's report for people. */
import type { MigrationReport } from '../migration/report.js';
import { formatSize } from '../units.js';
import { facts, print, table } from './output.js';

export function printReport(report: MigrationReport): void {
  const { verdict, from, to, reasons, failure } = report;
  print(`${verdict === 'pass' ? 'PASS' : 'FAIL'}  ${from} to ${to}`);
  for (const line of [...reasons, ...report.warnings]) print(`      ${line}`);
  if (failure) print(`      ${failure.source_serves ? 'The source serves again.' : 'The source does not serve.'}`);
  if (report.phases.length === 0) return;
  print('');
  printPhases(report);
  print('');
  printNumbers(report);
}

function printPhases({ phases }: MigrationReport): void {
  const rows = phases.map(phase => [phase.name, ms(phase.duration_ms), phase.operations, ms(phase.device_ms)]);
  print(table(['PHASE', 'MS', 'OPERATIONS', 'DEVICE MS'], rows, [1, 2, 3]));
}

function printNumbers(report: MigrationReport): void {
  const { memory, workload, verification } = report;
  const rounds = `${memory.rounds} ${memory.rounds === 1 ? 'round' : 'rounds'}`;
  print(
    facts([
      ['blackout', `${ms(report.blackout_ms)} ms, from suspend on the source to start on the destination`],
      ['guest gap', `${ms(report.guest_gap_ms)} ms, from the last completion before to the first after`],
      [
        'placement',
        `${report.placement}, maps ${report.maps_kept ? 'kept through resets' : 'made again at each switch'}`,
      ],
      [
        'memory',
        `${formatSize(memory.bytes)}, ${formatSize(memory.copied_bytes)} copied in ${rounds} and the last copy`,
      ],
      ['dirty', `${memory.dirty_pages} pages (guest ${memory.guest_dirty_pages}, device ${memory.device_dirty_pages})`],
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
      ['in flight', `${workload.in_flight_at_switch} at the switch, ${workload.in_flight_at_blackout} at the blackout`],
      ['', `${workload.replayed} sent again, ${workload.available_in_blackout} made available in the dark`],
    ]),
  );
}

function ms(value: number | null): string {
  return value === null ? '-' : value.toFixed(2);
}
