import { describe, expect, it } from 'vitest';
import { DirtyBitmap } from '../../lib/dirty/dirty-bitmap.js';
import { exportVhostLog, importVhostLog, VHOST_LOG_PAGE, vhostLogSize } from '../../lib/dirty/vhost-log.js';
import { AddressError, VdpaError } from '../../lib/errors.js';

const PAGE = VHOST_LOG_PAGE;

describe('the vhost log', () => {
  it.each([
    [0, 0],
    [1, 8],
    [64 * PAGE, 8],
    [64 * PAGE + 1, 16],
    [2 ** 40, 2 ** 25],
  ])('of %d bytes of memory has %d bytes: whole words', (bytes, size) => {
    expect(vhostLogSize(bytes)).toBe(size);
  });

  it('has page p in bit p % 64 of the little-endian word p / 64', () => {
    const bitmap = new DirtyBitmap(130 * PAGE);
    for (const page of [0, 9, 63, 64, 129]) bitmap.mark(page * PAGE, 1);
    const log = new Uint8Array(vhostLogSize(130 * PAGE));
    exportVhostLog(bitmap, log);
    const words = new BigUint64Array(log.buffer);
    expect([...words]).toEqual([2n ** 63n + 2n ** 9n + 1n, 1n, 2n]);
  });

  it('comes back as it went, at any place of a buffer', () => {
    const bitmap = new DirtyBitmap(300 * PAGE + 77);
    bitmap.mark(3 * PAGE, 100 * PAGE);
    bitmap.mark(300 * PAGE, 1);
    for (const offset of [0, 1, 6]) {
      const log = new Uint8Array(vhostLogSize(bitmap.bytes) + offset).subarray(offset);
      exportVhostLog(bitmap, log);
      const back = new DirtyBitmap(bitmap.bytes);
      importVhostLog(log, bitmap.bytes, back);
      expect([...back.runs()]).toEqual([...bitmap.runs()]);
    }
  });

  it.each<[string, (size: number) => ArrayBuffer | ArrayBufferView]>([
    ['a BigUint64Array', size => new BigUint64Array(size / 8)],
    ['a part of one', size => new BigUint64Array(size / 8 + 2).subarray(1, -1)],
    ['a DataView', size => new DataView(new ArrayBuffer(size + 3), 3)],
    ['a Buffer', size => Buffer.alloc(size)],
    ['an ArrayBuffer', size => new ArrayBuffer(size)],
  ])('may be %s', (_, make) => {
    const bitmap = new DirtyBitmap(130 * PAGE);
    bitmap.mark(63 * PAGE, 2 * PAGE);
    bitmap.mark(129 * PAGE, 1);
    const log = make(vhostLogSize(bitmap.bytes));
    exportVhostLog(bitmap, log);
    const bytes = ArrayBuffer.isView(log) ? Buffer.from(log.buffer, log.byteOffset, log.byteLength) : Buffer.from(log);
    expect([0, 8, 16].map(at => bytes.readBigUInt64LE(at))).toEqual([2n ** 63n, 1n, 2n]);
    const back = new DirtyBitmap(bitmap.bytes);
    importVhostLog(log, bitmap.bytes, back);
    expect([...back.runs()]).toEqual([63 * PAGE, 2 * PAGE, 129 * PAGE, PAGE]);
  });

  it.each([[undefined], [null], [8], [[0, 0]]])('is not %j', log => {
    const bitmap = new DirtyBitmap(PAGE);
    expect(() => exportVhostLog(bitmap, log as never)).toThrow(VdpaError);
    expect(() => importVhostLog(log as never, PAGE, bitmap)).toThrow('A log is an ArrayBuffer or a view on one');
  });

  it('keeps the bits that are set: several memories may be logged into one', () => {
    const bitmap = new DirtyBitmap(64 * PAGE);
    bitmap.mark(8 * PAGE, 1);
    const log = Uint8Array.of(5, 0, 0, 0, 0, 0, 0, 0);
    exportVhostLog(bitmap, log);
    expect([...log]).toEqual([5, 1, 0, 0, 0, 0, 0, 0]);
  });

  it('has pages of 4 KiB whatever the pages of the bitmap are', () => {
    const large = new DirtyBitmap(64 * PAGE, 16);
    large.mark(20 * PAGE, 1);
    const log = new Uint8Array(8);
    exportVhostLog(large, log);
    expect([...log]).toEqual([0, 0, 0xff, 0xff, 0, 0, 0, 0]);
    const small = new DirtyBitmap(64 * PAGE, 8);
    importVhostLog(log, small.bytes, small);
    expect([...small.runs()]).toEqual([16 * PAGE, 16 * PAGE]);
  });

  it('that is too short is refused', () => {
    const bitmap = new DirtyBitmap(65 * PAGE);
    const invalid = expect.objectContaining({ code: 'ERR_VDPA_INVALID_ARGUMENT' });
    expect(() => exportVhostLog(bitmap, new Uint8Array(9))).toThrow(invalid);
    expect(() => importVhostLog(new Uint8Array(15), bitmap.bytes, bitmap)).toThrow(invalid);
  });

  it('of a larger memory is refused when it has pages there, before anything is marked', () => {
    const bitmap = new DirtyBitmap(65 * PAGE);
    const log = new Uint8Array(24);
    log[0] = 1;
    log[8] = 1;
    importVhostLog(log, bitmap.bytes, bitmap);
    expect(bitmap.count()).toBe(2);
    bitmap.clear();
    for (const [byte, bits] of [
      [8, 2],
      [23, 0x80],
    ] as const) {
      log[byte]! |= bits;
      expect(() => importVhostLog(log, bitmap.bytes, bitmap)).toThrow(AddressError);
      expect(bitmap.any()).toBe(false);
    }
  });
});
