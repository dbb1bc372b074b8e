/** An interruption at every phase of a rehearsal: it ends as one, and both devices are reset and unmapped. */
import {
  type Device,
  type MigrationReport,
  type Operation,
  observe,
  openBlockDevice,
  permitWrites,
  Rehearsal,
} from 'vhost-vdpa';
import { describe, expect, it } from 'vitest';
import { halfDone } from '../unit/attachment-setup.js';

const PHASES = [
  ...['attach', 'run_passthrough', 'switch_to_shadow', 'run_shadow', 'precopy', 'hold', 'suspend', 'last_copy'],
  ...['compare', 'start_destination', 'resume_guest', 'release_source', 'run_destination', 'switch_to_passthrough'],
  ...['run_destination_passthrough', 'finish'],
];

interface Options {
  readonly onPhase?: (name: string) => void;
  readonly signal?: AbortSignal;
  /** Wraps the source. */
  readonly wrap?: (device: Device) => Device;
}

async function rehearse(
  { wrap = device => device, ...options }: Options,
  seen: Operation[][] = [[], []],
): Promise<MigrationReport> {
  const open = (index: number, wrapper: (device: Device) => Device) =>
    openBlockDevice('soft:blk', {
      wrap: device => observe(wrapper(device), operations => seen[index]!.push(...operations)),
    });
  const from = await open(0, wrap);
  const to = await open(1, device => device);
  const area = await permitWrites(from, { destroy: true, range: undefined, writes: 0.4 });
  const load = { area, memory: 64 * 2 ** 20, placement: 'identity', depth: 16, seed: 3 } as const;
  const rehearsal = new Rehearsal({ ...load, ...options, from, to, settleMs: 30, maxDowntimeMs: 50 });
  try {
    return await rehearsal.run();
  } finally {
    await rehearsal.close();
  }
}

describe('an interruption', () => {
  it('can come in each of these phases', async () => {
    const phases: string[] = [];
    await rehearse({ onPhase: name => phases.push(name) });
    expect(phases).toEqual(PHASES);
  });

  it.each(PHASES)('in %s ends the rehearsal and leaves both devices reset and unmapped', async phase => {
    const controller = new AbortController();
    const seen: Operation[][] = [[], []];
    const onPhase = (name: string) => {
      if (name === phase) controller.abort();
    };
    const run = rehearse({ signal: controller.signal, onPhase }, seen);
    // The last phase has nothing to interrupt: the rehearsal is over when it ends.
    if (phase === 'finish') expect((await run).verdict).toBe('pass');
    else await expect(run).rejects.toMatchObject({ code: 'ERR_VDPA_CANCELED' });
    for (const operations of seen) {
      expect(operations.findLast(({ op }) => op === 'setStatus')).toMatchObject({ status: 0 });
      const maps = operations.filter(({ op }) => op === 'iotlbUpdate').length;
      expect(operations.filter(({ op }) => op === 'iotlbInvalidate')).toHaveLength(maps);
    }
  });
});

describe('a takeover that is refused', () => {
  it.each([
    ['resumes', 0n],
    ['starts again where it cannot resume', 1n << 5n],
  ])('is a verdict, and the source %s', async (_, without) => {
    const lie = { ahead: 0 };
    const source: Operation[] = [];
    const hide = (device: Device): Device => ({
      ...halfDone(device, lie),
      submit: async (operations, options) => {
        source.push(...operations);
        const results = await halfDone(device, lie).submit(operations, options);
        return results.map((result, i) =>
          operations[i]!.op === 'getBackendFeatures'
            ? { ...result, value: (result.value as bigint) & ~without }
            : result,
        );
      },
    });
    const onPhase = (name: string) => {
      lie.ahead = name === 'switch_to_shadow' ? 1 : 0;
    };
    const report = await rehearse({ wrap: hide, onPhase });
    expect(report.failure).toMatchObject({ phase: 'switch_to_shadow', source_serves: true });
    expect(report.failure!.message).toContain('cannot be shadowed now');
    expect(report.workload).toMatchObject({ lost: 0, duplicated: 0, corrupt: 0 });
    const after = source.slice(source.findIndex(({ op }) => op === 'suspend')).map(({ op }) => op);
    expect(after.includes('resume')).toBe(without === 0n);
  });
});
