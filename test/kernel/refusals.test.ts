import { type Device, ERRNO, hex, MemoryRegion, type Operation, openDevice } from 'vhost-vdpa';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { devicePath, PINNED } from './devices.js';

/** What the kernel refuses, with which errno: a wrong request number or struct would not be refused like this. */
describe('the kernel refuses', () => {
  let device: Device;
  beforeEach(async () => {
    device = await openDevice(devicePath('vnet0'));
  });
  afterEach(() => device.close());

  const errnoOf = async (operation: Operation) => (await device.submit([operation]))[0]!.errno;

  test.each<[string, Operation, number]>([
    ['an address space that does not exist', { op: 'setGroupAsid', group: 0, asid: 12345 }, ERRNO.EINVAL],
    ['a group number that is no queue number', { op: 'setGroupAsid', group: 99, asid: 0 }, ERRNO.ENOBUFS],
    ['a queue that does not exist', { op: 'setVringNum', index: 3, num: 16 }, ERRNO.ENOBUFS],
    ['a ring size that is no power of two', { op: 'setVringNum', index: 0, num: 100 }, ERRNO.EINVAL],
    ['a ring size of 0', { op: 'setVringNum', index: 0, num: 0 }, ERRNO.EINVAL],
    ['a misaligned used ring', { op: 'setVringAddr', index: 0, desc: 0, avail: 0, used: 2 }, ERRNO.EINVAL],
    ['a misaligned avail ring', { op: 'setVringAddr', index: 0, desc: 0, avail: 1, used: 0 }, ERRNO.EINVAL],
    ['a base beyond 16 bits', { op: 'setVringBase', index: 0, num: 0x10000 }, ERRNO.EINVAL],
    ['a file descriptor that is none', { op: 'setVringKick', index: 0, fd: 9999 }, ERRNO.EBADF],
    ['a file that is no eventfd', { op: 'setVringCall', index: 0, fd: 2 }, ERRNO.EINVAL],
    ['config beyond its end', { op: 'getConfig', offset: 20, length: 8 }, ERRNO.EINVAL],
    ['config of no bytes', { op: 'getConfig', offset: 0, length: 0 }, ERRNO.EINVAL],
    ['backend features it does not have', { op: 'setBackendFeatures', features: 1n << 40n }, ERRNO.EOPNOTSUPP],
    ['features without ACCESS_PLATFORM', { op: 'setFeatures', features: 1n << 32n }, ERRNO.EINVAL],
    ['a second owner', { op: 'setOwner' }, ERRNO.EBUSY],
    ['to give up the owner', { op: 'resetOwner' }, ERRNO.ENOTTY],
    ['a dirty log', { op: 'setLogBase', base: 0 }, ERRNO.ENOTTY],
    ['a ring size per queue on a simulator with batched maps', { op: 'getVringSize', index: 0 }, ERRNO.EOPNOTSUPP],
    ['a descriptor group where there is none', { op: 'getVringDescGroup', index: 0 }, ERRNO.EOPNOTSUPP],
    ['a batch for an address space that does not exist', { op: 'iotlbBatchBegin', asid: 7 }, ERRNO.EFAULT],
  ])('%s', async (_, operation, errno) => {
    // The address space of a message counts once IOTLB_ASID is acknowledged.
    await device.submit([{ op: 'setBackendFeatures', features: 0xen }]);
    expect(await errnoOf(operation)).toBe(errno);
  });

  test('a status that clears a bit', async () => {
    const results = await device.submit([
      { op: 'setStatus', status: 3 },
      { op: 'setStatus', status: 1 },
    ]);
    expect(results.map(result => result.errno)).toEqual([0, ERRNO.EINVAL]);
  });

  test.runIf(!PINNED)('an overlapping map, and takes it after the exact unmap', async () => {
    const region = MemoryRegion.create('overlap', 2 ** 16);
    const map = {
      op: 'iotlbUpdate',
      asid: 0,
      iova: 0x10000,
      size: 0x8000,
      region: region.id,
      offset: 0,
      perm: 'rw',
    } as const;
    expect(await errnoOf(map)).toBe(0);
    expect(await errnoOf({ ...map, iova: 0x14000 })).toBe(ERRNO.EFAULT);
    expect(await errnoOf({ op: 'iotlbInvalidate', asid: 0, iova: 0x10000, size: 0x8000 })).toBe(0);
    expect(await errnoOf({ ...map, iova: 0x14000 })).toBe(0);
    await device.close();
    region.close();
  });

  test('and the rest of a list does not run, save what must', async () => {
    const results = await device.submit([
      { op: 'setVringNum', index: 0, num: 3 },
      { op: 'setVringNum', index: 0, num: 4 },
      { op: 'setStatus', status: 0, always: true },
      { op: 'getStatus', expect: { mask: 0xff, equals: 0 } },
    ]);
    expect(results.map(result => result.ran)).toEqual([true, false, true, false]);
  });

  test('silently, which a read-back finds', async () => {
    const results = await device.submit([
      { op: 'setStatus', status: 1 },
      { op: 'getStatus', expect: { mask: 0xff, equals: 9 } },
    ]);
    expect(results[1]).toMatchObject({ errno: ERRNO.EPROTO, value: 1 });
  });
});

test('a second opener is refused while the first has the device', async () => {
  const path = devicePath('vblk0');
  const device = await openDevice(path);
  await expect(openDevice(path)).rejects.toMatchObject({ code: 'ERR_VDPA_BUSY' });
  await device.close();
  await (await openDevice(path)).close();
});

test('a device given up is reset', async () => {
  const path = devicePath('vblk0');
  const first = await openDevice(path);
  await first.submit([{ op: 'setStatus', status: 3 }]);
  await first.close();
  const second = await openDevice(path);
  const [status] = await second.submit([{ op: 'getStatus' }]);
  expect(hex(Number(status!.value))).toBe('0x0');
  await second.close();
});
