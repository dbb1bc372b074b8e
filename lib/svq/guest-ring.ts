/** A look at a guest's ring from outside, while nobody serves it. */
import type { GuestQueue } from '../device/guest-queue.js';
import type { GuestMemory } from '../memory/guest-memory.js';

/** Offset of `idx` in the driver and the device area (virtio 1.3 §2.7.6, §2.7.8). */
const IDX_BYTES = 2;

export interface GuestRingIndices {
  readonly usedIndex: number;
  /** Requests made available and not completed. */
  readonly waiting: number;
}

export function guestRingIndices(memory: GuestMemory, { addresses }: GuestQueue): GuestRingIndices {
  const read = (area: number) => Atomics.load(new Uint16Array(memory.view(area + IDX_BYTES, 2)), 0);
  const usedIndex = read(addresses.device);
  return { usedIndex, waiting: (read(addresses.driver) - usedIndex) & 0xffff };
}
