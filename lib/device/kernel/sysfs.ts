/** vDPA devices as sysfs shows them, and what the host says about memory. Reads files; changes nothing. */
import { existsSync, readdirSync, readFileSync, readlinkSync, realpathSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

const DEVICES = '/sys/bus/vdpa/devices';

/** One vDPA device of this host. */
export interface VdpaDevice {
  /** The name it was created with. */
  readonly name: string;
  /** Bus driver it is bound to: vhost_vdpa, virtio_vdpa, or none. */
  readonly driver: string | undefined;
  /** Its character device, when bound to vhost_vdpa. */
  readonly path: string | undefined;
  /** The device that implements it, such as a PCI address; undefined for the simulators, which have none in sysfs. */
  readonly parent: string | undefined;
}

/** All vDPA devices, by name. Empty when the vdpa module is not loaded. */
export function listVdpaDevices(root = DEVICES): VdpaDevice[] {
  if (!existsSync(root)) return [];
  return readdirSync(root)
    .sort()
    .map(name => describeDevice(root, name));
}

function describeDevice(root: string, name: string): VdpaDevice {
  const folder = join(root, name);
  const parent = basename(dirname(realpathSync(folder)));
  const chardev = readdirSync(folder).find(entry => /^vhost-vdpa-\d+$/.test(entry));
  return {
    name,
    driver: linkName(join(folder, 'driver')),
    path: chardev && `/dev/${chardev}`,
    parent: parent === 'devices' ? undefined : parent,
  };
}

function linkName(path: string): string | undefined {
  try {
    return basename(readlinkSync(path));
  } catch {
    return undefined;
  }
}

/**
 * Whether the device behind a character device pins what it maps. vdpa_sim (unless use_va=0; before 6.4 it always pins)
 * and VDUSE work on the owner's virtual addresses; everything else pins.
 */
export function pinsMemory(path: string): boolean {
  const device = listVdpaDevices().find(d => d.path === path);
  if (!device) return true;
  if (device.parent === undefined) return readParameter('vdpa_sim', 'use_va') !== 'Y';
  return !existsSync(join('/sys/class/vduse', device.name));
}

/** Entries an address space may hold (vhost_vdpa.max_iotlb_entries, in stable kernels since 2026), if this kernel has a cap. */
export function maxIotlbEntries(): number | undefined {
  const value = readParameter('vhost_vdpa', 'max_iotlb_entries');
  return value === undefined ? undefined : Number(value);
}

/** Bytes this process may still pin; undefined when there is no limit. */
export function pinnableBytes(): number | undefined {
  const limit = /^Max locked memory\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1];
  if (limit === undefined || limit === 'unlimited') return undefined;
  const pinned = /^VmPin:\s+(\d+) kB/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0';
  return Number(limit) - Number(pinned) * 1024;
}

function readParameter(module: string, name: string): string | undefined {
  try {
    return readFileSync(`/sys/module/${module}/parameters/${name}`, 'utf8').trim();
  } catch {
    return undefined;
  }
}
