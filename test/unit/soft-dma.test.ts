/** What the soft device reaches through its maps, however a planner cut them. */
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { Dma } from '../../lib/device/soft/dma.js';
import { RingError } from '../../lib/errors.js';
import type { IovaMap } from '../../lib/iova/map.js';
import { MemoryRegion } from '../../lib/memory/region.js';

const PAGE = 4096;
const IOVA = 0x10_0000;
const region = MemoryRegion.create('soft-dma', 8 * PAGE);
const other = MemoryRegion.create('soft-dma-other', 8 * PAGE);
afterAll(() => {
  region.close();
  other.close();
});

const map = (page: number, pages: number, more: Partial<IovaMap> = {}): IovaMap => ({
  iova: IOVA + page * PAGE,
  size: pages * PAGE,
  region: region.id,
  offset: page * PAGE,
  perm: 'rw',
  ...more,
});

let dma: Dma;
beforeEach(() => {
  dma = new Dma();
});

describe('a window for a ring', () => {
  it('spans maps that go on in the same memory', () => {
    dma.setMaps([map(0, 1), map(1, 2), map(3, 1)]);
    new Uint8Array(region.view(0, 4 * PAGE)).forEach((_, i, bytes) => {
      bytes[i] = i >> 8;
    });
    const view = new Uint8Array(dma.view(IOVA + 100, 4 * PAGE - 100, true));
    expect(view).toEqual(new Uint8Array(region.view(0, 4 * PAGE)).subarray(100));
    dma.close();
  });

  it.each<[string, IovaMap[]]>([
    ['a gap', [map(0, 1), map(2, 1)]],
    ['another memory', [map(0, 1), map(1, 2, { region: other.id })]],
    ['the same memory elsewhere', [map(0, 1), map(1, 2, { offset: 5 * PAGE })]],
    ['a part that may not be written', [map(0, 1), map(1, 2, { perm: 'ro' })]],
  ])('does not span %s', (_what, maps) => {
    dma.setMaps(maps);
    expect(() => dma.view(IOVA, 3 * PAGE, true)).toThrow(RingError);
    expect(() => dma.view(IOVA, PAGE, true)).not.toThrow();
    dma.close();
  });

  it('may be read over parts with different permissions, and not where only writing is allowed', () => {
    dma.setMaps([map(0, 1), map(1, 1, { perm: 'ro' }), map(2, 1, { perm: 'wo' })]);
    expect(dma.view(IOVA, 2 * PAGE, false).byteLength).toBe(2 * PAGE);
    expect(() => dma.view(IOVA, 3 * PAGE, false)).toThrow(/mapped wo/);
    dma.close();
  });
});

it('forgets where the last access was when its maps change', () => {
  dma.setMaps([map(0, 1)]);
  const reach = () => dma.access(IOVA, 1, false, () => {});
  reach();
  dma.setMaps([map(4, 1)]);
  expect(reach).toThrow(/not mapped/);
  dma.setMaps([map(0, 1, { perm: 'wo' })]);
  expect(reach).toThrow(/mapped wo/);
  dma.close();
});
