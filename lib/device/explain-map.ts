/** Why a map failed that passed every check beforehand: what is left on this device and this host. */
import type { Operation } from '../uapi/operation.js';
import { formatSize } from '../units.js';
import {
  deviceMaxEntries,
  findVdpaDevice,
  hostPageSize,
  maxIotlbEntries,
  pinnableBytes,
  pinsMemory,
  type VdpaDevice,
} from './kernel/sysfs.js';
import { isSoft } from './reference.js';

const FLAT =
  'The kernel answers every failure of a map with EFAULT: overlap, range, memlock limit, entry cap, permission or owner.';

/** Asks the host only now: most maps do not fail. */
export function whyNotMapped(operation: Operation, path: string): string {
  const device = isSoft(path) ? undefined : findVdpaDevice(path);
  if (!device || operation.op !== 'iotlbUpdate') return FLAT;
  const caps = describeCaps(device);
  const causes = pinsMemory(path) ? pinningCauses(operation.size, caps) : sharedCauses(caps);
  return `${FLAT} Likely here: ${causes.join('; ')}. The kernel log may have a line about it (dmesg).`;
}

/** `vhost_vdpa.max_iotlb_entries = 2048`; empty for a kernel without caps. */
function describeCaps(device: VdpaDevice): string {
  const entries = maxIotlbEntries();
  const own = deviceMaxEntries(device);
  const caps = [
    entries === undefined ? '' : `vhost_vdpa.max_iotlb_entries = ${entries}`,
    own === undefined ? '' : `${own.parameter} = ${own.entries}`,
  ];
  return caps.filter(cap => cap !== '').join(', ');
}

/** A parent that pins has one entry for each physically contiguous piece (vhost_vdpa_pa_map), so the cap comes sooner than maps do. */
function pinningCauses(size: number, caps: string): string[] {
  const pieces = Math.ceil(size / hostPageSize());
  const left = pinnableBytes();
  return [
    ...(caps === ''
      ? []
      : [
          `the device pins pages, and each physically contiguous piece is an entry, up to ${pieces} for this map if its memory is fragmented (${caps}): raise the cap, or map less memory`,
        ]),
    left !== undefined && left < size
      ? `the memlock limit, which leaves ${formatSize(Math.max(0, left))} of the ${formatSize(size)} asked for: raise it (ulimit -l)`
      : 'memory that cannot be pinned',
  ];
}

/** A parent on virtual addresses has one entry for each piece of the process's address space (vhost_vdpa_va_map). */
function sharedCauses(caps: string): string[] {
  return [
    ...(caps === '' ? [] : [`more entries than the caps (${caps})`]),
    'memory that is no longer mapped in this process',
    'the device itself, which did not take its new table',
  ];
}
