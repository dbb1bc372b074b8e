/**
 * Where our block guest keeps its queue and its buffers.
 *
 * Buffers are spread over all of memory, a cluster of pages per request slot, so that translation and dirty tracking are
 * exercised everywhere while the pages touched stay bounded. A page of a read buffer is written by the device only: if the
 * device's mark is lost, nothing else copies that page and the comparison finds it.
 */
import { VdpaError } from '../errors.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import type { QueueAddresses } from '../ring/addresses.js';
import { ringLayout } from '../ring/areas.js';
import { VIRTIO_BLK_HEADER_SIZE } from '../uapi/virtio-blk.js';
import { formatSize } from '../units.js';

/** Bytes of one request's data: one page, eight sectors. */
export const BLOCK_SIZE = 4096;
/** Pages a slot reads into, and pages it writes from; each request takes the next one. */
export const PAGES_PER_KIND = 8;

/** The queue starts here: above the page that a guest address of 0 would hit by mistake. */
const QUEUE_GPA = 2 ** 20;

export interface GuestLayout {
  readonly queue: QueueAddresses;
  /** Request headers and status bytes, one of each per slot, each kind in pages of its own. */
  readonly headers: number;
  readonly statuses: number;
  /** First page of each slot's buffers: PAGES_PER_KIND to read into, then as many to write from. */
  readonly buffers: readonly number[];
}

/**
 * Lays out a queue of `size` with `slots` requests at a time.
 * @throws VdpaError ERR_VDPA_INVALID_ARGUMENT when the memory is too small.
 */
export function layoutGuest(memory: GuestMemory, size: number, slots: number): GuestLayout {
  const section = memory.sections.reduce((largest, s) => (s.size > largest.size ? s : largest));
  const base = section.gpa + QUEUE_GPA;
  const ring = ringLayout(size);
  const headers = base + ring.bytes;
  const statuses = headers + pages(slots * VIRTIO_BLK_HEADER_SIZE);
  const arena = statuses + pages(slots);
  const cluster = 2 * PAGES_PER_KIND * BLOCK_SIZE;
  const stride = Math.floor((section.gpa + section.size - arena) / slots / BLOCK_SIZE) * BLOCK_SIZE;
  if (stride < cluster) {
    const needed = arena - section.gpa + slots * cluster;
    throw new VdpaError(
      'ERR_VDPA_INVALID_ARGUMENT',
      `${formatSize(section.size)} of guest memory are too few for ${slots} request buffers (twice the depth): ${formatSize(needed)} are needed.`,
      { details: { size: section.size, needed } },
    );
  }
  return {
    queue: { size, desc: base + ring.descOffset, driver: base + ring.driverOffset, device: base + ring.deviceOffset },
    headers,
    statuses,
    buffers: Array.from({ length: slots }, (_, slot) => arena + slot * stride),
  };
}

function pages(bytes: number): number {
  return Math.ceil(bytes / BLOCK_SIZE) * BLOCK_SIZE;
}
