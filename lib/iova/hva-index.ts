/**
 * Where memory of this process stands for a device. Ranges of it may overlap and contain each other, because one memory may be
 * mapped at several IOVAs (a guest's low memory has aliases, for one).
 *
 * Any range that has the address, and enough permission, is right. To get few pieces, the nearest range that begins below is taken
 * if it has all that is left, otherwise the one that reaches farthest. That one is found by the greatest end of all that begin
 * below, kept per chunk, once over all ranges and once over the writable: O(log n) however many ranges are nested.
 */
import type { Chain } from '../ring/chain.js';
import { RECORD_END, RECORD_VALUE } from './chunks.js';
import { MAX_PIECE } from './pieces.js';
import { RangeIndex } from './range-index.js';

// See chunks.ts.
const END = RECORD_END;
const VALUE = RECORD_VALUE;
const MOST = MAX_PIECE;

/** Numbers of the weights. */
const ANY = 0;
const WRITABLE = 1;

export class HvaIndex {
  /** Start, end (negated when a device may not write there), distance to the IOVA. */
  readonly #ranges = new RangeIndex(3, 'end', 'unmarked');

  add(hva: number, size: number, iova: number, writable: boolean): void {
    const end = hva + size;
    this.#ranges.insert(hva, writable ? end : -end, iova - hva);
  }

  /** Removes the range that was added with these two. */
  remove(hva: number, iova: number): void {
    this.#ranges.remove(this.#ranges.seek(hva, iova - hva));
  }

  /** As appendPieces. */
  translate(hva: number, length: number, write: boolean, out: Chain): boolean {
    const at = this.#ranges.below(hva);
    if (at >= 0 && out.count < out.addr.length && length <= MOST) {
      const { records } = this.#ranges;
      const end = records[at + END]!;
      const room = Math.abs(end) - hva;
      if (room > 0 && length <= room && (end > 0 || !write)) {
        out.push(hva + records[at + VALUE]!, length, write);
        return true;
      }
    }
    return this.#translate(hva, length, write, out);
  }

  /** The same for any case; see appendAll. */
  #translate(hva: number, length: number, write: boolean, out: Chain): boolean {
    let address = hva;
    let rest = length;
    do {
      const at = this.#cover(address, rest, write);
      if (at < 0 || out.count === out.addr.length) return false;
      const { records } = this.#ranges;
      const piece = Math.min(rest, Math.abs(records[at + END]!) - address, MOST);
      out.push(address + records[at + VALUE]!, piece, write);
      address += piece;
      rest -= piece;
    } while (rest > 0);
    return true;
  }

  /** The range to take the bytes from an address on from, or -1. */
  #cover(address: number, length: number, write: boolean): number {
    const ranges = this.#ranges;
    const nearest = ranges.seek(address);
    if (nearest < 0) return -1;
    const end = ranges.records[nearest + END]!;
    const room = (write ? end : Math.abs(end)) - address;
    if (room > 0 && room >= length) return nearest;
    const farthest = ranges.greatestUpTo(nearest, write ? WRITABLE : ANY);
    return farthest >= 0 && Math.abs(ranges.records[farthest + END]!) > address ? farthest : -1;
  }
}
