/** Address translation by sorted ranges: O(log n), last hit first, results in pieces, no allocation. */
import { AddressError, hex } from '../errors.js';
import type { Chain } from '../ring/chain.js';

/** One range: addresses [from, from + size) are [to, to + size) on the other side. Plain data: it goes to workers as it is. */
export interface TranslationEntry {
  readonly from: number;
  readonly size: number;
  readonly to: number;
  /** Whether a device may write there. */
  readonly writable: boolean;
}

export class Translation {
  readonly #starts: Float64Array;
  readonly #ends: Float64Array;
  /** to - from of each range. */
  readonly #distances: Float64Array;
  readonly #writable: Uint8Array;
  #last = 0;

  /** @throws AddressError when ranges overlap. */
  constructor(entries: readonly TranslationEntry[]) {
    const sorted = [...entries].sort((a, b) => a.from - b.from);
    sorted.forEach((entry, i) => {
      const next = sorted[i + 1];
      if (next && entry.from + entry.size > next.from) {
        throw new AddressError(`Two ranges of one translation overlap at ${hex(next.from)}.`, {
          details: { address: next.from },
        });
      }
    });
    this.#starts = Float64Array.from(sorted, entry => entry.from);
    this.#ends = Float64Array.from(sorted, entry => entry.from + entry.size);
    this.#distances = Float64Array.from(sorted, entry => entry.to - entry.from);
    this.#writable = Uint8Array.from(sorted, entry => (entry.writable ? 1 : 0));
  }

  /**
   * Appends the pieces of [from, from + length) to `out`: one, or more where the range spans ranges.
   * @returns false when a byte is not mapped, or not writable though `write` was asked, or `out` is full; `out` then holds a part.
   */
  translate(from: number, length: number, write: boolean, out: Chain): boolean {
    let address = from;
    let rest = length;
    do {
      const i = this.#find(address);
      if (i < 0 || (write && this.#writable[i] === 0) || out.count === out.addr.length) return false;
      const piece = Math.min(rest, this.#ends[i]! - address);
      out.push(address + this.#distances[i]!, piece, write);
      address += piece;
      rest -= piece;
    } while (rest > 0);
    return true;
  }

  /** Index of the range that holds the address, or -1. */
  #find(address: number): number {
    const last = this.#last;
    if (address >= this.#starts[last]! && address < this.#ends[last]!) return last;
    let low = 0;
    let high = this.#starts.length - 1;
    while (low <= high) {
      const middle = (low + high) >>> 1;
      if (address < this.#starts[middle]!) high = middle - 1;
      else if (address >= this.#ends[middle]!) low = middle + 1;
      else {
        this.#last = middle;
        return middle;
      }
    }
    return -1;
  }
}
