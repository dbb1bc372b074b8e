/** Which IOVAs of a device are held: allocation, claims of exact ranges, exact release. O(log n) each; the bound is in range-index.ts. */
import { AddressError, hex } from '../errors.js';
import { RECORD_END as END } from './chunks.js';
import { FreeSpace, type FreeSpaceOptions } from './free-space.js';
import { RangeIndex } from './range-index.js';

export type IovaAllocatorOptions = FreeSpaceOptions;

export class IovaAllocator {
  readonly #free: FreeSpace;
  readonly #held = new RangeIndex(2);

  /** @throws VdpaError ERR_VDPA_INVALID_ARGUMENT for a granule that is none. */
  constructor(options: IovaAllocatorOptions) {
    this.#free = new FreeSpace(options);
  }

  /** What every address and size is a multiple of. */
  get granule(): number {
    return this.#free.granule;
  }

  /** Bytes that `allocate` could still give out: page 0 does not count. */
  get freeBytes(): number {
    return this.#free.bytes;
  }

  /** The most bytes that one `allocate` could give out. */
  get largestHole(): number {
    return this.#free.largest;
  }

  /** Number of ranges that are held. */
  get heldRanges(): number {
    return this.#held.size;
  }

  /**
   * Allocates in the first hole that takes `size` bytes, never on page 0. With `hva`, so that IOVA and memory agree modulo 1 GiB
   * when there is as much of it, else modulo 2 MiB; less only when no such place is found (free-space.ts has the bound).
   * @param size Whole pages of the granule, as `hva` is.
   * @throws AddressError when they are not, or there is no room.
   */
  allocate(size: number, hva?: number): number {
    const iova = this.#free.allocate(size, hva);
    this.#held.insert(iova, iova + size);
    return iova;
  }

  /**
   * Takes exactly [iova, iova + size); page 0 too.
   * @throws AddressError when these are not whole pages of the device's range, or on something reserved or held: it says what.
   */
  claim(iova: number, size: number): void {
    this.#free.claim(iova, size, this.#held);
    this.#held.insert(iova, iova + size);
  }

  /**
   * Gives back a range exactly as it was allocated or claimed.
   * @throws AddressError when it is not held like that.
   */
  release(iova: number, size: number): void {
    const held = this.#held;
    const at = held.seek(iova);
    if (at < 0 || held.records[at] !== iova || held.records[at + END] !== iova + size) {
      const text = `${hex(iova)} (${size} bytes) is not exactly a range that was allocated or claimed.`;
      throw new AddressError(text, { details: { iova, size } });
    }
    held.remove(at);
    this.#free.give(iova, size);
  }
}
