/**
 * Validation before any message: the kernel answers every IOTLB failure with EFAULT (drivers/vhost/vhost.c,
 * vhost_chr_write_iter), so the reason must be found here.
 */
import { AddressError, hex } from '../errors.js';
import type { IovaMap } from './map.js';

/** Bounds a device and its kernel set. */
export interface IovaLimits {
  /** First and last usable address, inclusive (VHOST_VDPA_GET_IOVA_RANGE). */
  readonly first: bigint;
  readonly last: bigint;
  /** Number of address spaces (VHOST_VDPA_GET_AS_NUM). */
  readonly asids: number;
  /** Entries an address space may hold; undefined where the kernel has no cap. */
  readonly maxEntries: number | undefined;
  /**
   * Bytes this process may still pin (RLIMIT_MEMLOCK, no exemption for root), asked anew each time because devices share them;
   * undefined where the device pins nothing or there is no limit.
   */
  readonly pinnable: () => number | undefined;
}

/** Alignment of every map: devices that pin round both addresses down to pages separately (vhost_vdpa_pa_map). */
const GRANULE = 4096;

/** Above this an address is no longer exact in a JavaScript number. */
const MAX_ADDRESS = Number.MAX_SAFE_INTEGER;

/**
 * Refuses a list of maps, sorted by address, that the kernel would refuse, with the reason.
 * @param pinned Bytes that the maps held until now have pinned, and give back.
 * @throws AddressError ERR_VDPA_ADDRESS, or ERR_VDPA_MEMLOCK above the memlock limit.
 */
export function validateMaps(asid: number, maps: readonly IovaMap[], limits: IovaLimits, pinned: number): void {
  if (asid >= limits.asids) {
    throw new AddressError(`Address space ${asid} does not exist: the device has ${limits.asids}.`, {
      details: { asid, asids: limits.asids },
    });
  }
  let previous: IovaMap | undefined;
  for (const map of maps) {
    validateMap(map, limits);
    if (previous && previous.iova + previous.size > map.iova) {
      throw new AddressError(
        `${describe(map)} overlaps ${describe(previous)}; the kernel neither merges nor replaces maps.`,
        {
          details: { iova: map.iova, size: map.size, other: previous.iova },
        },
      );
    }
    previous = map;
  }
  validateTotals(maps, limits, pinned);
}

function validateMap(map: IovaMap, limits: IovaLimits): void {
  const { iova, size, offset } = map;
  const details = { iova, size, offset };
  if (!(size > 0) || iova % GRANULE !== 0 || size % GRANULE !== 0 || offset % GRANULE !== 0) {
    throw new AddressError(`${describe(map)} is not made of whole pages of ${GRANULE} bytes.`, { details });
  }
  if (iova < 0 || iova + size - 1 > MAX_ADDRESS) {
    throw new AddressError(
      `${describe(map)} ends above ${hex(MAX_ADDRESS)}, the highest address this library handles.`,
      { details },
    );
  }
  if (BigInt(iova) < limits.first || BigInt(iova + size - 1) > limits.last) {
    throw new AddressError(
      `${describe(map)} is outside the device's range ${hex(limits.first)} to ${hex(limits.last)} (VHOST_VDPA_GET_IOVA_RANGE).`,
      { details },
    );
  }
}

function validateTotals(maps: readonly IovaMap[], limits: IovaLimits, pinned: number): void {
  if (limits.maxEntries !== undefined && maps.length > limits.maxEntries) {
    throw new AddressError(
      `${maps.length} maps exceed the kernel's cap of ${limits.maxEntries} (vhost_vdpa.max_iotlb_entries).`,
      {
        details: { maps: maps.length, maxEntries: limits.maxEntries },
      },
    );
  }
  const bytes = sizeOf(maps);
  const left = limits.pinnable();
  if (left !== undefined && bytes > left + pinned) {
    throw new AddressError(
      `This device pins what it maps: ${bytes} bytes, and the memlock limit leaves ${left + pinned}. Root is not exempt: raise it with "ulimit -l unlimited", or map less memory.`,
      { code: 'ERR_VDPA_MEMLOCK', details: { bytes, pinnable: left + pinned } },
    );
  }
}

/** Bytes that maps cover. */
export function sizeOf(maps: readonly IovaMap[]): number {
  return maps.reduce((sum, map) => sum + map.size, 0);
}

function describe(map: IovaMap): string {
  return `Map ${hex(map.iova)}-${hex(map.iova + map.size - 1)}`;
}
