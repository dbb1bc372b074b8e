/**
 * The split virtqueue's layout and flags (virtio 1.3 §2.7, linux/virtio_ring.h). All fields are little-endian.
 *
 * - descriptor, 16 bytes: u64 addr, u32 len, u16 flags, u16 next;
 * - available ring: u16 flags, u16 idx, u16 ring[n], u16 used_event;
 * - used ring: u16 flags, u16 idx, { u32 id, u32 len } ring[n], u16 avail_event.
 */

/** The chain goes on at `next`. */
export const VIRTQ_DESC_F_NEXT = 1;
/** The device writes this buffer; without it the device only reads. */
export const VIRTQ_DESC_F_WRITE = 2;
/** The buffer is a table of descriptors; never together with NEXT. */
export const VIRTQ_DESC_F_INDIRECT = 4;

/** The driver asks not to be called (a hint, and only without EVENT_IDX). */
export const VIRTQ_AVAIL_F_NO_INTERRUPT = 1;
/** The device asks not to be kicked (a hint, and only without EVENT_IDX). */
export const VIRTQ_USED_F_NO_NOTIFY = 1;

export const VIRTQ_DESC_SIZE = 16;
export const VIRTQ_USED_ELEM_SIZE = 8;
/** Offset of `ring` in both the available and the used area: after u16 flags and u16 idx. */
export const VIRTQ_RING_OFFSET = 4;
/** Largest queue, in descriptors; a size is always a power of two (§2.7). */
export const VIRTQ_MAX_SIZE = 32768;

/** Alignment of the three areas, in bytes (§2.7). The kernel checks it for avail and used only, not for the descriptors. */
export const VIRTQ_DESC_ALIGN = 16;
export const VIRTQ_AVAIL_ALIGN = 2;
export const VIRTQ_USED_ALIGN = 4;

/** Bytes of the descriptor table of a queue of `n`. */
export function splitDescSize(n: number): number {
  return VIRTQ_DESC_SIZE * n;
}

/** Bytes of the available area of a queue of `n`, `used_event` included. */
export function splitAvailSize(n: number): number {
  return 6 + 2 * n;
}

/** Bytes of the used area of a queue of `n`, `avail_event` included. */
export function splitUsedSize(n: number): number {
  return 6 + VIRTQ_USED_ELEM_SIZE * n;
}

/** Offset of `used_event` in the available area of a queue of `n`. */
export function usedEventOffset(n: number): number {
  return VIRTQ_RING_OFFSET + 2 * n;
}

/** Offset of `avail_event` in the used area of a queue of `n`. */
export function availEventOffset(n: number): number {
  return VIRTQ_RING_OFFSET + VIRTQ_USED_ELEM_SIZE * n;
}

/** Whether `n` may be the size of a split queue. */
export function isQueueSize(n: number): boolean {
  return Number.isInteger(n) && n >= 1 && n <= VIRTQ_MAX_SIZE && (n & (n - 1)) === 0;
}
