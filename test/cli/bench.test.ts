/** `svq bench`: the shape of its documents, and what it refuses. Figures are looked at where they are made, not here. */
import { describe, expect, it } from 'vitest';
import { document, expectFailure, svq } from './svq.js';

interface Result {
  readonly name: string;
  readonly params: Record<string, string | number>;
  readonly median: number;
  readonly p25: number;
  readonly p75: number;
  readonly unit: string;
  readonly runs: number;
}

describe('svq bench dirty', () => {
  it('prints one document with the machine and every result', async () => {
    const outcome = await svq(['bench', 'dirty', '--runs', '1', '--json']);
    expect([outcome.code, outcome.stderr]).toEqual([0, '']);
    const { schema, bench, machine, results } = document(outcome);
    expect([schema, bench]).toEqual(['svq.bench/1', 'dirty']);
    expect(machine).toMatchObject({ node: process.version, platform: process.platform, arch: process.arch });
    const list = results as Result[];
    expect(new Set(list.map(({ name }) => name))).toEqual(
      new Set(['mark_run', 'mark_scattered', 'sync', 'scan', 'memory']),
    );
    for (const { params, median, p25, p75, unit, runs } of list) {
      expect(median).toBeGreaterThan(0);
      expect([p25, p75, runs]).toEqual([median, median, 1]);
      expect(unit).toMatch(/^(ns|ms|bytes)$/);
      expect(Object.keys(params).length).toBeGreaterThan(0);
    }
    // A result is known by its name and its params.
    expect(new Set(list.map(({ name, params }) => JSON.stringify([name, params]))).size).toBe(list.length);
  });
});

it('svq bench iotlb measures a device, and prints a table', async () => {
  const { code, stdout, stderr } = await svq(['bench', 'iotlb', 'soft:blk', '--runs', '2']);
  expect([code, stderr]).toEqual([0, '']);
  expect(stdout).toMatch(/^benchmark {2}iotlb, 2 runs\nmachine {4}.*Node v\d/);
  expect(stdout).toMatch(/^NAME +PARAMS +MEDIAN +P25 +P75 +UNIT$/m);
  expect(stdout).toMatch(/^map_batched +\S+=\S+.* +[\d.]+ +[\d.]+ +[\d.]+ +us$/m);
});

describe('a wrong command line ends with 2 and says what was meant', () => {
  const cases: [string[], RegExp][] = [
    [[], /^svq: Name a benchmark: iova, dirty, iotlb\./],
    [['dirtt'], /^svq: There is no benchmark "dirtt"; there are iova, dirty, iotlb\./],
    [['iotlb'], /^svq: bench iotlb needs a device, such as soft:blk\./],
    [['dirty', 'soft:blk'], /^svq: bench dirty takes no device, but soft:blk was given\./],
    [['iotlb', 'soft:blk', 'more'], /^svq: bench takes no argument more\./],
    [['dirty', '--runs', '0'], /^svq: --runs is a whole number from 1 to 1000, not 0\./],
    [['dirty', '--runs', '2.5'], /^svq: --runs is a whole number from 1 to 1000, not 2\.5\./],
    [['dirty', '--runs', 'many'], /^svq: --runs is a whole number from 1 to 1000\./],
    [['dirty', '--run', '3'], /^svq: Unknown option: --run\. Did you mean --runs\? See "svq bench --help"\./],
    [['iotlb', 'soft:blk?colour=red'], /^svq: soft:blk has no property "colour"/],
  ];
  it.each(cases)('svq bench %j', async (args, message) => {
    expectFailure(await svq(['bench', ...args]), 2, message);
  });
});

it('a device that is not there ends with 4', async () => {
  expectFailure(await svq(['bench', 'iotlb', 'vhost-vdpa-99']), 4, /^svq: .*vhost-vdpa-99/);
});
