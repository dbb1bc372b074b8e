import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  addon,
  decode,
  EBADF,
  EINVAL,
  type Entry,
  encode,
  finished,
  iotlb,
  PAGE,
  path,
  run,
} from './native-support.js';

const ENOENT = 2;
const EBUSY = 16;
const ENOTTY = 25;
const ENOBUFS = 105;

// A character device that knows none of the requests.
const openNull: Entry = { op: 'open', argument: path('/dev/null') };
const getFeatures: Entry = { op: 'VHOST_GET_FEATURES', argument: new Uint8Array(8) };

let device: number;
beforeEach(() => {
  device = addon.deviceCreate();
});
afterEach(() => {
  addon.deviceDestroy(device);
});

describe('deviceSubmit refuses before any system call', () => {
  const region = addon.regionCreate('refusals', 16 * PAGE);
  const update = (fields: Parameters<typeof iotlb>[0]): Entry => ({
    op: 'VHOST_IOTLB_UPDATE',
    argument: iotlb({ region, size: PAGE, ...fields }),
  });
  const config = (op: string, bytes: number, length: number): Entry => {
    const argument = new Uint8Array(8 + bytes);
    new DataView(argument.buffer).setUint32(4, length, true);
    return { op, argument };
  };
  const refused: [string, Entry][] = [
    ['an unknown operation', { op: 'no such request' }],
    ['an argument too short', { op: 'VHOST_SET_VRING_ADDR', argument: new Uint8Array(39) }],
    ['an argument too long', { op: 'VHOST_VDPA_GET_STATUS', argument: new Uint8Array(2) }],
    ['an argument where none belongs', { op: 'VHOST_VDPA_SUSPEND', argument: new Uint8Array(4) }],
    ['a memory table with regions', { op: 'VHOST_SET_MEM_TABLE', argument: Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0) }],
    ['config shorter than it says', config('VHOST_VDPA_GET_CONFIG', 8, 9)],
    ['config longer than it says', config('VHOST_VDPA_SET_CONFIG', 8, 7)],
    ['config above 4096 bytes', config('VHOST_VDPA_GET_CONFIG', 4097, 4097)],
    ['config without its header', { op: 'VHOST_VDPA_GET_CONFIG', argument: new Uint8Array(7) }],
    ['a path without its NUL', { op: 'open', argument: new TextEncoder().encode('/dev/null') }],
    ['a path with a NUL inside', { op: 'open', argument: path('/dev/null\0x') }],
    ['an empty path', { op: 'open', argument: path('') }],
    ['an expectation of a request that reads nothing', { ...update({}), expect: { mask: 1, equals: 1 } }],
    ['an unknown region', update({ region: 0xffffffff })],
    ['an offset beyond the region', update({ offset: 16 * PAGE })],
    ['a size beyond the region', update({ offset: 15 * PAGE, size: 2 * PAGE })],
    ['an offset that wraps', update({ offset: 2 ** 64 - 2048, size: PAGE })],
    ['permission 0', update({ perm: 0 })],
    ['permission 4', update({ perm: 4 })],
  ];

  it.each(refused)('%s', async (_what, entry) => {
    expect(addon.deviceSubmit(device, encode([openNull, entry]))).toBe(-EINVAL);
    // The open before it did not happen either.
    expect(await run(device, [{ op: 'close' }])).toMatchObject([{ ran: true, errno: EBADF }]);
  });

  it('a batch that is not whole entries', () => {
    const batch = encode([openNull]);
    expect(addon.deviceSubmit(device, batch.subarray(0, batch.length - 8))).toBe(-EINVAL);
    expect(addon.deviceSubmit(device, batch.subarray(0, 47))).toBe(-EINVAL);
    expect(addon.deviceSubmit(device, new Uint8Array([...batch, 0]))).toBe(-EINVAL);
    expect(addon.deviceSubmit(device, new Uint8Array(0))).toBe(-EINVAL);
  });

  it('an argument length that wraps, and unknown flags', () => {
    const long = encode([openNull]);
    new DataView(long.buffer).setUint32(8, 0xffffffff, true);
    expect(addon.deviceSubmit(device, long)).toBe(-EINVAL);
    const flags = encode([openNull]);
    new DataView(flags.buffer).setUint32(4, 4, true);
    expect(addon.deviceSubmit(device, flags)).toBe(-EINVAL);
  });

  it('what is no batch, and an unknown device', () => {
    expect(addon.deviceSubmit(device, new Uint16Array(24) as unknown as Uint8Array)).toBe(-EINVAL);
    expect(addon.deviceSubmit(12345, encode([openNull]))).toBe(-EBADF);
    expect(addon.deviceEventFd(12345)).toBe(-EBADF);
    expect(addon.deviceReap(12345)).toBeUndefined();
  });
});

describe('a batch', () => {
  it('runs in order, each system call with its result and its time', async () => {
    const outcomes = await run(device, [openNull, { op: 'close' }, openNull, { op: 'close' }]);
    expect(outcomes.map(({ errno, ran }) => [errno, ran])).toEqual(Array(4).fill([0, true]));
    for (const { start, end } of outcomes) expect(end >= start && start > 0n).toBe(true);
    // One stamp ends a call and starts the next, so that the times add up.
    for (let i = 1; i < 4; i++) expect(outcomes[i].start).toBe(outcomes[i - 1].end);
  });

  it('answers the errno of the kernel', async () => {
    expect(await run(device, [openNull, getFeatures])).toMatchObject([
      { errno: 0 },
      { errno: ENOTTY, ran: true, ret: -1 },
    ]);
    expect(await run(device, [openNull])).toMatchObject([{ errno: EBUSY }]);
    expect(await run(device, [{ op: 'close' }, getFeatures])).toMatchObject([{ errno: 0 }, { errno: EBADF }]);
    expect(await run(device, [{ op: 'VHOST_IOTLB_INVALIDATE', argument: iotlb({}) }])).toMatchObject([
      { errno: EBADF },
    ]);
    expect(await run(device, [{ op: 'open', argument: path('/dev/no-such-device') }])).toMatchObject([
      { errno: ENOENT },
    ]);
  });

  it('answers ENOTTY for a file that is no character device, and keeps nothing open', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'native-device-'));
    const file = join(directory, 'file');
    writeFileSync(file, '');
    expect(await run(device, [{ op: 'open', argument: path(file) }])).toMatchObject([{ errno: ENOTTY, ran: true }]);
    expect(await run(device, [{ op: 'close' }])).toMatchObject([{ errno: EBADF }]);
    rmSync(directory, { recursive: true });
  });

  it('stops at the first failure, save for what is marked always', async () => {
    const outcomes = await run(device, [
      openNull,
      getFeatures,
      { op: 'VHOST_SET_OWNER' },
      { op: 'close', always: true },
      { op: 'VHOST_SET_OWNER' },
      { op: 'close', always: true },
    ]);
    expect(outcomes.map(({ ran, errno }) => [ran, errno])).toEqual([
      [true, 0],
      [true, ENOTTY],
      [false, 0],
      [true, 0],
      [false, 0],
      [true, EBADF],
    ]);
    expect(outcomes[2]).toMatchObject({ start: 0n, end: 0n, ret: 0 });
  });

  it('does not take results that were already in it', async () => {
    const batch = encode([getFeatures, getFeatures]);
    new DataView(batch.buffer).setUint32(56 + 16, 1, true);
    new DataView(batch.buffer).setInt32(56 + 12, 99, true);
    addon.deviceSubmit(device, batch);
    expect(decode(await finished(device))[1]).toMatchObject({ ran: false, errno: 0 });
  });

  it('is copied: what the caller writes later does not count', async () => {
    const batch = encode([openNull]);
    addon.deviceSubmit(device, batch);
    batch.fill(0xff);
    expect(decode(await finished(device))).toMatchObject([{ errno: 0, ran: true }]);
  });

  it('takes tickets in order and is reaped in order', async () => {
    const tickets = [1, 2, 3].map(() => addon.deviceSubmit(device, encode([openNull, { op: 'close' }])));
    expect(tickets).toEqual([1, 2, 3]);
    addon.deviceSubmit(device, encode([getFeatures]));
    const reaped: Uint8Array[] = [await finished(device)];
    while (reaped.length < 4) {
      const batch = addon.deviceReap(device);
      if (batch) reaped.push(batch);
      else await new Promise(resolve => setImmediate(resolve));
    }
    expect(reaped.map(batch => decode(batch).length)).toEqual([2, 2, 2, 1]);
    expect(addon.deviceReap(device)).toBeUndefined();
  });

  it('queues at most 1024, counting those not reaped', () => {
    const batch = encode([getFeatures]);
    for (let i = 0; i < 1024; i++) expect(addon.deviceSubmit(device, batch)).toBe(i + 1);
    expect(addon.deviceSubmit(device, batch)).toBe(-ENOBUFS);
  });

  it('cannot be canceled once it is done, nor on an unknown device', async () => {
    await run(device, [openNull]);
    expect(addon.deviceCancel(device, 1)).toBe(-ENOENT);
    expect(addon.deviceCancel(12345, 1)).toBe(-EBADF);
  });
});

describe('devices', () => {
  it('are apart', async () => {
    const other = addon.deviceCreate();
    expect(await run(device, [openNull])).toMatchObject([{ errno: 0 }]);
    expect(await run(other, [getFeatures])).toMatchObject([{ errno: EBADF }]);
    expect(addon.deviceDestroy(other)).toBe(0);
    expect(addon.deviceDestroy(other)).toBe(-EBADF);
    expect(await run(device, [{ op: 'close' }])).toMatchObject([{ errno: 0 }]);
  });
});
