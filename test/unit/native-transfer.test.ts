import { statSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { addon, EBADF, EINVAL, PAGE } from './native-support.js';

const PAGES = 1024;
const SIZE = PAGES * PAGE;

let from: number;
let to: number;
beforeEach(() => {
  from = addon.regionCreate('from', SIZE);
  to = addon.regionCreate('to', SIZE);
});
afterEach(() => {
  addon.regionClose(from);
  addon.regionClose(to);
});

const bytes = (region: number): Uint8Array => new Uint8Array(addon.regionView(region, 0, SIZE, SIZE) as ArrayBuffer);
const allocated = (region: number): number => statSync(`/proc/self/fd/${addon.regionFd(region)}`).blocks * 512;
const whole = Float64Array.of(0, SIZE);

describe('regionCopy', () => {
  it('copies data and leaves holes, on both sides', async () => {
    bytes(from).fill(1, 3 * PAGE, 5 * PAGE);
    bytes(from).fill(2, 700 * PAGE, 1000 * PAGE);
    const total = await addon.regionCopy(from, to, whole);
    expect(total).toMatchObject({ errno: 0, data: 302 * PAGE, holes: (PAGES - 302) * PAGE });
    expect([allocated(from), allocated(to)]).toEqual([302 * PAGE, 302 * PAGE]);
    expect(Buffer.compare(bytes(from), bytes(to))).toBe(0);
  });

  it('makes zeroes of data where the source has a hole, in the pages a device may have pinned', async () => {
    bytes(to).fill(0xee);
    bytes(from)[8 * PAGE] = 1;
    expect(await addon.regionCopy(from, to, whole)).toMatchObject({ errno: 0, data: PAGE, holes: SIZE - PAGE });
    expect(allocated(to)).toBe(SIZE);
    expect(bytes(to).findIndex(byte => byte !== 0)).toBe(8 * PAGE);
    expect(bytes(to)[8 * PAGE]).toBe(1);
  });

  it('touches nothing outside its ranges, to the byte', async () => {
    bytes(from).fill(5, 0, 4 * PAGE);
    bytes(to).fill(7, 0, 4 * PAGE);
    bytes(to).fill(7, 100 * PAGE, 101 * PAGE);
    const total = await addon.regionCopy(from, to, Float64Array.of(10, 20, 2 * PAGE - 1, 2, 100 * PAGE + 8, 8));
    expect(total).toMatchObject({ errno: 0, data: 22, holes: 8 });
    const expected = new Uint8Array(4 * PAGE)
      .fill(7)
      .fill(5, 10, 30)
      .fill(5, 2 * PAGE - 1, 2 * PAGE + 1);
    expect(Buffer.compare(bytes(to).subarray(0, 4 * PAGE), expected)).toBe(0);
    expect([...bytes(to).subarray(100 * PAGE + 6, 100 * PAGE + 18)]).toEqual([7, 7, 0, 0, 0, 0, 0, 0, 0, 0, 7, 7]);
  });

  it('refuses what is out of bounds before it copies anything', async () => {
    bytes(from).fill(1);
    for (const ranges of [
      [0, PAGE, 0, SIZE + 1],
      [0, PAGE, SIZE, 1],
      [0, PAGE, 2 ** 53 - 1, PAGE],
      [0, PAGE, -1, 1],
      [0, PAGE, Number.NaN, 1],
      [0, PAGE, 7],
    ]) {
      expect(await addon.regionCopy(from, to, Float64Array.from(ranges))).toMatchObject({
        errno: EINVAL,
        data: 0,
        holes: 0,
      });
    }
    expect(allocated(to)).toBe(0);
    expect(await addon.regionCopy(from, 1 << 30, whole)).toMatchObject({ errno: EBADF });
    const small = addon.regionCreate('small', PAGE);
    expect(await addon.regionCopy(from, small, whole)).toMatchObject({ errno: EINVAL });
    addon.regionClose(small);
  });

  it('holds its regions: closing them meanwhile is safe, and many run at once', async () => {
    const pairs = Array.from({ length: 8 }, (_, i) => {
      const a = addon.regionCreate(`a${i}`, SIZE);
      bytes(a).fill(i + 1);
      return [a, addon.regionCreate(`b${i}`, SIZE)];
    });
    const copies = pairs.map(([a, b]) => addon.regionCopy(a, b, whole));
    for (const [a] of pairs) addon.regionClose(a);
    for (const total of await Promise.all(copies)) expect(total).toMatchObject({ errno: 0, data: SIZE });
    pairs.forEach(([, b], i) => {
      expect(bytes(b).every(byte => byte === i + 1)).toBe(true);
      addon.regionClose(b);
    });
  });
});

describe('regionCompare', () => {
  it('finds the pages that differ, and counts holes apart without filling them', async () => {
    bytes(from).fill(3, 10 * PAGE, 20 * PAGE);
    bytes(to).fill(3, 12 * PAGE, 20 * PAGE);
    bytes(to)[15 * PAGE + 4095] = 4;
    bytes(to)[30 * PAGE] = 1;
    // Zeroes against a hole are equal, and data.
    bytes(to).fill(0, 40 * PAGE, 41 * PAGE);
    const before = [allocated(from), allocated(to)];
    const total = await addon.regionCompare(from, to, whole);
    expect(total).toEqual({
      errno: 0,
      data: 12 * PAGE,
      holes: (PAGES - 12) * PAGE,
      mismatches: 4,
      first: Float64Array.of(10 * PAGE, 11 * PAGE, 15 * PAGE, 30 * PAGE),
    });
    expect([allocated(from), allocated(to)]).toEqual(before);
  });

  it('names the first sixteen and counts them all, across blocks', async () => {
    bytes(from).fill(1);
    bytes(to).fill(2);
    const total = await addon.regionCompare(from, to, whole);
    expect(total).toMatchObject({ errno: 0, data: SIZE, holes: 0, mismatches: PAGES });
    expect([...total.first]).toEqual(Array.from({ length: 16 }, (_, i) => i * PAGE));
  });

  it('looks at its ranges only', async () => {
    bytes(from).fill(1, 5 * PAGE, 7 * PAGE);
    const total = await addon.regionCompare(from, to, Float64Array.of(0, 5 * PAGE, 6 * PAGE, 10 * PAGE));
    expect(total).toMatchObject({ errno: 0, data: PAGE, holes: 14 * PAGE, mismatches: 1 });
    expect(total.first[0]).toBe(6 * PAGE);
  });

  it('refuses ranges out of bounds or not of whole pages', async () => {
    for (const ranges of [
      [0, SIZE + PAGE],
      [1, PAGE],
      [0, 1],
    ]) {
      expect(await addon.regionCompare(from, to, Float64Array.from(ranges))).toMatchObject({ errno: EINVAL, data: 0 });
    }
  });

  it('answers equal after a copy of random pages', async () => {
    let seed = 12345;
    const random = (limit: number) => {
      seed = (seed * 1103515245 + 12345) % 2 ** 31;
      return seed % limit;
    };
    for (let i = 0; i < 200; i++) {
      bytes(from)[random(SIZE)] = random(256);
      bytes(to)[random(SIZE)] = random(256);
    }
    await addon.regionCopy(from, to, whole);
    expect(await addon.regionCompare(from, to, whole)).toMatchObject({ errno: 0, mismatches: 0 });
    expect(Buffer.compare(bytes(from), bytes(to))).toBe(0);
  });
});
