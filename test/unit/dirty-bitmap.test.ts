import { describe, expect, it } from 'vitest';
import { DirtyBitmap } from '../../lib/dirty/dirty-bitmap.js';
import { DirtyView } from '../../lib/dirty/dirty-view.js';
import { AddressError } from '../../lib/errors.js';

const PAGE = 4096;
/** Pages of a window, the piece in which memory for marks is allocated, and bytes of a whole one when it is a bitmap. */
const WINDOW = 2 ** 20;
const BITMAP_BYTES = WINDOW / 8 + WINDOW / 8 / 32;
/** Pages a window has as a list at most, and the longest range that goes to a list. */
const LIST = 2 ** 14;
const SHORT = 16;

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
    expect(bitmap.heldBytes).toBeLessThan(8 * 1024);
  });
});

describe('the memory of a DirtyBitmap', () => {
  it('is some hundred bytes for a window with few marks, and grows with them up to that of a bitmap', () => {
    const bitmap = new DirtyBitmap(2 ** 40);
    bitmap.mark(5 * PAGE, 1);
    const one = bitmap.heldBytes;
    expect(one).toBeLessThan(8 * 1024);
    bitmap.mark(200 * WINDOW * PAGE, 1);
    expect(bitmap.heldBytes - one).toBeLessThan(512);
    for (let page = 0; page < 3000; page++) bitmap.mark(3 * page * PAGE, 1);
    expect(bitmap.heldBytes - one).toBeLessThan(32 * 1024);
    bitmap.mark(0, WINDOW * PAGE);
    expect(bitmap.heldBytes - one).toBeGreaterThan(BITMAP_BYTES - 512);
    expect(bitmap.heldBytes - one).toBeLessThan(BITMAP_BYTES + 512);
  });

  it('is less than that of a window for a small memory', () => {
    const bitmap = new DirtyBitmap(64 * PAGE);
    bitmap.mark(0, 64 * PAGE);
    expect(bitmap.heldBytes).toBeLessThan(5 * 1024);
  });

  it.each([
    ['lists', 1],
    ['bitmaps', 100 * PAGE],
  ])('is kept by clear where there were marks, and released where there were none: %s', (_what, length) => {
    const bitmap = new DirtyBitmap(2 ** 50);
    bitmap.mark(0, length);
    bitmap.mark(2 ** 49, length);
    const both = bitmap.heldBytes;
    bitmap.clear();
    expect(bitmap.heldBytes).toBe(both);
    bitmap.mark(2 ** 49, length);
    bitmap.clear();
    expect(bitmap.heldBytes).toBe(both / 2);
    bitmap.clear();
    expect(bitmap.heldBytes).toBe(0);
    bitmap.mark(3, 1);
    expect([...bitmap.runs()]).toEqual([0, PAGE]);
  });
});

describe('a window', () => {
  const starts = (bitmap: DirtyBitmap) => [...bitmap.runs()].filter((_, i) => i % 2 === 0);

  it('has the pages of a list in order and once, in whatever order and however often they were marked', () => {
    for (const pages of [5, 32, 33, 700]) {
      const bitmap = new DirtyBitmap(2 ** 40);
      // Every third page, from behind and then from the middle on, each three times.
      for (let i = 0; i < 3 * pages; i++) bitmap.mark((((pages + i * (pages - 1)) % pages) * 3 + 9) * PAGE, 1);
      expect(starts(bitmap)).toEqual(Array.from({ length: pages }, (_, i) => (i * 3 + 9) * PAGE));
      expect(bitmap.count()).toBe(pages);
      bitmap.mark(10 * PAGE, 1);
      bitmap.mark(0, 1);
      expect(starts(bitmap).slice(0, 2)).toEqual([0, 9 * PAGE]);
      expect(bitmap.count()).toBe(pages + 2);
    }
  });

  it('counts a page once that was marked often', () => {
    const bitmap = new DirtyBitmap(2 ** 40);
    for (let i = 0; i < 100; i++) bitmap.mark((i % 7) * PAGE, 1);
    expect(bitmap.count()).toBe(7);
    expect(DirtyView.of(bitmap.snapshot()).count()).toBe(7);
  });

  it.each([LIST - 1, LIST, LIST + 1, 3 * LIST])('has %i single pages, as a list or as a bitmap', pages => {
    const bitmap = new DirtyBitmap(2 ** 40);
    for (let i = pages; i > 0; i--) bitmap.mark(i * 5 * PAGE, 1);
    expect(starts(bitmap)).toEqual(Array.from({ length: pages }, (_, i) => (i + 1) * 5 * PAGE));
    expect(bitmap.has(5 * pages * PAGE)).toBe(true);
    expect(bitmap.has((5 * pages + 1) * PAGE)).toBe(false);
  });

  it.each([SHORT, SHORT + 1])('keeps what was in its list when a range of %i pages comes', pages => {
    const bitmap = new DirtyBitmap(2 ** 40);
    bitmap.mark(3 * PAGE, 1);
    bitmap.mark((WINDOW - 5) * PAGE, pages * PAGE);
    bitmap.mark(70 * PAGE, 1);
    expect([...bitmap.runs()]).toEqual([3 * PAGE, PAGE, 70 * PAGE, PAGE, (WINDOW - 5) * PAGE, pages * PAGE]);
  });

  it.each([
    ['a list into a list', 1, 1],
    ['a list into a bitmap', 1, 40],
    ['a bitmap into a list', 40, 1],
    ['a bitmap into a bitmap', 40, 40],
  ])('is merged, %s', (_what, from, to) => {
    const [source, target] = [new DirtyBitmap(2 ** 40), new DirtyBitmap(2 ** 40)];
    source.mark(100 * PAGE, from * PAGE);
    source.mark(7 * PAGE, 1);
    target.mark(200 * PAGE, to * PAGE);
    target.mark(7 * PAGE, 1);
    target.or(source);
    expect([...target.runs()]).toEqual([7 * PAGE, PAGE, 100 * PAGE, from * PAGE, 200 * PAGE, to * PAGE]);
    expect([...source.runs()]).toEqual([7 * PAGE, PAGE, 100 * PAGE, from * PAGE]);
  });

  it('takes lists from others until it is a bitmap', () => {
    const target = new DirtyBitmap(2 ** 40);
    for (let round = 0; round < 5; round++) {
      const source = new DirtyBitmap(2 ** 40);
      for (let i = 0; i < LIST / 4 + 3; i++) source.mark((i * 10 + 2 * round) * PAGE, 1);
      target.or(source);
      expect(target.count()).toBe((round + 1) * (LIST / 4 + 3));
    }
    expect(target.runs().length / 2).toBe(5 * (LIST / 4 + 3));
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
    expect(bitmap.snapshot().windows.map(window => window.number)).toEqual([0, 3]);
  });

  it('is read through a view', () => {
    const bitmap = marked();
    const view = DirtyView.of(bitmap.snapshot());
    expect([...view.runs()]).toEqual([5 * PAGE, 3 * PAGE, 3 * WINDOW * PAGE, 100]);
    expect([view.count(), view.markedBytes(), view.any()]).toEqual([4, 3 * PAGE + 100, true]);
    expect([4, 5, 7, 8].map(page => view.has(page * PAGE))).toEqual([false, true, true, false]);
  });

  it('crosses to another thread without a copy of the marks', () => {
    const bitmap = marked();
    bitmap.mark(0, 100 * PAGE);
    const view = DirtyView.of(structuredClone(bitmap.snapshot()));
    bitmap.mark(200 * PAGE, 100 * PAGE);
    expect(view.has(250 * PAGE)).toBe(true);
    const { buffer } = bitmap.snapshot().windows[1]!.words;
    expect(buffer).toBeInstanceOf(SharedArrayBuffer);
  });

  const invalid = expect.objectContaining({ code: 'ERR_VDPA_INVALID_ARGUMENT' });
  const [list, bits] = [new Int32Array(64), new Int32Array(BITMAP_BYTES / 4)];
  /** Of the last window, of one page: its summary and a line, with a page behind the last. */
  const stray = new Int32Array(1024 + 32).fill(2, 1024, 1025);

  it.each([
    ['of a window beyond the memory', [[4, list, 0]]],
    [
      'with one window twice',
      [
        [2, list, 0],
        [2, list, 0],
      ],
    ],
    [
      'with windows out of order',
      [
        [2, list, 0],
        [0, list, 0],
      ],
    ],
    ['of half a window', [[0.5, list, 0]]],
    ['of a list longer than its memory', [[0, list, 65]]],
    ['of a list of a negative length', [[0, list, -1]]],
    ['of a list of half a page', [[0, list, 0.5]]],
    ['of a list in other memory', [[0, new Int32Array(63), 5]]],
    ['of a bitmap in the memory of a list', [[0, list, undefined]]],
    ['of a list in the memory of a bitmap', [[0, bits, 5]]],
    ['of a bitmap that is larger than the memory', [[3, bits, undefined]]],
    ['of a bitmap with a page behind the memory', [[3, stray, undefined]]],
    ['of a list with a page behind the memory', [[3, new Int32Array(64).fill(1), 1]]],
    ['of a list with a page behind the window', [[0, new Int32Array(64).fill(WINDOW), 1]]],
    ['of a list with a negative page', [[0, new Int32Array(64).fill(-1), 1]]],
  ] as [string, [number, Int32Array, number | undefined][]][])('%s is refused', (_what, windows) => {
    const snapshot = {
      ...marked().snapshot(),
      windows: windows.map(([number, words, count]) => ({ number, words, count })),
    };
    expect(() => DirtyView.of(snapshot)).toThrow(invalid);
  });

  it('of one page is taken, as a list and as a bitmap', () => {
    for (const [words, count] of [
      [new Int32Array(64), 1],
      [new Int32Array(1024 + 32).fill(1, 0, 1).fill(1, 1024, 1025), undefined],
    ] as const) {
      const view = DirtyView.of({ ...marked().snapshot(), windows: [{ number: 3, words, count }] });
      expect([...view.runs()]).toEqual([3 * WINDOW * PAGE, 100]);
    }
  });

  it('of a memory that cannot be is refused', () => {
    expect(() => DirtyView.of({ ...marked().snapshot(), bytes: Number.NaN })).toThrow(invalid);
  });
});
