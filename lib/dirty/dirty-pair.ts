/**
 * The marks of one producing thread, handed to one reader from time to time without stopping the producer or losing a mark.
 *
 * There are two bitmaps. The producer marks the active one. When the reader asks, the producer's thread swaps them between two
 * batches and hands over the one that was active.
 *
 * **Why plain marks lose nothing.** Only the producer's thread marks, swaps and clears, so no mark falls between two bitmaps: it is made
 * before the swap or after it. The reader learns of the snapshot from a message, and a message orders memory: whatever the
 * producer stored before it posted is seen by whoever received. After that the producer leaves this bitmap alone until the next
 * `swap`. It swaps when asked by a message again, which the reader sends when it is done: that orders the reader's last load
 * before the producer's clearing.
 *
 * Hence the contract: one reader, which is done with a snapshot when it asks for the next.
 */
import { DirtyBitmap, type DirtyMarks } from './dirty-bitmap.js';
import type { DirtySnapshot } from './dirty-view.js';

export class DirtyPair implements DirtyMarks {
  #active: DirtyBitmap;
  #other: DirtyBitmap;

  /**
   * @param bytes Size of the memory, up to 2^53 - 1.
   * @param pageShift Page size as a power of two, 0 to 52.
   * @throws VdpaError ERR_VDPA_INVALID_ARGUMENT
   */
  constructor(bytes: number, pageShift = 12) {
    this.#active = new DirtyBitmap(bytes, pageShift);
    this.#other = new DirtyBitmap(bytes, pageShift);
  }

  /**
   * Marks every page that [offset, offset + length) touches; a length of 0 touches none.
   * @throws AddressError when the range ends beyond the memory; VdpaError ERR_VDPA_MEMORY when there is no memory for the marks.
   */
  mark(offset: number, length: number): void {
    this.#active.mark(offset, length);
  }

  /**
   * Hands over what was marked since the last swap. The snapshot stays as it is until the next swap. What was not marked in a whole
   * period is released here, and the memory of the snapshot before this one is used again.
   */
  swap(): DirtySnapshot {
    const next = this.#other;
    next.clear();
    this.#other = this.#active;
    this.#active = next;
    return this.#other.snapshot();
  }

  /** Bytes of memory that both bitmaps take. */
  get heldBytes(): number {
    return this.#active.heldBytes + this.#other.heldBytes;
  }
}
