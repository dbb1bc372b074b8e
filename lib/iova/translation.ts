/** Address translation by sorted ranges: O(log n), last hit first, results in pieces, no allocation. */
import { AddressError, hex } from '../errors.js';
import type { Chain } from '../ring/chain.js';
import { checkRange } from './check-range.js';
import { RECORD_END, RECORD_VALUE } from './chunks.js';
import { appendPieces } from './pieces.js';
import { RangeIndex } from './range-index.js';

// See chunks.ts.
const END = RECORD_END;
const VALUE = RECORD_VALUE;

/** One range: addresses [from, from + size) are [to, to + size) on the other side. Plain data: it goes to workers as it is. */
export interface TranslationEntry {
  readonly from: number;
  readonly size: number;
  readonly to: number;
  /** Whether a device may write there. */
  readonly writable: boolean;
}

export class Translation {
  /** Start, end and distance to the other side. */
  readonly #ranges = new RangeIndex(3);

  /** @throws AddressError as `add` does. */
  constructor(entries: readonly TranslationEntry[]) {
    // In order, which fills chunks best.
    for (const entry of [...entries].sort((a, b) => a.from - b.from)) this.add(entry);
  }

  /**
   * Adds a range.
   * @throws AddressError when it overlaps one that is there, is empty, or ends above 2^53 - 1 on either side.
   */
  add(entry: TranslationEntry): void {
    const { from, size, to, writable } = entry;
    checkRange(from, size);
    checkRange(to, size);
    const end = from + size;
    const address = this.#ranges.firstShared(from, end);
    if (address < end) {
      throw new AddressError(`Two ranges of one translation overlap at ${hex(address)}.`, { details: { address } });
    }
    this.#ranges.insert(from, writable ? end : -end, to - from);
  }

  /**
   * Removes the range that starts at `from`.
   * @throws AddressError when none does.
   */
  remove(from: number): void {
    const at = this.#ranges.seek(from);
    if (at < 0 || this.#ranges.records[at] !== from) {
      throw new AddressError(`No range of this translation starts at ${hex(from)}.`, { details: { address: from } });
    }
    this.#ranges.remove(at);
  }

  /** All ranges, sorted by `from`. */
  entries(): TranslationEntry[] {
    const entries: TranslationEntry[] = [];
    this.#ranges.each((records, at) => {
      const from = records[at]!;
      const end = records[at + END]!;
      entries.push({ from, size: Math.abs(end) - from, to: from + records[at + VALUE]!, writable: end > 0 });
    });
    return entries;
  }

  /**
   * Appends the pieces of [from, from + length) to `out`: one, or more where the range spans ranges.
   * @returns false when a byte is not mapped, or not writable though `write` was asked, or `out` is full; `out` then holds a part.
   */
  translate(from: number, length: number, write: boolean, out: Chain): boolean {
    return appendPieces(this.#ranges, VALUE, from, length, write, out);
  }
}
