/** Why a map failed that nothing spoke against: what is likely on this device and this host. */
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { explainFailure } from '../../lib/device/explain.js';
import * as sysfs from '../../lib/device/kernel/sysfs.js';
import { ERRNO } from '../../lib/uapi/errno.js';
import type { Operation } from '../../lib/uapi/operation.js';
import { result } from './device-fake.js';

vi.mock('../../lib/device/kernel/sysfs.js');

const PATH = '/dev/vhost-vdpa-0';
const map: Operation = { op: 'iotlbUpdate', asid: 0, iova: 0, size: 2 ** 23, region: 1, offset: 0, perm: 'rw' };
const why = (path = PATH) => explainFailure(path, map, result({ errno: ERRNO.EFAULT })).message;

const host = vi.mocked(sysfs);

beforeEach(() => {
  host.findVdpaDevice.mockReturnValue({ name: 'vblk0', driver: 'vhost_vdpa', path: PATH, parent: undefined });
  host.maxIotlbEntries.mockReturnValue(2048);
  host.deviceMaxEntries.mockReturnValue({ entries: 1024, parameter: 'vdpa_sim.max_iotlb_entries' });
  host.hostPageSize.mockReturnValue(4096);
  host.pinsMemory.mockReturnValue(false);
  host.pinnableBytes.mockReturnValue(2 ** 20);
});

describe('a map that failed', () => {
  it('on a device that works on virtual addresses: the caps, the memory, the device', () => {
    expect(why()).toMatch(
      /EFAULT \(.*iova 0x0, size 0x800000.*\)\..*vhost_vdpa.max_iotlb_entries = 2048, vdpa_sim.max_iotlb_entries = 1024.*no longer mapped.*did not take its new table.*dmesg/,
    );
    expect(why()).not.toMatch(/pins|memlock limit, which/);
  });

  it('on a device that pins: an entry for each contiguous piece, and the memlock limit', () => {
    host.pinsMemory.mockReturnValue(true);
    expect(why()).toMatch(
      /pins pages.*physically contiguous.*up to 2048 for this map.*max_iotlb_entries = 2048.*raise the cap, or map less memory; the memlock limit, which leaves 1 MiB of the 8 MiB asked for: raise it/,
    );
    host.pinnableBytes.mockReturnValue(-4096);
    expect(why()).toMatch(/leaves 0 B of the 8 MiB asked for/);
  });

  it.each([[2 ** 23], [2 ** 24], [undefined]])(
    'on a device that pins where %s may be pinned: not the memlock limit',
    left => {
      host.pinsMemory.mockReturnValue(true);
      host.pinnableBytes.mockReturnValue(left);
      expect(why()).toMatch(/raise the cap, or map less memory; memory that cannot be pinned\. The kernel log/);
      expect(why()).not.toMatch(/memlock limit, which|huge pages/);
    },
  );

  it('on a kernel without caps says nothing of them', () => {
    host.maxIotlbEntries.mockReturnValue(undefined);
    host.deviceMaxEntries.mockReturnValue(undefined);
    expect(why()).not.toMatch(/max_iotlb_entries/);
    host.pinsMemory.mockReturnValue(true);
    expect(why()).not.toMatch(/contiguous/);
  });

  it('on a soft device, and one that is gone from sysfs, has the general reasons', () => {
    host.findVdpaDevice.mockReturnValue(undefined);
    for (const path of [PATH, 'soft:blk']) {
      expect(why(path)).toMatch(/every failure of a map with EFAULT: overlap, range, memlock limit, entry cap/);
      expect(why(path)).not.toMatch(/Likely here/);
    }
  });
});
