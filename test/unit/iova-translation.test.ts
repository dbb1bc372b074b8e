/** Translation: pieces, permissions and holes. */
import { describe, expect, it } from 'vitest';
import { Translation, type TranslationEntry } from '../../lib/iova/translation.js';
import { Chain } from '../../lib/ring/chain.js';

const entry = (from: number, size: number, to: number, writable = true): TranslationEntry => ({
  from,
  size,
  to,
  writable,
});

/** What a range translates to; undefined when it does not. */
function pieces(table: Translation, from: number, length: number, write = false, capacity = 8) {
  const out = new Chain(capacity);
  if (!table.translate(from, length, write, out)) return undefined;
  return Array.from({ length: out.count }, (_, i) => [out.addr[i], out.len[i], i >= out.readable ? 'w' : 'r']);
}

describe('a translation', () => {
  // 0x1000-0x2fff and 0x3000-0x3fff meet; 0x4000 is a hole; the last is read-only.
  const table = new Translation([
    entry(0x5000, 0x1000, 0x90_0000, false),
    entry(0x1000, 0x2000, 0x10_0000),
    entry(0x3000, 0x1000, 0x50_0000),
  ]);

  it('is one piece inside one range', () => {
    expect(pieces(table, 0x1000, 0x2000)).toEqual([[0x10_0000, 0x2000, 'r']]);
    expect(pieces(table, 0x2ffe, 2, true)).toEqual([[0x10_1ffe, 2, 'w']]);
  });

  it('is as many pieces as it spans ranges', () => {
    expect(pieces(table, 0x2ff0, 0x20, true)).toEqual([
      [0x10_1ff0, 0x10, 'w'],
      [0x50_0000, 0x10, 'w'],
    ]);
  });

  it('appends to what is there', () => {
    const out = new Chain(4);
    out.push(7, 1, false);
    expect(table.translate(0x2000, 0x1800, false, out)).toBe(true);
    expect(out.count).toBe(3);
    expect([...out.addr.subarray(0, 3)]).toEqual([7, 0x10_1000, 0x50_0000]);
    expect([...out.len.subarray(0, 3)]).toEqual([1, 0x1000, 0x800]);
  });

  it('does not cross a hole', () => {
    expect(pieces(table, 0x3fff, 1)).toEqual([[0x50_0fff, 1, 'r']]);
    expect(pieces(table, 0x3fff, 2)).toBeUndefined();
    expect(pieces(table, 0x4000, 1)).toBeUndefined();
    expect(pieces(table, 0x4fff, 2)).toBeUndefined();
    expect(pieces(table, 0xfff, 1)).toBeUndefined();
    expect(pieces(table, 0x6000, 1)).toBeUndefined();
    expect(pieces(table, 0x5fff, 2)).toBeUndefined();
  });

  it('is for writing only where a device may write', () => {
    expect(pieces(table, 0x5000, 16)).toEqual([[0x90_0000, 16, 'r']]);
    expect(pieces(table, 0x5000, 16, true)).toBeUndefined();
    const mixed = new Translation([entry(0, 0x1000, 0), entry(0x1000, 0x1000, 0x8000, false)]);
    expect(pieces(mixed, 0xff0, 0x20)).toHaveLength(2);
    expect(pieces(mixed, 0xff0, 0x20, true)).toBeUndefined();
  });

  it('of nothing is one empty piece, where there is something', () => {
    expect(pieces(table, 0x1800, 0)).toEqual([[0x10_0800, 0, 'r']]);
    expect(pieces(table, 0x4000, 0)).toBeUndefined();
  });

  it('says no when there is no room for a piece', () => {
    expect(pieces(table, 0x2ff0, 0x20, false, 1)).toBeUndefined();
    expect(pieces(table, 0x1000, 1, false, 0)).toBeUndefined();
  });

  it('finds a range again after another', () => {
    for (const from of [0x1000, 0x1001, 0x3000, 0x1000, 0x5000, 0x3fff]) {
      expect(pieces(table, from, 1)).toHaveLength(1);
      expect(pieces(table, 0x4800, 1)).toBeUndefined();
    }
  });

  it('is exact up to 2^53 - 1', () => {
    const high = new Translation([entry(2 ** 53 - 0x1000, 0x1000, 0), entry(0, 0x1000, 2 ** 53 - 0x1000)]);
    expect(pieces(high, 2 ** 53 - 1, 1)).toEqual([[0xfff, 1, 'r']]);
    expect(pieces(high, 0xfff, 1)).toEqual([[2 ** 53 - 1, 1, 'r']]);
  });

  it('of no ranges translates nothing', () => {
    expect(pieces(new Translation([]), 0, 1)).toBeUndefined();
  });

  it('refuses ranges that overlap', () => {
    const build = () => new Translation([entry(0x2000, 0x1000, 0), entry(0x1000, 0x1001, 0)]);
    expect(build).toThrow(expect.objectContaining({ code: 'ERR_VDPA_ADDRESS', details: { address: 0x2000 } }));
  });

  it('is told in order, with what was added and without what was removed', () => {
    const changing = new Translation([entry(0x2000, 0x1000, 0), entry(0, 0x1000, 0x5000, false)]);
    changing.add(entry(0x1000, 0x1000, 0x9000));
    expect(pieces(changing, 0xfff, 0x1002)).toEqual([
      [0x5fff, 1, 'r'],
      [0x9000, 0x1000, 'r'],
      [0, 1, 'r'],
    ]);
    changing.remove(0x2000);
    expect(pieces(changing, 0x1fff, 2)).toBeUndefined();
    expect(changing.entries()).toEqual([entry(0, 0x1000, 0x5000, false), entry(0x1000, 0x1000, 0x9000)]);
    changing.add(entry(0x2000, 0x10, 0x30));
    expect(pieces(changing, 0x200f, 1, true)).toEqual([[0x3f, 1, 'w']]);
  });

  it('forgets a range that it found last', () => {
    const changing = new Translation([entry(0x1000, 0x1000, 0), entry(0x3000, 0x1000, 0x9000)]);
    expect(pieces(changing, 0x1800, 1)).toBeDefined();
    changing.remove(0x1000);
    expect(pieces(changing, 0x1800, 1)).toBeUndefined();
    expect(pieces(changing, 0x3800, 1)).toEqual([[0x9800, 1, 'r']]);
    changing.add(entry(0x1800, 0x10, 0x70));
    expect(pieces(changing, 0x1800, 1)).toEqual([[0x70, 1, 'r']]);
  });

  it('refuses to add what overlaps, and to remove what is not there', () => {
    const changing = new Translation([entry(0x2000, 0x2000, 0)]);
    for (const [from, size, address] of [
      [0x1000, 0x1001, 0x2000],
      [0x3fff, 0x1000, 0x3fff],
      [0x2800, 0x10, 0x2800],
      [0, 0x10000, 0x2000],
    ]) {
      const error = expect.objectContaining({ code: 'ERR_VDPA_ADDRESS', details: { address } });
      expect(() => changing.add(entry(from, size, 0))).toThrow(error);
    }
    for (const from of [0, 0x1fff, 0x2001, 0x4000]) {
      const error = expect.objectContaining({ code: 'ERR_VDPA_ADDRESS', details: { address: from } });
      expect(() => changing.remove(from)).toThrow(error);
    }
    expect(changing.entries()).toEqual([entry(0x2000, 0x2000, 0)]);
  });

  it.each([
    ['empty', 0x1000, 0, 0],
    ['of a negative size', 0x1000, -1, 0],
    ['of half bytes', 0x1000, 0.5, 0],
    ['below 0', -1, 2, 0],
    ['above 2^53 - 1', 2 ** 53 - 0x1000, 0x1001, 0],
    ['above 2^53 - 1 on the other side', 0, 0x1001, 2 ** 53 - 0x1000],
    ['nowhere', Number.NaN, 1, 0],
  ])('refuses a range that is %s', (_what, from, size, to) => {
    expect(() => new Translation([entry(from, size, to)])).toThrow(
      expect.objectContaining({ code: 'ERR_VDPA_ADDRESS' }),
    );
  });

  it('gives pieces of less than 4 GiB, which is what a buffer can have', () => {
    const large = new Translation([entry(0, 2 ** 34, 2 ** 40)]);
    for (const length of [2 ** 32 - 2 ** 16, 2 ** 32 - 1, 2 ** 32, 2 ** 33 + 7]) {
      const parts = pieces(large, 0x1000, length) ?? [];
      expect(parts.reduce((sum, part) => sum + Number(part[1]), 0)).toBe(length);
      let next = 2 ** 40 + 0x1000;
      for (const [address, bytes] of parts) {
        expect(address).toBe(next);
        next += Number(bytes);
      }
    }
    expect(pieces(large, 0, 2 ** 33, false, 2)).toBeUndefined();
  });

  it('finds each of a million ranges', () => {
    const many = new Translation(Array.from({ length: 1_000_000 }, (_, i) => entry(2 * i, 1, 10 * i)));
    const out = new Chain(1);
    for (let i = 0; i < 1_000_000; i++) {
      out.reset();
      const found = many.translate(2 * i, 1, true, out) && out.addr[0] === 10 * i;
      out.reset();
      if (!found || many.translate(2 * i + 1, 1, true, out)) expect.fail(`at ${i}`);
    }
  });
});
