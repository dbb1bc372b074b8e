import { describe, expect, it } from 'vitest';
import { document, expectFailure, svq } from './svq.js';

const SHORT = ['--duration', '300ms', '--memory', '64M'];

interface AttachDocument {
  readonly verdict: string;
  readonly mode: string;
  readonly interrupted: boolean;
  readonly duration_ms: number;
  readonly requests_per_s: number;
  readonly workload: Record<string, number>;
  readonly reasons: string[];
  readonly shadow: Record<string, number>[];
}

describe.each(['passthrough', 'shadow'])('svq attach soft:blk, %s', mode => {
  const args = ['attach', 'soft:blk', ...SHORT, ...(mode === 'shadow' ? ['--shadow'] : [])];

  it('runs a verified workload and tells the result', async () => {
    const { code, stdout, stderr } = await svq(args);
    expect(stdout).toMatch(new RegExp(`^PASS {2}soft:blk, ${mode}, 0\\.\\d s\\n\\n`));
    expect(stdout).toMatch(
      /^requests +\d+ completed \(\d+ reads, \d+ writes\), \d+\/s\n +0 lost, 0 duplicated, 0 corrupt, 0 errors\n/m,
    );
    expect(/^shadow 0 +\d+ batches/m.test(stdout)).toBe(mode === 'shadow');
    expect(stderr).toMatch(/^svq: \d+ requests, \d+\/s, \d+ in flight, 0 corrupt, 0 errors$/m);
    expect(code).toBe(0);
  });

  it('tells the same as JSON', async () => {
    const result = document(await svq([...args, '-j'])) as unknown as AttachDocument;
    expect(result).toMatchObject({ schema: 'svq.attach/1', verdict: 'pass', device: 'soft:blk', mode, reasons: [] });
    expect(result.interrupted).toBe(false);
    const { submitted, completed, reads, writes } = result.workload;
    expect(result.workload).toMatchObject({ lost: 0, duplicated: 0, corrupt: 0, errors: 0 });
    expect(completed).toBe(submitted);
    expect(completed).toBe(reads! + writes!);
    expect(writes! / completed!).toBeGreaterThan(0.3);
    expect(result.duration_ms).toBeGreaterThanOrEqual(300);
    expect(result.requests_per_s).toBeCloseTo((completed! / result.duration_ms) * 1000);
    expect(result.shadow).toHaveLength(mode === 'shadow' ? 1 : 0);
    for (const counters of result.shadow) expect(counters).toMatchObject({ kicks: expect.any(Number) });
  });
});

it('only reads when no writes are asked for', async () => {
  const { workload } = document(
    await svq(['attach', 'soft:blk', ...SHORT, '--writes', '0', '-j']),
  ) as unknown as AttachDocument;
  expect(workload['writes']).toBe(0);
  expect(workload['reads']).toBeGreaterThan(0);
});

it('obeys the latency of the device', async () => {
  const { workload, duration_ms } = document(
    await svq(['attach', 'soft:blk?latency=20ms', ...SHORT, '--depth', '4', '-j']),
  ) as unknown as AttachDocument;
  expect(workload['completed']).toBeLessThanOrEqual(4 * Math.ceil(duration_ms / 20 + 1));
});

it('says how much guest memory the depth needs', async () => {
  expectFailure(await svq(['attach', 'soft:blk', '--memory', '2M']), 2, /guest memory are too few.*are needed/);
});
