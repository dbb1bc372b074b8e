/** The benchmark of IOTLB messages on the soft device: its cases, and that each leaves nothing behind. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type IotlbBench, openIotlbBench } from '../../dist/bench/iotlb.js';

let bench: IotlbBench;
beforeAll(async () => {
  bench = await openIotlbBench('soft:blk?disk=bench-iotlb');
});
afterAll(() => bench.close());

describe('the IOTLB benchmark', () => {
  it('has one by one, batched, and large maps', () => {
    const cases = bench.cases.map(({ name, params, unit }) => `${name} ${params['maps']}x${params['bytes']} ${unit}`);
    expect(cases.filter(text => text.includes('256x'))).toEqual([
      'map 256x4096 us',
      'unmap 256x4096 us',
      'map_batched 256x4096 us',
      'unmap_batched 256x4096 us',
    ]);
    expect(cases.slice(-4)).toEqual([
      `map 1x${2 ** 30} us/GiB`,
      `unmap 1x${2 ** 30} us/GiB`,
      `map 1x${2 ** 36} us/GiB`,
      `unmap 1x${2 ** 36} us/GiB`,
    ]);
    expect(cases).toHaveLength(16);
  });

  it('times every case, again and again: each starts and ends with nothing mapped', async () => {
    for (let round = 0; round < 2; round++) {
      for (const benchCase of bench.cases) expect(await benchCase.run()).toBeGreaterThan(0);
    }
  });
});
