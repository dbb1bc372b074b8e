import { describe, expect, it } from 'vitest';
import { DirtyBitmap } from '../../lib/dirty/dirty-bitmap.js';
import { type DirtySnapshot, DirtyView } from '../../lib/dirty/dirty-view.js';
import { AddressError } from '../../lib/errors.js';

const PAGE = 4096;
/** Pages of a window, the piece in which memory for marks is allocated, and bytes of a whole one. */
const WINDOW = 2 ** 18;
const WINDOW_BYTES = WINDOW / 8 + WINDOW / 8 / 32;

describe('DirtyBitmap', () => {
  it('marks every page a range touches, whole', () => {
    const bitmap = new DirtyBitmap(100 * PAGE);
    bitmap.mark(PAGE - 1, 2);
    bitmap.mark(3 * PAGE, PAGE);
    bitmap.mark(5 * PAGE + 10, 1);
    expect([...bitmap.runs()]).toEqual([0, 2 * PAGE, 3 * PAGE, PAGE, 5 * PAGE, PAGE]);
    expect(bitmap.count()).toBe(4);
    expect(bitmap.markedBytes()).toBe(4 * PAGE);
  });

  it('marks nothing for a length of 0, also at the very end', () => {
    const bitmap = new DirtyBitmap(2 * PAGE);
    bitmap.mark(0, 0);
    bitmap.mark(PAGE + 5, 0);
    bitmap.mark(2 * PAGE, 0);
    expect(bitmap.any()).toBe(false);
    expect(bitmap.count()).toBe(0);
    expect(bitmap.heldBytes).toBe(0);
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

  it.each([
    ['two windows', WINDOW - 3, 7],
    ['windows that are marked whole', WINDOW - 1, 2 * WINDOW + 2],
    ['two regions of 2^28 pages', 2 ** 28 - 5, 9],
    ['a window after a region', 2 ** 28 - 1, WINDOW + 2],
    ['a page number of 2^32', 2 ** 32 - 2, 5],
  ])('marks across %s as one run', (_what, first, pages) => {
    const bitmap = new DirtyBitmap(2 ** 45);
    bitmap.mark(first * PAGE, pages * PAGE);
    expect([...bitmap.runs()]).toEqual([first * PAGE, pages * PAGE]);
    expect(bitmap.count()).toBe(pages);
    expect([-1, 0, pages - 1, pages].map(i => bitmap.has((first + i) * PAGE))).toEqual([false, true, true, false]);
  });

  it('clips the last run to the memory', () => {
    const bitmap = new DirtyBitmap(2 * PAGE + 100);
    expect(bitmap.pages).toBe(3);
    bitmap.mark(2 * PAGE + 99, 1);
    expect([...bitmap.runs()]).toEqual([2 * PAGE, 100]);
    bitmap.mark(0, 1);
    expect(bitmap.markedBytes()).toBe(PAGE + 100);
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

  it('merges bitmaps of one memory, and no others', () => {
    const a = new DirtyBitmap(40 * PAGE);
    const b = new DirtyBitmap(40 * PAGE);
    a.mark(0, PAGE);
    b.mark(39 * PAGE, PAGE);
    a.or(b);
    a.or(b.snapshot());
    expect([...a.runs()]).toEqual([0, PAGE, 39 * PAGE, PAGE]);
    expect(b.count()).toBe(1);
    expect(() => a.or(new DirtyBitmap(41 * PAGE))).toThrow(/different memory/);
    expect(() => a.or(new DirtyBitmap(40 * PAGE, 13))).toThrow(/different memory/);
  });

  it('has marks of its own after a merge', () => {
    const a = new DirtyBitmap(40 * PAGE);
    const b = new DirtyBitmap(40 * PAGE);
    b.mark(7 * PAGE, 1);
    a.or(b);
    b.mark(8 * PAGE, 1);
    expect([...a.runs()]).toEqual([7 * PAGE, PAGE]);
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
    [2 ** 53, 12],
    [PAGE, -1],
    [PAGE, 53],
    [PAGE, 1.5],
  ])('cannot be made for %d bytes in pages of 2^%d', (bytes, shift) => {
    expect(() => new DirtyBitmap(bytes, shift)).toThrow(expect.objectContaining({ code: 'ERR_VDPA_INVALID_ARGUMENT' }));
  });

  it('may be for no memory at all', () => {
    const bitmap = new DirtyBitmap(0);
    bitmap.mark(0, 0);
    expect([bitmap.any(), bitmap.count(), bitmap.runs().length]).toEqual([false, 0, 0]);
  });

  it.each([0, 12, 52])('covers 2^53 - 1 bytes in pages of 2^%i, and holds no memory until it is marked', shift => {
    const bytes = 2 ** 53 - 1;
    const bitmap = new DirtyBitmap(bytes, shift);
    expect(bitmap.heldBytes).toBe(0);
    bitmap.mark(bytes - 1, 1);
    const last = (bitmap.pages - 1) * bitmap.pageSize;
    expect([...bitmap.runs()]).toEqual([last, bytes - last]);
    expect(bitmap.markedBytes()).toBe(bytes - last);
    expect(bitmap.heldBytes).toBeLessThan(48 * 1024);
  });
});

describe('the memory of a DirtyBitmap', () => {
  it('grows with the windows that are marked, and not with what is marked in them', () => {
    const bitmap = new DirtyBitmap(2 ** 40);
    bitmap.mark(5 * PAGE, 1);
    const one = bitmap.heldBytes;
    expect(one).toBeGreaterThanOrEqual(WINDOW_BYTES);
    bitmap.mark(0, WINDOW * PAGE);
    expect(bitmap.heldBytes).toBe(one);
    bitmap.mark(700 * WINDOW * PAGE, 1);
    expect(bitmap.heldBytes).toBe(one + WINDOW_BYTES);
  });

  it('is less than a window for a small memory', () => {
    const bitmap = new DirtyBitmap(64 * PAGE);
    bitmap.mark(0, 64 * PAGE);
    expect(bitmap.heldBytes).toBeLessThan(2048);
  });

  it('is kept by clear where there were marks, and released where there were none', () => {
    const bitmap = new DirtyBitmap(2 ** 50);
    bitmap.mark(0, 1);
    bitmap.mark(2 ** 49, 1);
    const both = bitmap.heldBytes;
    bitmap.clear();
    expect(bitmap.heldBytes).toBe(both);
    bitmap.mark(2 ** 49, 1);
    bitmap.clear();
    expect(bitmap.heldBytes).toBeLessThan(both - WINDOW_BYTES);
    bitmap.clear();
    expect(bitmap.heldBytes).toBe(0);
    bitmap.mark(3, 1);
    expect([...bitmap.runs()]).toEqual([0, PAGE]);
  });
});

describe('scan', () => {
  it('has the runs in order, however far apart and in whatever order they were marked', () => {
    const bitmap = new DirtyBitmap(2 ** 50);
    const tebibytes = [100, 2, 9, 10, 0, 11, 1, 20];
    for (const number of tebibytes) bitmap.mark(number * 2 ** 40, 1);
    const starts = [...bitmap.runs()].filter((_, i) => i % 2 === 0);
    expect(starts).toEqual([0, 1, 2, 9, 10, 11, 20, 100].map(number => number * 2 ** 40));
  });

  it('hands over as many runs as there are, in pieces, and no run is cut between two', () => {
    const pages = 30_000;
    const bitmap = new DirtyBitmap(pages * PAGE);
    const expected: number[] = [];
    // Every third page, and a long run in the middle that goes on for many words.
    for (let page = 0; page < pages; page += 3) bitmap.mark(page * PAGE, 1);
    bitmap.mark(12_000 * PAGE, 7_001 * PAGE);
    for (let page = 0; page < pages; page += 3) {
      if (page === 12_000) expected.push(page * PAGE, 7_001 * PAGE);
      else if (page < 12_000 || page > 19_000) expected.push(page * PAGE, PAGE);
    }
    let calls = 0;
    const found: number[] = [];
    bitmap.scan((runs, count) => {
      calls++;
      found.push(...runs.subarray(0, count));
    });
    expect(found).toEqual(expected);
    expect(calls).toBeGreaterThan(2);
  });

  it('does not call back when nothing is marked', () => {
    const bitmap = new DirtyBitmap(2 ** 40);
    bitmap.scan(() => expect.unreachable());
    bitmap.mark(0, 1);
    bitmap.clear();
    bitmap.scan(() => expect.unreachable());
  });

  it('may be called within a scan', () => {
    const bitmap = new DirtyBitmap(10 * PAGE);
    bitmap.mark(0, 1);
    bitmap.mark(5 * PAGE, 1);
    const seen: number[] = [];
    bitmap.forEachRun(offset => bitmap.forEachRun(inner => seen.push(offset + inner)));
    expect(seen).toEqual([0, 5 * PAGE, 5 * PAGE, 10 * PAGE]);
  });
});

describe('a snapshot', () => {
  const marked = (): DirtyBitmap => {
    const bitmap = new DirtyBitmap(3 * WINDOW * PAGE + 100);
    bitmap.mark(5 * PAGE, 3 * PAGE);
    bitmap.mark(3 * WINDOW * PAGE, 1);
    return bitmap;
  };

  it('has the windows with marks and no others', () => {
    const bitmap = marked();
    bitmap.mark(2 * WINDOW * PAGE, 1);
    bitmap.clear();
    bitmap.mark(5 * PAGE, 1);
    bitmap.mark(3 * WINDOW * PAGE, 1);
    expect(bitmap.snapshot().numbers).toEqual([0, 3]);
  });

  it('is read through a view', () => {
    const bitmap = marked();
    const view = DirtyView.of(bitmap.snapshot());
    expect([...view.runs()]).toEqual([5 * PAGE, 3 * PAGE, 3 * WINDOW * PAGE, 100]);
    expect([view.count(), view.markedBytes(), view.any()]).toEqual([4, 3 * PAGE + 100, true]);
    expect([4, 5, 7, 8].map(page => view.has(page * PAGE))).toEqual([false, true, true, false]);
  });

  it('crosses to another thread without a copy of the bits', () => {
    const bitmap = marked();
    const view = DirtyView.of(structuredClone(bitmap.snapshot()));
    bitmap.mark(9 * PAGE, 1);
    expect(view.has(9 * PAGE)).toBe(true);
  });

  it.each([
    ['of a window beyond the memory', { numbers: [0, 2, 4] }],
    ['with one window twice', { numbers: [2, 2, 3] }],
    ['with windows out of order', { numbers: [2, 0, 3] }],
    ['of half a window', { numbers: [0.5, 2, 3] }],
    ['without the words', { windows: [] }],
    ['of another size of memory', { bytes: 3 * WINDOW * PAGE + 2 ** 22 + PAGE }],
    ['of no memory', { bytes: Number.NaN }],
  ] as [string, Partial<DirtySnapshot>][])('%s is refused', (_what, change) => {
    const invalid = expect.objectContaining({ code: 'ERR_VDPA_INVALID_ARGUMENT' });
    const bitmap = marked();
    bitmap.mark(2 * WINDOW * PAGE, 1);
    expect(() => DirtyView.of({ ...bitmap.snapshot(), ...change })).toThrow(invalid);
  });
});
