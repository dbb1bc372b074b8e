/**
 * Where a split virtqueue lives: three areas, each in a window of its own, and the layout of a queue of our own.
 */
import { splitAvailSize, splitDescSize, splitUsedSize, VIRTQ_AVAIL_ALIGN } from '../uapi/virtio-ring.js';

/**
 * The three areas of a virtqueue in memory, each its own window: descriptor table, driver area (avail), device area
 * (used).
 */
export interface RingAreas {
  readonly desc: ArrayBuffer;
  /** Offset of the descriptor table in `desc`, in bytes; likewise for the other two. */
  readonly descOffset: number;
  readonly driver: ArrayBuffer;
  readonly driverOffset: number;
  readonly device: ArrayBuffer;
  readonly deviceOffset: number;
}

/** Offsets of the three areas in one block of memory, and the block's size. All in bytes. */
export interface RingLayout {
  readonly descOffset: number;
  readonly driverOffset: number;
  readonly deviceOffset: number;
  /** A multiple of the page size. */
  readonly bytes: number;
}

const PAGE_SIZE = 4096;

/**
 * The layout of a queue of `size` in memory of our own. The device area starts a page of its own, so that everything
 * before it can be mapped read-only for the device.
 */
export function ringLayout(size: number): RingLayout {
  const descOffset = 0;
  const driverOffset = roundUp(descOffset + splitDescSize(size), VIRTQ_AVAIL_ALIGN);
  const deviceOffset = roundUp(driverOffset + splitAvailSize(size), PAGE_SIZE);
  return { descOffset, driverOffset, deviceOffset, bytes: roundUp(deviceOffset + splitUsedSize(size), PAGE_SIZE) };
}

function roundUp(value: number, align: number): number {
  return Math.ceil(value / align) * align;
}
