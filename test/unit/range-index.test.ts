/** Sorted ranges in chunks: order, growth and shrinkage, weights. The property test has the random operations. */
import { describe, expect, it } from 'vitest';
import { Random } from '../../lib/guest/random.js';
import { RECORD_END } from '../../lib/iova/chunks.js';
import { MaxTree } from '../../lib/iova/max-tree.js';
import { RangeIndex } from '../../lib/iova/range-index.js';

const COUNT = 6000;
const startOf = (i: number) => 10 * i;

const ORDERS: Record<string, (i: number) => number> = {
  'in order': i => i,
  'from above': i => COUNT - 1 - i,
  // 7919 is a prime, and no factor of COUNT.
  'in any order': i => (i * 7919) % COUNT,
};

function filled(order: (i: number) => number): RangeIndex {
  const index = new RangeIndex(3, 'size');
  for (let i = 0; i < COUNT; i++) index.insert(startOf(order(i)), startOf(order(i)) + 5, order(i));
  return index;
}

describe('a range index', () => {
  it('finds nothing when it is empty', () => {
    const index = new RangeIndex(2, 'size');
    expect([index.size, index.find(0), index.seek(0), index.below(0)]).toEqual([0, -1, -1, -1]);
    expect([index.startAfter(-1), index.firstShared(0, 100)]).toEqual([Infinity, Infinity]);
    expect([index.greatest, index.firstAtLeast(1)]).toEqual([0, -1]);
  });

  it.each(Object.keys(ORDERS))('finds each of many ranges that were added %s, and nothing between', name => {
    const index = filled(ORDERS[name]);
    expect(index.size).toBe(COUNT);
    for (let i = 0; i < COUNT; i++) {
      for (const address of [startOf(i), startOf(i) + 4]) expect(index.records[index.find(address) + 2]).toBe(i);
      expect(index.find(startOf(i) + 5)).toBe(-1);
      expect(index.records[index.below(startOf(i) + 9) + 2]).toBe(i);
      const at = index.seek(startOf(i) + 9);
      expect(index.records[at + 2]).toBe(i);
      expect(index.startAfter(at)).toBe(i + 1 < COUNT ? startOf(i + 1) : Infinity);
    }
    expect(index.seek(-1)).toBe(-1);
  });

  it.each(Object.keys(ORDERS))('keeps the others when ranges go %s, and gives the memory back', name => {
    const index = filled(ORDERS['in any order']);
    const most = index.records.length;
    for (let i = 0; i < COUNT; i++) {
      const gone = ORDERS[name](i);
      index.remove(index.seek(startOf(gone)));
      expect(index.find(startOf(gone))).toBe(-1);
      if (i % 500 > 0) continue;
      const left: number[] = [];
      index.each((records, at) => left.push(records[at + 2]));
      const expected = new Set(Array.from({ length: COUNT - 1 - i }, (_, k) => ORDERS[name](i + 1 + k)));
      expect(left).toEqual([...expected].sort((a, b) => a - b));
    }
    expect(index.size).toBe(0);
    expect(index.records.length).toBeLessThan(most / 10);
    index.insert(3, 4, 1);
    expect(index.records[index.find(3)]).toBe(3);
  });

  it('does without a chunk that its full neighbours cannot take in', () => {
    const index = filled(ORDERS['in order']);
    for (let i = 120; i < 260; i++) index.remove(index.seek(startOf(i)));
    for (let i = 100; i < 280; i++) {
      const left = i < 120 ? i : Math.max(i, 260);
      expect(index.find(startOf(i)) >= 0).toBe(i === left);
      const at = index.seek(startOf(i) - 1);
      expect(index.startAfter(at)).toBe(startOf(left));
    }
  });

  it('fills its chunks when ranges come in order', () => {
    expect(filled(ORDERS['in order']).records.length).toBeLessThan(filled(ORDERS['from above']).records.length);
  });

  it('does not find again what was changed or removed after it was found', () => {
    const index = filled(ORDERS['in order']);
    expect(index.find(4001)).toBeGreaterThan(0);
    expect(index.records[index.below(4006)]).toBe(4000);
    index.change(index.seek(4000), 4002, 4004);
    expect([index.find(4001), index.find(4004)]).toEqual([-1, -1]);
    expect(index.records[index.find(4003) + RECORD_END]).toBe(4004);
    expect(index.records[index.below(4001)]).toBe(3990);
    expect(index.records[index.below(4006)]).toBe(4002);
    index.change(index.seek(4010), 4008, 4015);
    expect(index.records[index.below(4009)]).toBe(4008);
    index.insert(4005, 4006);
    expect(index.records[index.below(4006)]).toBe(4005);
    index.remove(index.seek(4003));
    expect(index.find(4003)).toBe(-1);
    expect(index.records[index.below(4004)]).toBe(3990);
  });

  it('is exact up to 2^53', () => {
    const index = new RangeIndex(2);
    index.insert(2 ** 53 - 4, 2 ** 53 - 3);
    index.insert(2 ** 53 - 2, 2 ** 53);
    expect(index.find(2 ** 53 - 3)).toBe(-1);
    expect(index.records[index.find(2 ** 53 - 1)]).toBe(2 ** 53 - 2);
    expect(index.find(2 ** 53)).toBe(-1);
    expect(index.firstShared(2 ** 53 - 3, 2 ** 53 - 2)).toBe(Infinity);
    expect(index.firstShared(2 ** 53 - 3, 2 ** 53 - 1)).toBe(2 ** 53 - 2);
  });

  it('tells what is heavy, in order', () => {
    const index = filled(ORDERS['in any order']);
    for (const i of [777, 4_345, 4_346]) index.change(index.seek(startOf(i)), startOf(i), startOf(i) + 9);
    expect(index.greatest).toBe(9);
    const found: number[] = [];
    for (let at = index.firstAtLeast(6); at >= 0; at = index.nextAtLeast(at, 6)) found.push(index.records[at + 2]);
    expect(found).toEqual([777, 4_345, 4_346]);
    expect(index.firstAtLeast(10)).toBe(-1);
    index.remove(index.firstAtLeast(9));
    expect(index.records[index.firstAtLeast(9) + 2]).toBe(4_345);
  });

  it('sorts thousands of ranges of one start by their values', () => {
    const index = new RangeIndex(3, 'end', 'unmarked');
    for (let i = 0; i < 2000; i++) {
      const value = ((i * 7919) % 2000) - 1000;
      index.insert(50, value % 2 === 0 ? 60 : -70, value);
    }
    for (const start of [10, 90]) index.insert(start, start + 1, 0);
    const values: number[] = [];
    index.each((records, at) => values.push(records[at + 2]));
    expect(values).toEqual([0, ...Array.from({ length: 2000 }, (_, i) => i - 1000), 0]);
    for (let value = -1000; value < 1000; value++) expect(index.records[index.seek(50, value) + 2]).toBe(value);
    expect(index.records[index.seek(50, -1001)]).toBe(10);
    // The first of those that reach farthest: marked or not, and not marked.
    expect(index.records[index.greatestUpTo(index.seek(50), 0) + 2]).toBe(-999);
    expect(index.records[index.greatestUpTo(index.seek(50), 1) + 2]).toBe(-1000);
    for (let value = -1000; value < 1000; value++) index.remove(index.seek(50, value));
    expect(index.size).toBe(2);
  });
});

describe('a max tree', () => {
  it('is a row of numbers', () => {
    const tree = new MaxTree();
    const row: number[] = [];
    const random = new Random(5);
    for (let i = 0; i < 20_000; i++) {
      const at = random.below(row.length + 1);
      const value = 1 + random.below(30);
      const dice = random.below(8);
      if (dice < (i % 400 < 200 ? 4 : 2)) {
        tree.insert(at, value, row.length);
        row.splice(at, 0, value);
      } else if (at === row.length) continue;
      else if (dice < 5) {
        tree.remove(at, row.length);
        row.splice(at, 1);
      } else {
        tree.set(at, value);
        row[at] = value;
      }
      const from = random.below(row.length + 1);
      const first = row.findIndex((other, index) => index >= from && other >= value);
      const greatest = Math.max(0, ...row.slice(0, from));
      const got = [tree.max, tree.firstAtLeast(from, value), tree.greatestBelow(from)];
      expect(got).toEqual([Math.max(0, ...row), first, row.indexOf(greatest)]);
      if (at < row.length) expect(tree.get(at)).toBe(row[at]);
    }
  });
});
