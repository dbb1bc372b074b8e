/** From one address space to another, in pieces: the path that every translated buffer takes. */
import type { Chain } from '../ring/chain.js';
import { RECORD_END } from './chunks.js';
import type { RangeIndex } from './range-index.js';

/** A buffer's length has 32 bits; the largest that is made of whole pages, of any size. */
export const MAX_PIECE = 2 ** 32 - 2 ** 16;

// See chunks.ts.
const END = RECORD_END;
const MOST = MAX_PIECE;

/**
 * Appends the pieces of [from, from + length) to `out`: one for each range it goes through; of no bytes, one empty piece.
 * @param index Ranges that do not overlap; the end of those a device may not write to is negated.
 * @param part Where a record has the distance to the other side; NaN where the range is not there.
 * @returns false when a byte is not mapped, or not writable though `write` was asked, or `out` is full; `out` then holds a part.
 */
export function appendPieces(
  index: RangeIndex,
  part: number,
  from: number,
  length: number,
  write: boolean,
  out: Chain,
): boolean {
  const at = index.find(from);
  if (at >= 0 && out.count < out.addr.length && length <= MOST) {
    const { records } = index;
    const end = records[at + END]!;
    const distance = records[at + part]!;
    if (length <= Math.abs(end) - from && (end > 0 || !write) && !Number.isNaN(distance)) {
      out.push(from + distance, length, write);
      return true;
    }
  }
  return appendAll(index, part, from, length, write, out);
}

/** The same for any case. The most common one is above, alone, because that is small enough to be inlined. */
function appendAll(index: RangeIndex, part: number, from: number, length: number, write: boolean, out: Chain): boolean {
  let address = from;
  let rest = length;
  do {
    const at = index.find(address);
    if (at < 0 || out.count === out.addr.length) return false;
    const end = index.records[at + END]!;
    const distance = index.records[at + part]!;
    if ((end < 0 && write) || Number.isNaN(distance)) return false;
    const piece = Math.min(rest, Math.abs(end) - address, MOST);
    out.push(address + distance, piece, write);
    address += piece;
    rest -= piece;
  } while (rest > 0);
  return true;
}
