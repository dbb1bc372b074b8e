/** The soft device's maps as a tree: against a list, and never higher than a balanced tree may be. */
import { expect, it } from 'vitest';
import { findMap, insertMap, lastWithin, type MapTree, mapsOf, removeMap } from '../../lib/device/soft/map-tree.js';
import type { IovaMap } from '../../lib/iova/map.js';

const map = (iova: number, size = 2): IovaMap => ({ iova, size, region: iova, offset: 0, perm: 'rw' });

/** Height of a tree that is ordered and in which no two sides differ by more than one. */
function balancedHeight(tree: MapTree, from = Number.NEGATIVE_INFINITY, to = Number.POSITIVE_INFINITY): number {
  if (!tree) return 0;
  const { map: own, below, above, height } = tree;
  const left = balancedHeight(below, from, own.iova);
  const right = balancedHeight(above, own.iova, to);
  if (own.iova <= from || own.iova >= to || Math.abs(left - right) > 1) expect.unreachable(`at ${own.iova}`);
  expect(height).toBe(1 + Math.max(left, right));
  return height;
}

it('finds what a list finds, through 20000 insertions and removals, and stays balanced', () => {
  const list = new Map<number, IovaMap>();
  let tree: MapTree;
  let seed = 7;
  const random = (below: number) => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    return (seed >>> 8) % below;
  };
  for (let step = 0; step < 20_000; step++) {
    // Slots of four, of which each map has the first two: gaps everywhere.
    const iova = 4 * random(2000);
    const before = tree;
    const size = list.size;
    if (list.delete(iova)) tree = removeMap(tree, iova);
    else {
      list.set(iova, map(iova));
      tree = insertMap(tree, map(iova));
    }
    const at = random(8000);
    expect(findMap(tree, at)).toEqual(at % 4 < 2 ? list.get(at - (at % 4)) : undefined);
    if (step % 500 === 0) {
      balancedHeight(tree);
      expect([...mapsOf(tree)]).toEqual([...list.values()].sort((a, b) => a.iova - b.iova));
      expect([...mapsOf(before)]).toHaveLength(size);
      const within = [...list.values()].filter(other => other.iova < at + 40 && other.iova + 2 > at);
      expect(lastWithin(tree, at, at + 40)).toEqual(within.sort((a, b) => b.iova - a.iova)[0]);
    }
  }
});

it.each<[string, (i: number) => number]>([
  ['upward', i => i],
  ['downward', i => 999 - i],
  ['from both ends', i => (i % 2 === 0 ? i / 2 : 999 - (i - 1) / 2)],
  ['from the middle', i => (i % 2 === 0 ? 500 + i / 2 : 499 - (i - 1) / 2)],
])('stays balanced when it grows and shrinks %s', (_how, at) => {
  let tree: MapTree;
  for (let i = 0; i < 1000; i++) {
    tree = insertMap(tree, map(4 * at(i)));
    if (i % 20 === 0) balancedHeight(tree);
  }
  for (let i = 0; i < 1000; i++) {
    tree = removeMap(tree, 4 * at(i));
    if (i % 20 === 0) balancedHeight(tree);
  }
  expect(tree).toBeUndefined();
});
