/** The limits of a kernel device, from its own answers and what sysfs says of it. */
import { expect, it, vi } from 'vitest';
import type { Capabilities } from '../../lib/device/capabilities.js';
import { readLimits } from '../../lib/device/host-limits.js';
import * as sysfs from '../../lib/device/kernel/sysfs.js';

vi.mock('../../lib/device/kernel/sysfs.js');

const host = vi.mocked(sysfs);
const PATH = '/dev/vhost-vdpa-0';
const CAPABILITIES = { iovaRange: { first: 4096n, last: 2n ** 48n - 1n }, asids: 2 } as Capabilities;

it('has what the device answers and what the host tells of it', () => {
  host.findVdpaDevice.mockReturnValue({ name: 'mlx', driver: 'vhost_vdpa', path: PATH, parent: '0000:00:05.0' });
  host.reservedWindows.mockReturnValue([{ first: 0xfee00000, last: 0xfeefffff, type: 'msi' }]);
  host.deviceMaxEntries.mockReturnValue({ entries: 64, parameter: 'mlx5_vdpa.max_iotlb_entries' });
  host.maxIotlbEntries.mockReturnValue(2048);
  host.hostPageSize.mockReturnValue(65536);
  host.pinsMemory.mockReturnValue(true);
  host.pinnableBytes.mockReturnValueOnce(10).mockReturnValueOnce(20);
  const limits = readLimits(PATH, CAPABILITIES);
  expect(limits).toMatchObject({
    first: 4096n,
    last: 2n ** 48n - 1n,
    asids: 2,
    granule: 65536,
    reserved: [{ first: 0xfee00000, last: 0xfeefffff, type: 'msi' }],
    maxEntries: 2048,
    deviceMaxEntries: 64,
    deviceMaxEntriesName: 'mlx5_vdpa.max_iotlb_entries',
  });
  // Asked anew each time.
  expect([limits.pinnable(), limits.pinnable()]).toEqual([10, 20]);
});

it('of a device that sysfs does not know has no windows and no cap of its own', () => {
  host.findVdpaDevice.mockReturnValue(undefined);
  host.hostPageSize.mockReturnValue(4096);
  host.pinsMemory.mockReturnValue(false);
  const limits = readLimits(PATH, CAPABILITIES);
  expect(limits).toMatchObject({ granule: 4096, reserved: [], deviceMaxEntries: undefined });
  expect(limits.pinnable()).toBeUndefined();
});
