import { describe, expect, it } from 'vitest';
import { DirtyBitmap } from '../../lib/dirty/bitmap.js';
import { AddressError } from '../../lib/errors.js';

const PAGE = 4096;

describe('DirtyBitmap', () => {
  it('marks every page a range touches, whole', () => {
    const bitmap = new DirtyBitmap(100 * PAGE);
    bitmap.mark(PAGE - 1, 2);
    bitmap.mark(3 * PAGE, PAGE);
    bitmap.mark(5 * PAGE + 10, 1);
    expect([...bitmap.runs()]).toEqual([0, 2 * PAGE, 3 * PAGE, PAGE, 5 * PAGE, PAGE]);
    expect(bitmap.count()).toBe(4);
  });

  it('marks nothing for a length of 0, also at the very end', () => {
    const bitmap = new DirtyBitmap(2 * PAGE);
    bitmap.mark(0, 0);
    bitmap.mark(PAGE + 5, 0);
    bitmap.mark(2 * PAGE, 0);
    expect(bitmap.any()).toBe(false);
    expect(bitmap.count()).toBe(0);
  });

  it.each([
    [31, 2],
    [32, 32],
    [0, 64],
    [30, 68],
    [63, 1],
    [0, 100],
  ])('marks pages from %i, %i of them, across words', (first, pages) => {
    const bitmap = new DirtyBitmap(100 * PAGE);
    bitmap.mark(first * PAGE, pages * PAGE);
    expect(bitmap.count()).toBe(pages);
    expect([...bitmap.runs()]).toEqual([first * PAGE, pages * PAGE]);
    for (let page = 0; page < 100; page++) {
      expect(bitmap.has(page * PAGE)).toBe(page >= first && page < first + pages);
    }
  });

  it('has the bit order of the vhost log: page p is bit p % 8 of byte p / 8', () => {
    const bitmap = new DirtyBitmap(64 * PAGE);
    bitmap.mark(9 * PAGE, 1);
    bitmap.mark(63 * PAGE, 1);
    expect([...new Uint8Array(bitmap.words.buffer)]).toEqual([0, 2, 0, 0, 0, 0, 0, 0x80]);
  });

  it('clips the last run to the memory', () => {
    const bitmap = new DirtyBitmap(2 * PAGE + 100);
    expect(bitmap.pages).toBe(3);
    bitmap.mark(2 * PAGE + 99, 1);
    expect([...bitmap.runs()]).toEqual([2 * PAGE, 100]);
  });

  it.each([
    [-1, 1],
    [0, -1],
    [0, 2 * PAGE + 1],
    [2 * PAGE, 1],
    [2 * PAGE + 1, 0],
    [Number.NaN, 1],
    [0, Number.NaN],
    [0, Number.POSITIVE_INFINITY],
  ])('refuses %d, %d in two pages and marks nothing', (offset, length) => {
    const bitmap = new DirtyBitmap(2 * PAGE);
    expect(() => bitmap.mark(offset, length)).toThrow(AddressError);
    expect(bitmap.any()).toBe(false);
  });

  it.each([-1, 2 * PAGE, Number.NaN])('refuses to say whether %d is marked', offset => {
    expect(() => new DirtyBitmap(2 * PAGE).has(offset)).toThrow(AddressError);
  });

  it('takes a snapshot of its own and starts afresh', () => {
    const bitmap = new DirtyBitmap(40 * PAGE);
    bitmap.mark(33 * PAGE, PAGE);
    const taken = DirtyBitmap.fromWords(bitmap.take(), 40 * PAGE);
    expect(bitmap.any()).toBe(false);
    bitmap.mark(0, 1);
    expect([...taken.runs()]).toEqual([33 * PAGE, PAGE]);
    expect([...bitmap.runs()]).toEqual([0, PAGE]);
  });

  it('refuses words that are not of such a bitmap', () => {
    const invalid = expect.objectContaining({ code: 'ERR_VDPA_INVALID_ARGUMENT' });
    expect(() => DirtyBitmap.fromWords(new Uint32Array(1), 33 * PAGE)).toThrow(invalid);
    expect(() => DirtyBitmap.fromWords(new Uint32Array(3), 33 * PAGE)).toThrow(invalid);
    expect(() => DirtyBitmap.fromWords(Uint32Array.of(0, 2), 33 * PAGE)).toThrow(invalid);
    expect(DirtyBitmap.fromWords(Uint32Array.of(0, 1), 33 * PAGE).has(32 * PAGE)).toBe(true);
    expect(DirtyBitmap.fromWords(Uint32Array.of(0xffff_ffff), 32 * PAGE).count()).toBe(32);
  });

  it('merges bitmaps of one memory, and no others', () => {
    const a = new DirtyBitmap(40 * PAGE);
    const b = new DirtyBitmap(40 * PAGE);
    a.mark(0, PAGE);
    b.mark(39 * PAGE, PAGE);
    a.or(b);
    expect([...a.runs()]).toEqual([0, PAGE, 39 * PAGE, PAGE]);
    expect(b.count()).toBe(1);
    expect(() => a.or(new DirtyBitmap(41 * PAGE))).toThrow(/different memory/);
    expect(() => a.or(new DirtyBitmap(40 * PAGE, 13))).toThrow(/different memory/);
  });

  it('is empty after clear', () => {
    const bitmap = new DirtyBitmap(40 * PAGE);
    bitmap.mark(0, 40 * PAGE);
    bitmap.clear();
    expect([bitmap.any(), bitmap.count(), bitmap.runs().length]).toEqual([false, 0, 0]);
  });

  it('knows other page sizes, and memory far above 4 GiB', () => {
    const bitmap = new DirtyBitmap(2 ** 43, 21);
    bitmap.mark(2 ** 43 - 1, 1);
    bitmap.mark(2 ** 40 + 5, 2 ** 21);
    expect([...bitmap.runs()]).toEqual([2 ** 40, 2 ** 22, 2 ** 43 - 2 ** 21, 2 ** 21]);
    // Page numbers that do not fit a signed 32-bit integer.
    const fine = new DirtyBitmap(2 ** 43 + 64 * PAGE);
    fine.mark(2 ** 43 + 5 * PAGE, PAGE);
    expect([4, 5, 6].map(page => fine.has(2 ** 43 + page * PAGE))).toEqual([false, true, false]);
  });

  it.each([
    [-1, 12],
    [1.5, 12],
    [Number.NaN, 12],
    [2 ** 44, 12],
    [PAGE, -1],
    [PAGE, 32],
    [PAGE, 1.5],
  ])('cannot be made for %d bytes in pages of 2^%d', (bytes, shift) => {
    expect(() => new DirtyBitmap(bytes, shift)).toThrow(expect.objectContaining({ code: 'ERR_VDPA_INVALID_ARGUMENT' }));
  });

  it('may be for no memory at all', () => {
    const bitmap = new DirtyBitmap(0);
    bitmap.mark(0, 0);
    expect([bitmap.any(), bitmap.count(), bitmap.runs().length]).toEqual([false, 0, 0]);
  });
});
