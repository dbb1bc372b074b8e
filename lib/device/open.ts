/** From what a user writes to an open, owned device. */
import { type Device, run } from './device.js';
import { KernelDevice } from './kernel/kernel-device.js';
import { isSoft, resolvePath } from './reference.js';
import { SoftDevice } from './soft/soft-device.js';

/**
 * Opens `/dev/vhost-vdpa-0`, `vhost-vdpa-0`, a vdpa name from sysfs, or `soft:blk`, and becomes its owner. Opening resets the
 * device: the kernel does that.
 * @throws VdpaError ERR_VDPA_NO_DEVICE, _PERMISSION, _BUSY, _NOT_VHOST_VDPA.
 */
export async function openDevice(reference: string): Promise<Device> {
  const path = isSoft(reference) ? reference : resolvePath(reference);
  const device = isSoft(reference) ? new SoftDevice(reference) : new KernelDevice(path);
  try {
    await run(device, [{ op: 'open', path }, { op: 'getDeviceId' }, { op: 'setOwner' }]);
    return device;
  } catch (error) {
    await device.close();
    throw error;
  }
}
