/** How users name a device. */
import leven from 'leven';
import { VdpaError } from '../errors.js';
import { listVdpaDevices } from './kernel/sysfs.js';

/** Whether a reference names the embedded device. */
export function isSoft(reference: string): boolean {
  return reference === 'soft' || reference.startsWith('soft:');
}

/**
 * The character device a reference names.
 * @throws VdpaError ERR_VDPA_NO_DEVICE when there is none.
 */
export function resolvePath(reference: string): string {
  if (reference.includes('/')) return reference;
  if (/^vhost-vdpa-\d+$/.test(reference)) return `/dev/${reference}`;
  const devices = listVdpaDevices();
  const device = devices.find(d => d.name === reference);
  if (device?.path) return device.path;
  const details = { reference };
  if (device) {
    throw new VdpaError(
      'ERR_VDPA_NO_DEVICE',
      `${reference} is bound to ${device.driver ?? 'no driver'}, not to vhost_vdpa, so it has no character device. Bind it: echo vhost_vdpa > /sys/bus/vdpa/devices/${reference}/driver_override, then unbind it and bind it again.`,
      { details },
    );
  }
  throw new VdpaError(
    'ERR_VDPA_NO_DEVICE',
    `There is no device "${reference}". ${known(
      reference,
      devices.map(d => d.name),
    )}`,
    { details },
  );
}

function known(reference: string, names: readonly string[]): string {
  const all = [...names, 'soft:blk'];
  const nearest = all.filter(name => leven(name, reference) <= 2)[0];
  return nearest ? `Did you mean ${nearest}?` : `Known here: ${all.join(', ')}.`;
}
