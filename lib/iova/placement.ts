/**
 * Where guest memory and the shadow rings stand in a device's address space.
 *
 * In passthrough the descriptors hold guest addresses, so IOVA = GPA by nature. While shadowed, memory may stay there
 * (identity), be moved by a fixed distance (relocated), which proves that every address was translated, or stand wherever there
 * is room (allocated), for a device whose window is small.
 */
import { AddressError, hex } from '../errors.js';
import { IovaAllocator } from './allocator.js';
import type { IovaLimits } from './limits.js';

export type Placement = 'identity' | 'relocated' | 'allocated';

export const PLACEMENTS: readonly Placement[] = ['identity', 'relocated', 'allocated'];

/** Distance between a guest address and its IOVA while relocated. */
export const RELOCATION = 2 ** 40;

/** The shadow rings stand at a multiple of this, so that they never share a large IOMMU page with guest memory. */
const RINGS_ALIGN = 2 ** 21;

/** A range of addresses that guest memory has, or may come to have. */
export interface GuestWindow {
  readonly gpa: number;
  readonly size: number;
}

/**
 * Address of the shadow rings: above guest memory where the device's range allows, else in a hole of it. It is free in
 * passthrough and while shadowed, so that they are mapped once, with memory, and a switch in identity placement sends no message.
 * @param guest What guest memory has or may come to have, without overlaps.
 * @param end First guest address above all of it.
 * @throws AddressError when there is no room.
 */
export function shadowRingsIova(
  guest: readonly GuestWindow[],
  end: number,
  size: number,
  placement: Placement,
  limits: IovaLimits,
): number {
  const distances = placement === 'relocated' ? [0, RELOCATION] : [0];
  const taken = distances.flatMap(distance =>
    guest.map(({ gpa, size: bytes }) => ({
      first: gpa + distance,
      last: gpa + distance + bytes - 1,
      type: 'guest memory',
    })),
  );
  const granule = Math.max(RINGS_ALIGN, limits.granule);
  const room = Math.ceil(size / granule) * granule;
  const { first, last, reserved } = limits;
  const above = BigInt(Math.ceil(end / granule) * granule + granule);
  const windows = [...taken, ...reserved];
  const place = (from: bigint) => new IovaAllocator({ first: from, last, granule, reserved: windows }).allocate(room);
  try {
    return place(above > first ? above : first);
  } catch {
    return placeBelow(() => place(first), limits);
  }
}

/** The last resort; it says what is missing. */
function placeBelow(place: () => number, { first, last }: IovaLimits): number {
  try {
    return place();
  } catch (cause) {
    throw new AddressError(
      `The shadow rings have no place beside guest memory in the device's range ${hex(first)} to ${hex(last)} (VHOST_VDPA_GET_IOVA_RANGE). Give the guest less memory, or less room to plug some in.`,
      { details: { first, last }, cause },
    );
  }
}
