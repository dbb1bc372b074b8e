/** vDPA devices as sysfs shows them, and what the host says about memory. Reads files; changes nothing. */
import { existsSync, readdirSync, readFileSync, readlinkSync, realpathSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { type ReservedWindow, SMALLEST_GRANULE } from '../../iova/limits.js';

const DEVICES = '/sys/bus/vdpa/devices';
const MODULES = '/sys/module';

/** Parameter of vhost_vdpa and of parent drivers, in stable kernels since 2026. */
const MAX_ENTRIES = 'max_iotlb_entries';

/** AT_PAGESZ of linux/auxvec.h. */
const AT_PAGESZ = 6n;

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

/** The device behind a character device. */
export function findVdpaDevice(path: string): VdpaDevice | undefined {
  return listVdpaDevices().find(device => device.path === path);
}

/**
 * Whether the device behind a character device pins what it maps. vdpa_sim (unless use_va=0; before 6.4 it always pins)
 * and VDUSE work on the owner's virtual addresses; everything else pins.
 */
export function pinsMemory(path: string): boolean {
  const device = findVdpaDevice(path);
  if (!device) return true;
  if (device.parent === undefined) return readParameter('vdpa_sim', 'use_va') !== 'Y';
  return !isVduse(device);
}

function isVduse({ name }: VdpaDevice): boolean {
  return existsSync(join('/sys/class/vduse', name));
}

/** Entries an address space may hold (vhost_vdpa.max_iotlb_entries), if this kernel has a cap. */
export function maxIotlbEntries(): number | undefined {
  return readNumber('vhost_vdpa', MAX_ENTRIES);
}

/** Entries the device's own copy of an address space may hold, and the parameter that says so, if its driver has one. */
export function deviceMaxEntries(device: VdpaDevice): { entries: number; parameter: string } | undefined {
  const module = moduleOf(device);
  const entries = module === undefined ? undefined : readNumber(module, MAX_ENTRIES);
  return entries === undefined ? undefined : { entries, parameter: `${module}.${MAX_ENTRIES}` };
}

/** The module of the parent driver. The simulators are in vdpa_sim_net and _blk, their common part has the parameters. */
function moduleOf(device: VdpaDevice): string | undefined {
  if (device.parent === undefined) return 'vdpa_sim';
  if (isVduse(device)) return 'vduse';
  return linkName(join(dirname(realpathSync(join(DEVICES, device.name))), 'driver/module'));
}

/**
 * Addresses that the IOMMU behind a device keeps for itself; none where there is no IOMMU. vhost-vdpa does not exclude them
 * from the range it tells.
 */
export function reservedWindows({ name }: VdpaDevice): ReservedWindow[] {
  // The group is the parent's: a PCI function's, or of the function that a subfunction belongs to.
  for (let folder = realpathSync(join(DEVICES, name)); folder !== '/'; folder = dirname(folder)) {
    const file = join(folder, 'iommu_group/reserved_regions');
    if (existsSync(file)) return parseWindows(readFileSync(file, 'utf8'));
  }
  return [];
}

/** Lines like `0x00000000fee00000 0x00000000feefffff msi`, the end inclusive (iommu_group_show_resv_regions). */
function parseWindows(text: string): ReservedWindow[] {
  const lines = [...text.matchAll(/^0x([0-9a-f]+) 0x([0-9a-f]+) (\S+)$/gim)];
  const windows = lines.map(([, first, last, type]) => ({
    first: Number.parseInt(first!, 16),
    // No map ends above 2^53 - 1.
    last: Math.min(Number.parseInt(last!, 16), Number.MAX_SAFE_INTEGER),
    type: type!,
  }));
  return windows.filter(({ first }) => first <= Number.MAX_SAFE_INTEGER);
}

/** Bytes of a page of this host (AT_PAGESZ of the auxiliary vector). */
export function hostPageSize(): number {
  const vector = readVector();
  for (let i = 0; i + 1 < vector.length; i += 2) if (vector[i] === AT_PAGESZ) return Number(vector[i + 1]);
  return SMALLEST_GRANULE;
}

/** Pairs of a type and a value. */
function readVector(): BigUint64Array {
  try {
    const bytes = readFileSync('/proc/self/auxv');
    return new BigUint64Array(new Uint8Array(bytes).buffer, 0, Math.floor(bytes.length / 8));
  } catch {
    return new BigUint64Array(0);
  }
}

/** Bytes this process may still pin; undefined when there is no limit. */
export function pinnableBytes(): number | undefined {
  const limit = /^Max locked memory\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1];
  if (limit === undefined || limit === 'unlimited') return undefined;
  const pinned = /^VmPin:\s+(\d+) kB/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0';
  return Number(limit) - Number(pinned) * 1024;
}

function readNumber(module: string, name: string): number | undefined {
  const value = readParameter(module, name);
  return value === undefined ? undefined : Number(value);
}

function readParameter(module: string, name: string): string | undefined {
  try {
    return readFileSync(join(MODULES, module, 'parameters', name), 'utf8').trim();
  } catch {
    return undefined;
  }
}
