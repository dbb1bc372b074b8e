/**
 * Validation before any message: the kernel answers every IOTLB failure with EFAULT (drivers/vhost/vhost.c,
 * vhost_chr_write_iter), so the reason must be found here.
 */
import { AddressError, hex, VdpaError } from '../errors.js';
import { MAX_ADDRESS } from './check-range.js';
import { type AddressRange, describeRange, endOf, type IovaMap, sizeOf } from './map.js';

/** Addresses that a platform IOMMU keeps for itself: /sys/kernel/iommu_groups/N/reserved_regions. */
export interface ReservedWindow {
  readonly first: number;
  /** Inclusive. */
  readonly last: number;
  /** As the kernel names it: direct, direct-relaxable, reserved, msi. */
  readonly type: string;
}

/**
 * Whether a window is closed to maps. `direct-relaxable` is not: firmware wanted it for its own use of the device, which has ended (as
 * vfio_iommu_type1 treats them).
 */
export function isKept({ type }: ReservedWindow): boolean {
  return type !== 'direct-relaxable';
}

/** Bounds a device and its kernel set. */
export interface IovaLimits {
  /** First and last usable address, inclusive (VHOST_VDPA_GET_IOVA_RANGE). */
  readonly first: bigint;
  readonly last: bigint;
  /** Number of address spaces (VHOST_VDPA_GET_AS_NUM). */
  readonly asids: number;
  /** Bytes of which every address, size and offset is a multiple: a power of two from 4096 to 2 MiB. The host's page unless overridden. */
  readonly granule: number;
  readonly reserved: readonly ReservedWindow[];
  /** Entries an address space may hold (vhost_vdpa.max_iotlb_entries); undefined where the kernel has no cap. */
  readonly maxEntries: number | undefined;
  /** Entries the device's own copy may hold, such as vdpa_sim.max_iotlb_entries; undefined where no cap is known. */
  readonly deviceMaxEntries: number | undefined;
  /** The module parameter behind `deviceMaxEntries`, for messages. */
  readonly deviceMaxEntriesName?: string | undefined;
  /**
   * Bytes this process may still pin (RLIMIT_MEMLOCK, no exemption for root), asked anew each time because devices share them;
   * undefined where the device pins nothing or there is no limit.
   */
  readonly pinnable: () => number | undefined;
}

/** The smallest page of any host: devices that pin round both addresses down to it, separately (vhost_vdpa_pa_map). */
export const SMALLEST_GRANULE = 4096;

const PERMISSIONS: readonly unknown[] = ['ro', 'wo', 'rw'];

/** Memory starts at a multiple of this in the process (native/region.cc), so no larger page can be mapped for sure. */
const LARGEST_GRANULE = 2 ** 21;

/** @throws VdpaError ERR_VDPA_INVALID_ARGUMENT for a granule that is no power of two from 4 KiB to 2 MiB. */
export function validateGranule(granule: number): void {
  if (granule >= SMALLEST_GRANULE && granule <= LARGEST_GRANULE && Number.isInteger(Math.log2(granule))) return;
  throw new VdpaError(
    'ERR_VDPA_INVALID_ARGUMENT',
    `A granule is a power of two from ${SMALLEST_GRANULE} to ${LARGEST_GRANULE}, not ${granule}.`,
    { details: { granule } },
  );
}

/**
 * Refuses maps, sorted by address, that the kernel would refuse one by one, or take though they cannot work, with the reason.
 * @throws AddressError ERR_VDPA_ADDRESS.
 */
export function validateMaps(asid: number, maps: readonly IovaMap[], limits: IovaLimits): void {
  if (!(asid >= 0 && asid < limits.asids)) {
    throw new AddressError(`Address space ${asid} does not exist: the device has ${limits.asids}.`, {
      details: { asid, asids: limits.asids },
    });
  }
  let previous: IovaMap | undefined;
  for (const map of maps) {
    validateMap(map, limits);
    if (previous && endOf(previous) > map.iova) {
      throw new AddressError(
        `${describe(map)} overlaps ${describe(previous)}; the kernel neither merges nor replaces maps.`,
        { details: { iova: map.iova, size: map.size, other: previous.iova } },
      );
    }
    previous = map;
  }
}

function validateMap(map: IovaMap, limits: IovaLimits): void {
  const { iova, size, offset, perm } = map;
  const { granule } = limits;
  if (!(size > 0) || iova % granule !== 0 || size % granule !== 0 || offset % granule !== 0 || offset < 0) {
    throw refuse(map, `is not made of whole pages of ${granule} bytes`);
  }
  if (iova < 0 || iova + size - 1 > MAX_ADDRESS) {
    throw refuse(map, `ends above ${hex(MAX_ADDRESS)}, the highest address this library handles`);
  }
  // As numbers: only above 2^53 are they not exact, and no map is there.
  if (iova < Number(limits.first) || iova + size - 1 > Number(limits.last)) {
    const range = `${hex(limits.first)} to ${hex(limits.last)}`;
    throw refuse(map, `is outside the device's range ${range} (VHOST_VDPA_GET_IOVA_RANGE)`);
  }
  // Permission 0 is taken by some parents, and every access then fails; behind a platform IOMMU it is a kernel warning.
  if (!PERMISSIONS.includes(perm)) throw refuse(map, `has the permission "${perm}"; there are ro, wo and rw`);
  for (const window of limits.reserved.filter(isKept)) refuseReserved(map, window);
}

/** The kernel takes such a map, and a device's access there never reaches the memory. */
function refuseReserved(map: IovaMap, { first, last, type }: ReservedWindow): void {
  if (map.iova > last || endOf(map) <= first) return;
  throw new AddressError(
    `${describe(map)} is on the reserved window ${hex(first)}-${hex(last)} (${type}) of the device's IOMMU: accesses there do not reach memory.`,
    { details: { iova: map.iova, size: map.size, offset: map.offset, first, last, type } },
  );
}

function refuse(map: IovaMap, why: string): AddressError {
  const { iova, size, offset } = map;
  return new AddressError(`${describe(map)} ${why}.`, { details: { iova, size, offset } });
}

/** How many entries an address space may have: the lower of the two caps. */
export function entryCap({ maxEntries, deviceMaxEntries }: IovaLimits): number {
  return Math.min(maxEntries ?? Number.POSITIVE_INFINITY, deviceMaxEntries ?? Number.POSITIVE_INFINITY);
}

/** Refuses a layout of more entries than the cap. A device that pins may need more than one for a map: that cannot be known here. */
export function validateEntries(entries: number, limits: IovaLimits): void {
  const cap = entryCap(limits);
  if (entries <= cap) return;
  const name = limits.maxEntries === cap ? 'vhost_vdpa.max_iotlb_entries' : limits.deviceMaxEntriesName;
  throw new AddressError(
    `${entries} maps exceed the kernel's cap of ${cap} (${name ?? "the device's own"}), merged where they are contiguous. Load the module with a higher one, or use fewer, larger pieces of memory.`,
    { details: { maps: entries, maxEntries: limits.maxEntries, deviceMaxEntries: limits.deviceMaxEntries } },
  );
}

/**
 * Refuses to map more than may be pinned.
 * @param givenBack Bytes that maps held until now may have pinned.
 * @throws AddressError ERR_VDPA_MEMLOCK.
 */
export function validatePinned(maps: readonly IovaMap[], limits: IovaLimits, givenBack: number): void {
  const left = limits.pinnable();
  if (left === undefined) return;
  const bytes = sizeOf(maps);
  const pinnable = left + givenBack;
  if (bytes <= pinnable) return;
  throw new AddressError(
    `This device pins what it maps: ${bytes} bytes, and the memlock limit leaves ${pinnable}. Root is not exempt: raise it with "ulimit -l unlimited", or map less memory.`,
    { code: 'ERR_VDPA_MEMLOCK', details: { bytes, pinnable } },
  );
}

function describe(range: AddressRange): string {
  return `Map ${describeRange(range)}`;
}
