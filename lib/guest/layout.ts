/**
 * Where our block guest keeps its queue and its buffers.
 *
 * Buffers are spread over all of memory, a cluster of pages per request slot, so that translation and dirty tracking are
 * exercised everywhere while the pages touched stay bounded. A page of a read buffer is written by the device only: if the
 * device's mark is lost, nothing else copies that page and the comparison finds it.
 */
import { VdpaError } from '../errors.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import type { Section } from '../memory/section.js';
import type { QueueAddresses } from '../ring/addresses.js';
import { ringLayout } from '../ring/areas.js';
import { VIRTIO_BLK_HEADER_SIZE } from '../uapi/virtio-blk.js';
import { formatSize } from '../units.js';

/** Bytes of one request's data: one page, eight sectors. */
export const BLOCK_SIZE = 4096;
/** Pages a slot reads into, and pages it writes from; each request takes the next one. */
export const PAGES_PER_KIND = 8;

/** Bytes of one slot's buffers. */
const CLUSTER = 2 * PAGES_PER_KIND * BLOCK_SIZE;

/** The queue starts here in its section; as all else, above the page that a guest address of 0 would hit by mistake. */
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
 * Lays out a queue of `size` with `slots` requests at a time: the queue in the largest section, buffers in all of RAM.
 * @throws VdpaError ERR_VDPA_INVALID_ARGUMENT when the memory is too small.
 */
export function layoutGuest(memory: GuestMemory, size: number, slots: number): GuestLayout {
  const ram = distinctRam(memory.sections);
  if (ram.length === 0) throw new VdpaError('ERR_VDPA_INVALID_ARGUMENT', 'This machine has no RAM.');
  const home = ram.reduce((largest, section) => (section.size > largest.size ? section : largest));
  const base = home.gpa + QUEUE_GPA;
  const ring = ringLayout(size);
  const headers = base + ring.bytes;
  const statuses = headers + pages(slots * VIRTIO_BLK_HEADER_SIZE);
  const arena = statuses + pages(slots);
  const arenas = ram.map(({ gpa, size: bytes }) => {
    const start = gpa === home.gpa ? arena : Math.max(gpa, CLUSTER);
    return { gpa: start, size: gpa + bytes - start };
  });
  const room = arenas.reduce((sum, { size: bytes }) => sum + clusters(bytes), 0);
  if (room < slots) {
    const needed = memory.size + (slots - room) * CLUSTER;
    throw new VdpaError(
      'ERR_VDPA_INVALID_ARGUMENT',
      `${formatSize(memory.size)} of guest memory are too few for ${slots} request buffers (twice the depth): ${formatSize(needed)} are needed.`,
      { details: { size: memory.size, needed } },
    );
  }
  return {
    queue: { size, desc: base + ring.descOffset, driver: base + ring.driverOffset, device: base + ring.deviceOffset },
    headers,
    statuses,
    buffers: Array.from({ length: slots }, (_, slot) => clusterAt(arenas, Math.floor((slot * room) / slots))),
  };
}

/** RAM by address, the same memory only once: buffers at two names of a page would overwrite each other. */
function distinctRam(sections: readonly Section[]): Section[] {
  const ram: Section[] = [];
  for (const section of sections) {
    if (section.kind === 'ram' && !ram.some(other => isAlias(section, other))) ram.push(section);
  }
  return ram;
}

function isAlias(a: Section, b: Section): boolean {
  return a.region === b.region && a.offset < b.offset + b.size && b.offset < a.offset + a.size;
}

/** Whole clusters that fit. */
function clusters(bytes: number): number {
  return Math.max(0, Math.floor(bytes / CLUSTER));
}

/** Guest address of the cluster of that number, over all arenas. */
function clusterAt(arenas: readonly { gpa: number; size: number }[], index: number): number {
  let rest = index;
  for (const { gpa, size } of arenas) {
    const count = clusters(size);
    if (rest < count) return gpa + rest * CLUSTER;
    rest -= count;
  }
  throw new VdpaError('ERR_VDPA_INVALID_ARGUMENT', `There is no cluster ${index} in guest memory.`);
}

function pages(bytes: number): number {
  return Math.ceil(bytes / BLOCK_SIZE) * BLOCK_SIZE;
}
