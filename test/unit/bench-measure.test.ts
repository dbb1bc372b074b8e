import { describe, expect, it, vi } from 'vitest';
import { type BenchCase, benchDocument, elapsed, measure, once } from '../../lib/bench/measure.js';

/** A case that returns these figures, one after the other. */
function figures(name: string, list: readonly number[], log: string[] = []): BenchCase {
  let next = 0;
  return {
    name,
    params: { size: 7 },
    unit: 'ns',
    run: () => {
      log.push(name);
      return list[next++]!;
    },
  };
}

describe('measure', () => {
  it('tells the median and the quartiles, without the first round, which warms up', async () => {
    const [result] = await measure([figures('a', [9999, 50, 10, 30, 20, 40])], 5);
    expect(result).toEqual({ name: 'a', params: { size: 7 }, median: 30, p25: 20, p75: 40, unit: 'ns', runs: 5 });
  });

  it.each([
    [[7], [7, 7, 7]],
    [
      [1, 2],
      [1.5, 1.25, 1.75],
    ],
    [
      [1, 2, 3, 10],
      [2.5, 1.75, 4.75],
    ],
    [
      [0.123456, 0.123456],
      [0.1235, 0.1235, 0.1235],
    ],
  ])('of %j tells %j', async (list, [median, p25, p75]) => {
    const [result] = await measure([figures('a', [0, ...list])], list.length);
    expect(result).toMatchObject({ median, p25, p75, runs: list.length });
  });

  it('runs the cases in turn, round after round', async () => {
    const log: string[] = [];
    await measure([figures('a', [1, 1, 1], log), figures('b', [1, 1, 1], log)], 2);
    expect(log.join('')).toBe('ababab');
  });

  it('waits for a case that takes a promise', async () => {
    const late: BenchCase = { name: 'late', params: {}, unit: 'us', run: async () => 3 };
    expect(await measure([late], 2)).toMatchObject([{ median: 3, unit: 'us' }]);
  });

  it('says before each run what is next and how far it is', async () => {
    const onProgress = vi.fn();
    await measure([figures('a', [1, 1]), figures('b', [1, 1])], 1, { onProgress });
    expect(onProgress.mock.calls.map(([next, done, total]) => [next.name, done, total])).toEqual([
      ['a', 0, 4],
      ['b', 1, 4],
      ['a', 2, 4],
      ['b', 3, 4],
    ]);
  });

  it('ends between two runs when it is aborted', async () => {
    const controller = new AbortController();
    const log: string[] = [];
    const aborting: BenchCase = {
      ...figures('a', []),
      run: () => {
        log.push('a');
        controller.abort(new Error('enough'));
        return 1;
      },
    };
    const outcome = measure([aborting, figures('b', [1, 1], log)], 1, { signal: controller.signal });
    await expect(outcome).rejects.toThrow('enough');
    expect(log).toEqual(['a']);
  });

  it('passes on what a case throws', async () => {
    const failing: BenchCase = { name: 'f', params: {}, unit: 'ns', run: () => Promise.reject(new Error('broken')) };
    await expect(measure([failing], 1)).rejects.toThrow('broken');
  });
});

it('a document names the machine and the results', async () => {
  const results = await measure([figures('a', [1, 1])], 1);
  const document = benchDocument('things', results);
  expect(document).toMatchObject({ schema: 'svq.bench/1', bench: 'things', results });
  expect(document.machine).toEqual({
    cpu: expect.stringMatching(/./),
    cpus: expect.any(Number),
    memory_bytes: expect.any(Number),
    node: process.version,
    kernel: expect.stringMatching(/^\d/),
    platform: process.platform,
    arch: process.arch,
  });
});

it('elapsed is in nanoseconds', () => {
  const time = elapsed(() => {
    const end = performance.now() + 2;
    while (performance.now() < end);
  });
  expect(time).toBeGreaterThan(1.9e6);
  expect(time).toBeLessThan(1e9);
});

it('once makes a thing when it is first asked for, and keeps it', () => {
  const make = vi.fn(() => undefined);
  const get = once(make);
  expect(make).not.toHaveBeenCalled();
  get();
  get();
  expect(make).toHaveBeenCalledTimes(1);
});
