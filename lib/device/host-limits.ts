/** What bounds a device's maps: the device's own answers and the host's. */
import { type IovaLimits, SMALLEST_GRANULE } from '../iova/limits.js';
import type { Capabilities } from './capabilities.js';
import {
  deviceMaxEntries,
  findVdpaDevice,
  hostPageSize,
  maxIotlbEntries,
  pinnableBytes,
  pinsMemory,
  reservedWindows,
} from './kernel/sysfs.js';
import { isSoft } from './reference.js';

/** The limits of the device behind a path. The granule is the host's page: the UAPI does not tell the IOMMU's. */
export function readLimits(path: string, { iovaRange, asids }: Capabilities): IovaLimits {
  const own = { ...iovaRange, asids };
  if (isSoft(path)) {
    const none = { reserved: [], maxEntries: undefined, deviceMaxEntries: undefined, pinnable: () => undefined };
    return { ...own, granule: SMALLEST_GRANULE, ...none };
  }
  const device = findVdpaDevice(path);
  const cap = device && deviceMaxEntries(device);
  return {
    ...own,
    granule: Math.max(SMALLEST_GRANULE, hostPageSize()),
    reserved: device ? reservedWindows(device) : [],
    maxEntries: maxIotlbEntries(),
    deviceMaxEntries: cap?.entries,
    deviceMaxEntriesName: cap?.parameter,
    pinnable: pinsMemory(path) ? pinnableBytes : () => undefined,
  };
}
