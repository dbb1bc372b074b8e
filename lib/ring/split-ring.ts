/**
 * A split virtqueue in memory (virtio 1.3 §2.7), seen through typed arrays.
 *
 *     desc  (driver writes)             avail  (driver writes)           used  (device writes)
 *     ┌──────┬─────┬───────┬──────┐     ┌───────┐                        ┌───────┐
 *   0 │ addr │ len │ N     │ next ┼─┐   │ flags │ NO_INTERRUPT           │ flags │ NO_NOTIFY
 *     ├──────┼─────┼───────┼──────┤ │   ├───────┤                        ├───────┤
 *   1 │      │     │       │      │ │   │ idx   │ 2: two made available  │ idx   │ 1: one is done
 *     ├──────┼─────┼───────┼──────┤ │   ├───────┤                        ├───────┴────────────────┐
 *   2 │ addr │ len │ WRITE │      │◀┘   │ 0     │ head of a chain        │ id 3  len 512          │
 *     ├──────┼─────┼───────┼──────┤     ├───────┤                        ├────────────────────────┤
 *   3 │ addr │ len │ WRITE │      │     │ 3     │                        │                        │
 *     └──────┴─────┴───────┴──────┘     └───────┘                        └────────────────────────┘
 *
 * Both `idx` run freely through 16 bits; an entry's slot is `idx & mask`. Chains may come back in any order: here
 * chain 3 is done and chain 0 (descriptors 0 and 2) is in flight. Ordering rules: docs/memory-model.md.
 */
import { VdpaError } from '../errors.js';
import {
  isQueueSize,
  splitAvailSize,
  splitDescSize,
  splitUsedSize,
  VIRTQ_AVAIL_ALIGN,
  VIRTQ_DESC_ALIGN,
  VIRTQ_DESC_SIZE,
  VIRTQ_MAX_SIZE,
  VIRTQ_RING_OFFSET,
  VIRTQ_USED_ALIGN,
  VIRTQ_USED_ELEM_SIZE,
} from '../uapi/virtio-ring.js';
import type { RingAreas } from './areas.js';

/** Places of `flags`, `idx` and the first entry in both areas, in 16-bit words. */
export const FLAGS = 0;
export const IDX = 1;
export const RING = VIRTQ_RING_OFFSET / 2;

/** A descriptor in 32-bit words: address low, address high, length, flags in the low and next in the high half. */
export const DESC_WORDS = VIRTQ_DESC_SIZE / 4;
/** A used element in 32-bit words: id, length. */
export const USED_WORDS = VIRTQ_USED_ELEM_SIZE / 4;

// Typed arrays have the host's byte order, the ring is little-endian.
const LITTLE_ENDIAN = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

/** The arrays behind one queue. Whoever uses them keeps the ordering rules. */
export class SplitRing {
  readonly size: number;
  /** Turns a free-running index into a slot. */
  readonly mask: number;
  readonly desc: Uint32Array;
  /** The driver area: `FLAGS`, `IDX`, then heads from `RING` on. */
  readonly avail: Uint16Array;
  /** `FLAGS` and `IDX` of the device area. */
  readonly used: Uint16Array;
  /** The elements of the device area. */
  readonly usedRing: Uint32Array;

  /**
   * @throws VdpaError ERR_VDPA_INVALID_ARGUMENT for a size, an offset or a window that cannot be,
   * ERR_VDPA_UNSUPPORTED_PLATFORM
   */
  constructor(areas: RingAreas, size: number) {
    if (!LITTLE_ENDIAN) {
      throw new VdpaError('ERR_VDPA_UNSUPPORTED_PLATFORM', 'Virtqueues need a little-endian host.');
    }
    if (!isQueueSize(size)) {
      throw invalid(`A split queue's size is a power of two from 1 to ${VIRTQ_MAX_SIZE}, not ${size}.`);
    }
    const { desc, descOffset, driver, driverOffset, device, deviceOffset } = areas;
    validateArea('descriptor table', desc, descOffset, splitDescSize(size), VIRTQ_DESC_ALIGN);
    validateArea('driver area', driver, driverOffset, splitAvailSize(size), VIRTQ_AVAIL_ALIGN);
    validateArea('device area', device, deviceOffset, splitUsedSize(size), VIRTQ_USED_ALIGN);
    this.size = size;
    this.mask = size - 1;
    this.desc = new Uint32Array(desc, descOffset, size * DESC_WORDS);
    this.avail = new Uint16Array(driver, driverOffset, RING + size);
    this.used = new Uint16Array(device, deviceOffset, RING);
    this.usedRing = new Uint32Array(device, deviceOffset + VIRTQ_RING_OFFSET, size * USED_WORDS);
  }
}

/** A queue's starting index. @throws VdpaError ERR_VDPA_INVALID_ARGUMENT unless it has 16 bits. */
export function validateBase(base: number): number {
  if (Number.isInteger(base) && base >= 0 && base <= 0xffff) return base;
  throw invalid(`A split queue's base is an index of 16 bits, not ${base}.`);
}

function validateArea(name: string, window: ArrayBuffer, offset: number, bytes: number, align: number): void {
  if (!Number.isInteger(offset) || offset < 0 || offset + bytes > window.byteLength) {
    throw invalid(`The ${name} needs ${bytes} bytes at ${offset}, its window has ${window.byteLength}.`);
  }
  if (offset % align !== 0) throw invalid(`The ${name} must be aligned to ${align} bytes; it starts at ${offset}.`);
}

function invalid(message: string): VdpaError {
  return new VdpaError('ERR_VDPA_INVALID_ARGUMENT', message);
}
