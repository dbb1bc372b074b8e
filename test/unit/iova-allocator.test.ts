/** The allocator: where ranges go, what is refused and why. The property test has the random operations. */
import { describe, expect, it } from 'vitest';
import { IovaAllocator, type IovaAllocatorOptions } from '../../lib/iova/allocator.js';

const PAGE = 4096;
const MiB = 2 ** 20;
const GiB = 2 ** 30;
const TOP = 2 ** 53;

const allocator = (options: Partial<IovaAllocatorOptions> = {}) =>
  new IovaAllocator({ first: 0n, last: 2n ** 64n - 1n, ...options });

const address = (details: object, ...words: string[]) =>
  expect.objectContaining({
    code: 'ERR_VDPA_ADDRESS',
    details: expect.objectContaining(details),
    message: expect.stringMatching(new RegExp(words.join('.*'))),
  });

describe('an allocator', () => {
  it('takes the first hole that is large enough, and never page 0', () => {
    const iovas = allocator();
    expect([iovas.allocate(PAGE), iovas.allocate(3 * PAGE), iovas.allocate(PAGE)]).toEqual([PAGE, 2 * PAGE, 5 * PAGE]);
    iovas.release(PAGE, PAGE);
    iovas.release(2 * PAGE, 3 * PAGE);
    expect(iovas.allocate(5 * PAGE)).toBe(6 * PAGE);
    expect(iovas.allocate(2 * PAGE)).toBe(PAGE);
    expect(iovas.allocate(2 * PAGE)).toBe(3 * PAGE);
    expect(iovas.heldRanges).toBe(4);
  });

  it('gives page 0 to who claims it', () => {
    const iovas = allocator({ last: BigInt(4 * PAGE - 1) });
    expect(iovas.freeBytes).toBe(3 * PAGE);
    iovas.claim(0, 2 * PAGE);
    expect(() => iovas.claim(0, PAGE)).toThrow(address({ first: 0, last: 2 * PAGE - 1 }));
    expect(iovas.allocate(PAGE)).toBe(2 * PAGE);
    iovas.release(0, 2 * PAGE);
    expect(iovas.freeBytes).toBe(2 * PAGE);
    iovas.claim(0, PAGE);
    iovas.release(0, PAGE);
    expect([iovas.allocate(PAGE), iovas.allocate(PAGE)]).toEqual([PAGE, 3 * PAGE]);
    expect(() => iovas.allocate(PAGE)).toThrow();
  });

  it.each([
    [2 * MiB, 2 * MiB, 0x7f12_3456_7000],
    [GiB - PAGE, 2 * MiB, 0x7f12_3456_7000],
    [GiB, GiB, 0x7f12_3456_7000],
    [128 * GiB, GiB, 0x7f00_0000_0000],
  ])('puts %i bytes where IOVA and memory agree modulo %i', (size, page, hva) => {
    const iovas = allocator();
    iovas.allocate(PAGE);
    const iova = iovas.allocate(size, hva);
    expect(iova % page).toBe(hva % page);
    expect(iova).toBeLessThan(page + 2 * PAGE);
  });

  it('puts what is smaller than a large page, or has no memory, anywhere', () => {
    const iovas = allocator();
    expect(iovas.allocate(2 * MiB - PAGE, 0x7f12_3456_7000)).toBe(PAGE);
    expect(iovas.allocate(GiB)).toBe(2 * MiB);
  });

  it('goes back to smaller pages when nothing else fits', () => {
    // Room for 1 GiB and 4 MiB, and what agrees modulo 1 GiB begins 8 MiB above its start.
    const iovas = allocator({ first: BigInt(GiB), last: BigInt(2 * GiB + 4 * MiB - 1) });
    expect(iovas.allocate(GiB, 3 * GiB + 8 * MiB)).toBe(GiB);
    iovas.release(GiB, GiB);
    expect(iovas.allocate(GiB, 3 * GiB + 8 * MiB + PAGE)).toBe(GiB + PAGE);
    iovas.release(GiB + PAGE, GiB);
    expect(iovas.allocate(GiB + 4 * MiB, 3 * GiB + 8 * MiB + PAGE)).toBe(GiB);
  });

  it('looks at 64 holes that nearly fit, and then at what surely does', () => {
    // Holes of 2 MiB and a page: a range of 2 MiB fits in agreement only if its memory is 0 or 1 pages off.
    const hole = 2 * MiB + PAGE;
    const place = (i: number) => 4 * MiB * (i + 1);
    const build = (count: number, offset: number) => {
      const iovas = allocator({ last: BigInt(place(count) - 1) });
      for (let i = 0; i < count; i++) iovas.claim(place(i) + hole, 4 * MiB - hole);
      iovas.claim(PAGE, place(0) - PAGE);
      return iovas.allocate(2 * MiB, offset);
    };
    expect(build(1000, PAGE)).toBe(place(0) + PAGE);
    expect(build(1000, 2 * PAGE)).toBe(place(0));
    // Behind them a hole of 2 MiB and 5 pages, in which that memory has its place, and all that is free above.
    const nearly = (holes: number) => {
      const iovas = allocator();
      iovas.claim(PAGE, place(0) - PAGE);
      for (let i = 0; i < holes; i++) iovas.claim(place(i) + hole, 4 * MiB - hole);
      iovas.claim(place(holes) + 2 * MiB + 5 * PAGE, MiB);
      return iovas.allocate(2 * MiB, 5 * PAGE);
    };
    expect(nearly(63)).toBe(place(63) + 5 * PAGE);
    expect(nearly(64)).toBe(place(65) + 5 * PAGE);
    // Surely: as large as the range and a page, less a granule, wherever it begins.
    const surely = (bytes: number) => {
      const iovas = allocator({ last: BigInt(place(100) + bytes - 1) });
      iovas.claim(PAGE, place(0) - PAGE);
      for (let i = 0; i < 100; i++) iovas.claim(place(i) + hole, 4 * MiB - hole);
      return iovas.allocate(2 * MiB, 2 * MiB - PAGE);
    };
    expect(surely(4 * MiB - PAGE)).toBe(place(100) + 2 * MiB - PAGE);
    expect(surely(4 * MiB - 2 * PAGE)).toBe(place(0));
  });

  it("stays within the device's range, both ends included, in whole pages", () => {
    const iovas = allocator({ first: 0x10_0001n, last: 0x10_3fffn });
    expect(iovas.allocate(3 * PAGE)).toBe(0x10_1000);
    expect(iovas.freeBytes).toBe(0);
    expect(() => iovas.allocate(PAGE)).toThrow();
    expect(allocator({ first: 0n, last: 0n }).freeBytes).toBe(0);
  });

  it('uses addresses up to 2^53 - 1 of a range that ends at 2^64 - 1, and none above', () => {
    const iovas = allocator();
    expect(iovas.freeBytes).toBe(TOP - PAGE);
    iovas.claim(TOP - PAGE, PAGE);
    expect(() => iovas.claim(TOP, PAGE)).toThrow(address({ start: TOP }));
    expect(() => iovas.claim(TOP - PAGE, 2 * PAGE)).toThrow(address({ size: 2 * PAGE }));
    expect(iovas.allocate(TOP - 2 * PAGE)).toBe(PAGE);
    expect(iovas.largestHole).toBe(0);
    expect(allocator({ first: 2n ** 53n }).freeBytes).toBe(0);
    expect(allocator({ first: 2n ** 53n - 4096n }).allocate(PAGE)).toBe(TOP - PAGE);
  });

  it('agrees with memory right up to the end of its addresses', () => {
    const iovas = allocator({ first: 2n ** 53n - 3n * BigInt(MiB) });
    expect(iovas.allocate(2 * MiB, 7 * MiB)).toBe(TOP - 3 * MiB);
    const shifted = allocator({ first: 2n ** 53n - 3n * BigInt(MiB) });
    expect(shifted.allocate(2 * MiB, TOP - 2 * MiB)).toBe(TOP - 2 * MiB);
  });

  it('never hands out a reserved window, nor a page that has a part of one', () => {
    const reserved = [
      { first: 0xfee0_0000, last: 0xfeef_ffff, type: 'msi' },
      { first: 0x3800, last: 0x3801, type: 'reserved' },
      { first: 0x5000, last: Number.MAX_VALUE, type: 'direct-relaxable' },
    ];
    const iovas = allocator({ reserved });
    expect(iovas.allocate(2 * PAGE)).toBe(0x1000);
    expect(iovas.allocate(PAGE)).toBe(0x4000);
    expect(iovas.allocate(0xfee0_0000 - 0x5000)).toBe(0x5000);
    expect(iovas.allocate(PAGE)).toBe(0xfef0_0000);
    expect(() => iovas.claim(0xfeef_f000, PAGE)).toThrow(
      address({ first: 0xfee0_0000, last: 0xfeef_ffff }, '0xfeeff000', '0xfee00000', 'msi', 'reserves'),
    );
    expect(() => iovas.claim(0x3000, PAGE)).toThrow(address({ first: 0x3800 }));
    expect(() => allocator({ reserved: [{ first: 0, last: 5, type: 'reserved' }] }).claim(0, PAGE)).toThrow(
      address({ first: 0 }),
    );
  });

  it('takes windows in any order, also if they overlap or are out of range', () => {
    const reserved = [
      { first: 0x8000, last: 2 ** 64, type: 'reserved' },
      { first: 0x2000, last: 0x4fff, type: 'reserved' },
      { first: 0x3000, last: 0x3fff, type: 'reserved' },
      { first: 0, last: 0x10ff, type: 'reserved' },
    ];
    const iovas = allocator({ reserved });
    expect(iovas.freeBytes).toBe(3 * PAGE);
    expect(iovas.allocate(3 * PAGE)).toBe(0x5000);
  });

  it('says what is in the way of a claim', () => {
    const iovas = allocator({ first: 0x1000n, last: 0xff_ffffn });
    iovas.claim(0x8000, 0x2000);
    for (const [iova, size] of [
      [0x7000, 0x2000],
      [0x9000, 0x1000],
      [0x9000, 0x4000],
      [0x8000, 0x2000],
    ]) {
      const held = address({ iova, size, first: 0x8000, last: 0x9fff }, '0x8000-0x9fff', 'held');
      expect(() => iovas.claim(iova, size)).toThrow(held);
    }
    const outside = address({}, '0x1000 to 0xffffff', 'GET_IOVA_RANGE');
    expect(() => iovas.claim(0, 0x2000)).toThrow(outside);
    expect(() => iovas.claim(0xff_f000, 0x2000)).toThrow(outside);
    iovas.claim(0x7000, 0x1000);
    iovas.claim(0xa000, 0x1000);
    expect(iovas.heldRanges).toBe(3);
  });

  it('says how much is free when there is no room', () => {
    const iovas = allocator({ last: BigInt(8 * PAGE - 1) });
    iovas.claim(3 * PAGE, PAGE);
    expect(() => iovas.allocate(5 * PAGE)).toThrow(
      address({ size: 5 * PAGE, free: 6 * PAGE, largest: 4 * PAGE }, '0x5000', '0x6000', '0x4000'),
    );
    expect(iovas.allocate(4 * PAGE)).toBe(4 * PAGE);
  });

  it('takes back exactly what it gave', () => {
    const iovas = allocator();
    const iova = iovas.allocate(4 * PAGE);
    for (const [at, size] of [
      [iova, PAGE],
      [iova, 5 * PAGE],
      [iova + PAGE, 3 * PAGE],
      [iova + 4 * PAGE, PAGE],
      [0, PAGE],
    ]) {
      expect(() => iovas.release(at, size)).toThrow(address({ iova: at, size }));
    }
    iovas.release(iova, 4 * PAGE);
    expect(() => iovas.release(iova, 4 * PAGE)).toThrow(address({ iova }));
    expect(iovas.largestHole).toBe(TOP - PAGE);
  });

  it('joins what is free again, on both sides', () => {
    const iovas = allocator({ last: BigInt(5 * PAGE - 1) });
    for (let i = 1; i < 5; i++) iovas.claim(i * PAGE, PAGE);
    const sizes = [3, 1, 2, 4].map(page => {
      iovas.release(page * PAGE, PAGE);
      return iovas.largestHole / PAGE;
    });
    expect(sizes).toEqual([1, 1, 3, 4]);
  });

  it('works in granules of the host, and refuses what is not made of them', () => {
    const iovas = allocator({ granule: 0x1_0000, first: 0x1000n });
    expect([iovas.granule, iovas.allocate(0x1_0000), iovas.allocate(0x3_0000)]).toEqual([0x1_0000, 0x1_0000, 0x2_0000]);
    for (const refused of [
      () => iovas.allocate(0x1000),
      () => iovas.allocate(0x1_0000, 0x1000),
      () => iovas.claim(0x10_1000, 0x1_0000),
      () => iovas.claim(0x10_0000, 0x1000),
      () => iovas.allocate(0),
      () => iovas.allocate(-0x1_0000),
      () => iovas.allocate(Number.NaN),
    ]) {
      expect(refused).toThrow(address({}));
    }
    expect(allocator({ granule: 2 * MiB }).allocate(8 * MiB, 6 * MiB)).toBe(2 * MiB);
    expect(() => allocator({ granule: 0x1800 })).toThrow(
      expect.objectContaining({ code: 'ERR_VDPA_INVALID_ARGUMENT' }),
    );
  });
});
