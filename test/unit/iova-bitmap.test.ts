/** The kernel's iova_bitmap: its windows, the cases its own tests have, and those it gets wrong. */
import { describe, expect, it } from 'vitest';
import { type BitmapWindow, IovaBitmap } from '../../lib/dirty/iova-bitmap.js';
import { AddressError } from '../../lib/errors.js';

const K4 = 2 ** 12;
const M2 = 2 ** 21;
const G1 = 2 ** 30;
const T1 = 2 ** 40;

/** Bytes for so many pages that begin at `offset` of a page of memory. */
function bytesAt(offset: number, pages: number): Uint8Array {
  return new Uint8Array(new ArrayBuffer(offset + Math.ceil(pages / 8)), offset);
}

function bitmap(iova: number, length: number, pageSize = K4, offset = 0): IovaBitmap {
  return new IovaBitmap(iova, length, pageSize, bytesAt(offset, Math.ceil(length / pageSize)));
}

function windowsOf(map: IovaBitmap): BitmapWindow[] {
  const windows: BitmapWindow[] = [];
  map.forEachWindow(window => windows.push(window));
  return windows;
}

function runsOf(map: IovaBitmap): number[][] {
  const runs: number[][] = [];
  map.forEachRun((iova, length) => runs.push([iova, length]));
  return runs;
}

const geometry = (map: IovaBitmap) => windowsOf(map).map(w => [w.iova, w.length, w.pages, w.pageOffset]);

describe('windows', () => {
  const cases: [string, IovaBitmap, number[][]][] = [
    [
      '4 GiB to 128 GiB in pages of 4 KiB',
      bitmap(4 * G1, 124 * G1),
      [
        [0x1_0000_0000, 0x10_0000_0000, 512, 0],
        [0x11_0000_0000, 0xf_0000_0000, 480, 0],
      ],
    ],
    [
      'the same from byte 0xff1 of a page on',
      bitmap(4 * G1, 124 * G1, K4, 0xff1),
      [
        [0x1_0000_0000, 0xf_f807_8000, 512, 0xff1],
        [0x10_f807_8000, 0xf_07f8_8000, 481, 0],
      ],
    ],
    [
      '64 GiB and one page',
      bitmap(0, 64 * G1 + K4),
      [
        [0, 0x10_0000_0000, 512, 0],
        [0x10_0000_0000, 0x1000, 1, 0],
      ],
    ],
    [
      '64 GiB from byte 8 of a page on',
      bitmap(0, 64 * G1, K4, 8),
      [
        [0, 0xf_fffc_0000, 512, 8],
        [0xf_fffc_0000, 0x4_0000, 1, 0],
      ],
    ],
    [
      '64 TiB in pages of 2 MiB',
      bitmap(0, 64 * T1, M2),
      [
        [0, 0x2000_0000_0000, 512, 0],
        [0x2000_0000_0000, 0x2000_0000_0000, 512, 0],
      ],
    ],
    [
      'nine pages, with a page that the kernel counts for the offset alone',
      bitmap(0x1000, 0x9000, K4, 7),
      [[0x1000, 0x9000, 2, 7]],
    ],
    ['nothing', bitmap(0x1000, 0), []],
  ];

  it.each(cases)('of %s', (_what, map, expected) => {
    expect(geometry(map)).toEqual(expected);
  });

  it.each(cases)('of %s leave nothing out and overlap nowhere, in addresses and in bytes', (_what, map) => {
    let [iova, byte] = [map.iova, map.data.byteOffset];
    for (const window of windowsOf(map)) {
      expect([window.iova, window.data.byteOffset, window.data.buffer]).toEqual([iova, byte, map.data.buffer]);
      iova += window.length;
      byte += window.data.length;
    }
    expect([iova, byte]).toEqual([map.iova + map.length, map.data.byteOffset + map.data.length]);
  });

  it('read alone show what is dirty in them', () => {
    const map = bitmap(0, 64 * G1, K4, 8);
    const [first, second] = windowsOf(map);
    map.set(second!.iova - K4, 3 * K4);
    const parts = [first!, second!].map(w => runsOf(new IovaBitmap(w.iova, w.length, K4, w.data)));
    expect(parts).toEqual([[[second!.iova - K4, K4]], [[second!.iova, 2 * K4]]]);
  });
});

describe('a record', () => {
  it('marks every page it touches, whole: an unaligned start rounds down, an end up', () => {
    const map = bitmap(0x10_0000, 16 * K4);
    map.set(0x10_0000 + K4 - 1, 2);
    map.set(0x10_0000 + 4 * K4 + 7, K4 - 8);
    map.set(0x10_0000 + 8 * K4 + 5, K4);
    expect([...map.data]).toEqual([0b0001_0011, 0b0000_0011]);
  });

  it('of length 0 marks nothing, wherever it is', () => {
    const map = bitmap(0x1000, 8 * K4);
    for (const iova of [0, 0x1000, 0x1fff, 0x9000, 2 ** 53 - 1]) map.set(iova, 0);
    expect(map.count()).toBe(0);
  });

  it('may overlap another; bits are only ever set', () => {
    const map = bitmap(0, 64 * K4);
    map.set(3 * K4, 10 * K4);
    map.set(8 * K4, 20 * K4);
    map.set(4 * K4, K4);
    expect(runsOf(map)).toEqual([[3 * K4, 25 * K4]]);
  });

  it.each([0, 1, 7, 0xff1])('is kept where it crosses the end of a window that begins at byte %i of a page', offset => {
    const map = bitmap(4 * G1, 124 * G1, K4, offset);
    const [first, second] = windowsOf(map);
    const edge = first!.iova + first!.length;
    map.set(edge - K4, K4);
    expect([first!.data.at(-1), second!.data[0]]).toEqual([0x80, 0]);
    map.set(edge - 1, 2);
    expect([first!.data.at(-1), second!.data[0]]).toEqual([0x80, 1]);
    map.set(edge - 100 * K4, 300 * K4);
    expect(runsOf(map)).toEqual([[edge - 100 * K4, 300 * K4]]);
  });

  it('can span several windows', () => {
    const map = bitmap(0, 200 * G1, K4, 3);
    expect(windowsOf(map)).toHaveLength(4);
    map.set(K4, 200 * G1 - 2 * K4);
    expect(map.count()).toBe((200 * G1) / K4 - 2);
    expect(runsOf(map)).toEqual([[K4, 200 * G1 - 2 * K4]]);
  });

  it.each([
    ['over the end', 0x1000 + 9 * K4 - 1, 64 * K4, 8, 1],
    ['from before the start', 0, 0x1001, 0, 1],
    ['around the whole range', 0, 2 ** 53 - 1, 0, 9],
    ['behind the end', 0x1000 + 9 * K4, K4, 0, 0],
    ['before the start', 0, 0x1000, 0, 0],
  ])('%s marks only pages of the range, and no bit behind the last', (_what, iova, length, first, pages) => {
    const memory = new Uint8Array(16);
    const map = new IovaBitmap(0x1000, 9 * K4, K4, memory.subarray(5));
    map.set(iova, length);
    expect(runsOf(map)).toEqual(pages === 0 ? [] : [[0x1000 + first * K4, pages * K4]]);
    const bits = memory.reduce((sum, byte) => sum + byte.toString(2).replaceAll('0', '').length, 0);
    expect(bits).toBe(pages);
  });

  it('ends the last run with a range that ends within a page', () => {
    const map = bitmap(0x1000, 3 * K4 + 100);
    map.set(0, 2 ** 40);
    expect([map.pages, map.count()]).toEqual([4, 4]);
    expect(runsOf(map)).toEqual([[0x1000, 3 * K4 + 100]]);
  });

  it.each([
    [-1, 1],
    [0, -1],
    [0.5, 1],
    [Number.NaN, 1],
    [0, Number.NaN],
    [1, 2 ** 53 - 1],
    [2 ** 53 - 1, 1],
  ])('of %d, %d is refused', (iova, length) => {
    const map = bitmap(0, 8 * K4);
    expect(() => map.set(iova, length)).toThrow(AddressError);
    expect(map.count()).toBe(0);
  });
});

describe.each([12, 21, 30])('in pages of 2^%i', shift => {
  const page = 2 ** shift;

  it.each([7, 8, 32, 64, 80, 144, 1000])('%i pages are marked one by one, and read back at any offset', pages => {
    for (const offset of [0, 1, 2, 3, 2048, 0xff1]) {
      const map = bitmap(5 * page, pages * page, page, offset);
      for (let i = 0; i < pages; i += 3) map.set((5 + i) * page + 1, 1);
      expect(map.count()).toBe(Math.ceil(pages / 3));
      for (let i = 0; i < pages; i++) expect(map.has((5 + i) * page)).toBe(i % 3 === 0);
      expect(runsOf(map)).toEqual(Array.from({ length: Math.ceil(pages / 3) }, (_, i) => [(5 + 3 * i) * page, page]));
    }
  });
});

/** What the kernel's own tests do: mock pages of 2 KiB, bitmaps of half a byte to 8 KiB, at three offsets. */
describe('as the tests of the kernel use it', () => {
  const BUFFERS = [8 * 2 ** 10, 16 * 2 ** 10, 64 * 2 ** 10, 128 * 2 ** 10, 320 * 2 ** 10, 64 * 2 ** 20, 128 * 2 ** 20];
  const HUGE = 512 * 2048;

  it.each([...BUFFERS.map(size => [size, 2048]), [64 * 2 ** 20, HUGE], [128 * 2 ** 20, HUGE]])(
    '%i bytes written in steps of %i are dirty in groups',
    (size, step) => {
      for (const offset of [0, 2048, 0xff1]) {
        const pages = size / K4;
        const map = bitmap(0, size, K4, offset);
        for (let at = 0; at < size; at += 2 * step) map.set(at, step);
        const perGroup = Math.max(1, (2 * step) / K4);
        const set = Math.max(1, step / K4);
        expect(map.count()).toBe((pages / perGroup) * set);
        for (let i = 0; i < pages; i++) {
          if (map.has(i * K4) !== i % perGroup < set) expect.unreachable(`page ${i} at offset ${offset}`);
        }
      }
    },
  );
});

describe('IovaBitmap', () => {
  it('has the bit order of little-endian words: page k in bit k % 8 of byte k / 8', () => {
    const map = bitmap(0, 64 * K4);
    for (const page of [0, 9, 63]) map.set(page * K4, 1);
    expect([...map.data]).toEqual([1, 2, 0, 0, 0, 0, 0, 0x80]);
  });

  it('leaves bytes and bits that are not its own alone, and does not see them', () => {
    const memory = new Uint8Array(64).fill(0xff);
    const map = new IovaBitmap(0, 13 * K4, K4, memory.subarray(7));
    memory.fill(0, 7, 8);
    memory[8] = 0xe0;
    expect([map.count(), runsOf(map)]).toEqual([0, []]);
    map.set(0, 13 * K4);
    expect([map.count(), runsOf(map)]).toEqual([13, [[0, 13 * K4]]]);
    memory[8] = 0x1f;
    expect(runsOf(map)).toEqual([[0, 13 * K4]]);
    const other = new IovaBitmap(0, 13 * K4, K4, new Uint8Array(2).fill(0xff));
    memory.fill(0, 7, 9);
    map.or(other);
    expect([...memory.subarray(6, 10)]).toEqual([0xff, 0xff, 0x1f, 0xff]);
  });

  it.each([
    [0, 0],
    [1, 1],
    [1, 3],
    [0, 2],
  ])('merges another that begins at byte %i of a word into one at byte %i', (from, to) => {
    const a = bitmap(0, 100 * K4, K4, to);
    const b = bitmap(0, 100 * K4, K4, from);
    a.set(0, K4);
    b.set(50 * K4, 50 * K4);
    a.or(b);
    expect(runsOf(a)).toEqual([
      [0, K4],
      [50 * K4, 50 * K4],
    ]);
    expect(b.count()).toBe(50);
  });

  it.each([
    [0x1000, 8 * K4, K4],
    [0, 9 * K4, K4],
    [0, 8 * K4, 2 * K4],
  ])('does not merge one of another range or page size', (iova, length, page) => {
    expect(() => bitmap(0, 8 * K4).or(bitmap(iova, length, page))).toThrow(/cannot be merged/);
  });

  it('knows ranges up to 2^53 - 1', () => {
    const map = bitmap(2 ** 52, 2 ** 52 - 1, 2 ** 40);
    map.set(2 ** 53 - 2, 1);
    expect(runsOf(map)).toEqual([[2 ** 53 - 2 ** 40, 2 ** 40 - 1]]);
    expect([map.has(2 ** 53 - 2), map.has(2 ** 53 - 2 ** 40 - 1)]).toEqual([true, false]);
  });

  it('knows page numbers above 2^32', () => {
    // 513 MiB of bitmap, which the system does not back with memory before it is touched.
    const map = bitmap(0, (2 ** 32 + 2 ** 23) * K4);
    map.set((2 ** 32 + 4) * K4, 3 * K4);
    expect(map.data[2 ** 29]).toBe(0b0111_0000);
    expect([3, 4, 6, 7].map(page => map.has((2 ** 32 + page) * K4))).toEqual([false, true, true, false]);
    expect(map.data[0]).toBe(0);
  });

  it.each([-1, 0xfff, 0x1000 + 8 * K4, Number.NaN])('does not say whether %d, outside its range, is dirty', iova => {
    expect(() => bitmap(0x1000, 8 * K4).has(iova)).toThrow(AddressError);
  });

  it.each([
    [-1, K4, K4, 'ERR_VDPA_ADDRESS'],
    [0, -1, K4, 'ERR_VDPA_ADDRESS'],
    [2 ** 52, 2 ** 52, K4, 'ERR_VDPA_ADDRESS'],
    [0, K4, 0, 'ERR_VDPA_INVALID_ARGUMENT'],
    [0, K4, 3, 'ERR_VDPA_INVALID_ARGUMENT'],
    [0, K4, 0.5, 'ERR_VDPA_INVALID_ARGUMENT'],
    [0, K4, 2 ** 49 + 1, 'ERR_VDPA_INVALID_ARGUMENT'],
    [0, 9 * K4, K4, 'ERR_VDPA_INVALID_ARGUMENT'],
  ])('cannot be of %d, %d in pages of %d on one byte', (iova, length, page, code) => {
    expect(() => new IovaBitmap(iova, length, page, new Uint8Array(1))).toThrow(expect.objectContaining({ code }));
  });
});
