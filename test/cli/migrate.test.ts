import type { MigrationReport } from 'vhost-vdpa';
import { describe, expect, it } from 'vitest';
import { document, expectFailure, type Outcome, svq } from './svq.js';

const SHORT = ['migrate', '--settle', '50ms'];
const PHASES = [
  'attach',
  'run_passthrough',
  'switch_to_shadow',
  'run_shadow',
  'precopy',
  'hold',
  'suspend',
  'last_copy',
  'compare',
  'start_destination',
  'resume_guest',
  'release_source',
  'run_destination',
  'switch_to_passthrough',
  'run_destination_passthrough',
  'finish',
];

function reportOf(outcome: Outcome): MigrationReport {
  return document(outcome) as unknown as MigrationReport;
}

describe('svq migrate', () => {
  it('passes without arguments, and prints verdict, phases and numbers', async () => {
    const { code, stdout, stderr } = await svq(['migrate']);
    expect(stdout).toMatch(/^PASS {2}soft:blk to soft:blk\n\nPHASE +MS {2}OPERATIONS {2}DEVICE MS\n/);
    for (const phase of PHASES)
      expect(stdout).toMatch(new RegExp(`^${phase} +\\d+\\.\\d\\d +\\d+ +\\d+\\.\\d\\d$`, 'm'));
    expect(stdout).toMatch(/^blackout +\d+\.\d\d ms, /m);
    expect(stdout).toMatch(/^compared +262144 pages \(\d+ holes\), 0 differ$/m);
    expect(stdout).toMatch(/^ +0 lost, 0 duplicated, 0 corrupt, 0 errors$/m);
    expect([code, stderr]).toEqual([0, '']);
  });

  const devices = ['soft:blk', 'soft:blk?latency=500us'];
  const variants: [string, string[], { placement: string; maps_kept: boolean }][] = [
    ['identity', [], { placement: 'identity', maps_kept: true }],
    ['identity, without IOTLB_PERSIST', ['--without', 'IOTLB_PERSIST'], { placement: 'identity', maps_kept: false }],
    ['relocated', ['--relocated'], { placement: 'relocated', maps_kept: false }],
    [
      'relocated, without IOTLB_PERSIST',
      ['--relocated', '--without', 'IOTLB_PERSIST'],
      { placement: 'relocated', maps_kept: false },
    ],
  ];
  const cases = devices.flatMap(device => variants.map(variant => [device, ...variant] as const));

  it.each(cases)('%s, %s: nothing lost under load', async (device, _, options, expected) => {
    const outcome = await svq([...SHORT, '-j', '--memory', '64M', '--from', device, '--to', device, ...options]);
    const report = reportOf(outcome);
    expect(report.reasons).toEqual([]);
    expect(report).toMatchObject({ schema: 'svq.migrate/1', verdict: 'pass', from: device, to: device, ...expected });
    expect(report.phases.map(phase => phase.name)).toEqual(PHASES);
    expect(report.blackout_ms).toBeGreaterThan(0);
    expect(report.guest_gap_ms).toBeGreaterThan(0);

    const { workload, memory, verification } = report;
    expect(workload).toMatchObject({ lost: 0, duplicated: 0, corrupt: 0, errors: 0 });
    expect(workload.completed).toBe(workload.submitted);
    expect(workload.writes / workload.completed).toBeGreaterThanOrEqual(0.3);
    expect(workload.in_flight_at_switch).toBeGreaterThan(0);
    expect(workload.in_flight_at_blackout).toBeGreaterThan(0);
    expect(workload.available_in_blackout).toBeGreaterThan(0);

    expect(memory.bytes).toBe(64 * 2 ** 20);
    expect(memory.rounds).toBeGreaterThan(0);
    expect(memory.copied_bytes).toBeGreaterThan(0);
    expect(memory.dirty_pages).toBeGreaterThan(0);
    expect(memory.dirty_pages).toBeLessThanOrEqual(memory.guest_dirty_pages + memory.device_dirty_pages);
    expect(verification).toMatchObject({ pages_compared: 64 * 256, mismatches: 0, first_mismatches: [] });
    expect(verification.hole_pages).toBeGreaterThan(0);
    expect(outcome.code).toBe(0);
  });

  it('counts the messages that kept maps save', async () => {
    const operations = async (...options: string[]) => {
      const { phases } = reportOf(await svq([...SHORT, '-j', '--memory', '64M', ...options]));
      return phases.find(phase => phase.name === 'switch_to_shadow')!.operations;
    };
    // The same two maps (memory, shadow rings) go and come in one batch each.
    expect(await operations('--without', 'IOTLB_PERSIST')).toBeGreaterThan(await operations());
  });
});

describe('a pair that cannot migrate ends with 3 and every reason', () => {
  const refusals: [string, string[], RegExp[]][] = [
    ['no suspend', ['--from', 'soft:blk?suspend=off'], [/^The source soft:blk\?suspend=off cannot be suspended/]],
    ['not acknowledged', ['--without', 'SUSPEND'], [/^The source .*suspended/, /^The destination .*suspended/]],
    [
      'another size, and no suspend',
      ['--from', 'soft:blk?disk=a', '--to', 'soft:blk?disk=b&capacity=64M&suspend=off'],
      [/^The destination .*suspended/, /^The disks differ in size: 134217728 bytes .*, 67108864 /],
    ],
    [
      'another disk',
      ['--from', 'soft:blk?disk=a', '--to', 'soft:blk?disk=b'],
      [/do not share their storage: what was written/],
    ],
  ];

  it.each(refusals)('%s', async (_, options, reasons) => {
    const outcome = await svq([...SHORT, ...options, '-j']);
    const report = reportOf(outcome);
    expect(report).toMatchObject({ schema: 'svq.migrate/1', verdict: 'fail', blackout_ms: null, phases: [] });
    expect(report.reasons).toHaveLength(reasons.length);
    reasons.forEach((reason, i) => {
      expect(report.reasons[i]).toMatch(reason);
    });
    expect(outcome.code).toBe(3);
  });

  it('in words too', async () => {
    const { code, stdout } = await svq([...SHORT, '--without', 'SUSPEND']);
    expect(stdout).toMatch(/^FAIL {2}soft:blk to soft:blk\n {6}The source .*\n {6}The destination .*\n$/);
    expect(code).toBe(3);
  });
});

it('keeps to a range of the disk when one is named', async () => {
  const { workload } = reportOf(await svq([...SHORT, '-j', '--write-range', '64M:1M', '--writes', '50%']));
  expect(workload.lost + workload.corrupt + workload.duplicated).toBe(0);
  expect(workload.writes).toBeGreaterThan(0);
});

it('refuses memory that the workload does not fit in', async () => {
  expectFailure(await svq([...SHORT, '--memory', '2M']), 2, /guest memory are too few/);
});
