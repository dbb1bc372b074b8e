/** Which heads are in flight, and in which order they set out. */
import { VdpaError } from '../errors.js';

/**
 * A head sets out with the next serial number and keeps it until it comes back. A slow request may stay out while
 * others go round the ring any number of times, so a 16-bit ring index cannot tell the order; a serial can (2^53 of
 * them).
 */
export class InFlight {
  /** Serial of each head; 0 when it is not in flight. */
  readonly #serials: Float64Array;
  #last = 0;
  #count = 0;

  constructor(size: number) {
    this.#serials = new Float64Array(size);
  }

  get count(): number {
    return this.#count;
  }

  /** The newest serial given out; 0 before the first. */
  get last(): number {
    return this.#last;
  }

  /** Serial of a head; 0 when it is not in flight. */
  serial(head: number): number {
    return this.#serials[head]!;
  }

  add(head: number): void {
    this.#serials[head] = ++this.#last;
    this.#count++;
  }

  delete(head: number): void {
    this.#serials[head] = 0;
    this.#count--;
  }

  /**
   * Writes the heads to `out`, oldest first, and returns how many there are.
   * @throws VdpaError ERR_VDPA_INVALID_ARGUMENT when `out` is too short.
   */
  heads(out: Uint16Array): number {
    if (out.length < this.#count) {
      const text = `${this.#count} heads are in flight, the array has room for ${out.length}.`;
      throw new VdpaError('ERR_VDPA_INVALID_ARGUMENT', text);
    }
    const serials = this.#serials;
    let n = 0;
    for (let head = 0; head < serials.length && n < this.#count; head++) {
      if (serials[head] !== 0) out[n++] = head;
    }
    out.subarray(0, n).sort((a, b) => serials[a]! - serials[b]!);
    return n;
  }
}
