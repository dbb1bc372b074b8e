/**
 * A window as a bitmap: 2^20 bits, with a summary in front that has a bit for each word, set when the word has bits set.
 *
 *     1024 words of summary, one per line | 1024 lines of 32 words
 *
 * What is sparse is read through the summary, and costs what is set instead of what there is.
 */
import { popcount, trailingZeros } from './bits.js';

const LINES = 1024;
const LINE_WORDS = 32;
const LINE_BITS = LINE_WORDS * 32;

/** Words of such a window for so many bits: as many lines as they take. */
export function bitsLength(bits: number): number {
  return LINES + LINE_WORDS * Math.min(LINES, Math.ceil(bits / LINE_BITS));
}

/** Whether these are the words of a window of so many bits, with none set behind them. */
export function isBitmap(words: Int32Array, bits: number): boolean {
  if (words.length !== bitsLength(bits)) return false;
  for (let bit = bits; bit % LINE_BITS !== 0; bit++) if (hasBit(words, bit)) return false;
  return true;
}

/** Sets bits `first` to `last`, both inclusive. */
export function setBits(window: Int32Array, first: number, last: number): void {
  fill(window, LINES, first, last);
  fill(window, 0, first >>> 5, last >>> 5);
}

export function hasBit(window: Int32Array, bit: number): boolean {
  return ((window[LINES + (bit >>> 5)]! >>> (bit & 31)) & 1) === 1;
}

export function isEmpty(window: Int32Array): boolean {
  for (let line = 0; line < LINES; line++) if (window[line] !== 0) return false;
  return true;
}

export function countBits(window: Int32Array): number {
  let total = 0;
  for (let line = 0; line < LINES; line++) {
    for (let words = window[line]!; words !== 0; words &= words - 1) {
      total += popcount(window[LINES + line * LINE_WORDS + trailingZeros(words)]!);
    }
  }
  return total;
}

/** Sets the bits that `source` has. */
export function orBits(target: Int32Array, source: Int32Array): void {
  for (let line = 0; line < LINES; line++) {
    target[line]! |= source[line]!;
    for (let words = source[line]!; words !== 0; words &= words - 1) {
      const at = LINES + line * LINE_WORDS + trailingZeros(words);
      target[at]! |= source[at]!;
    }
  }
}

/** Sets bits `first` to `last` of the words from index `base` on. */
function fill(words: Int32Array, base: number, first: number, last: number): void {
  const from = base + (first >>> 5);
  const to = base + (last >>> 5);
  const firstBits = -1 << (first & 31);
  const lastBits = -1 >>> (31 - (last & 31));
  if (from === to) {
    words[from]! |= firstBits & lastBits;
    return;
  }
  words[from]! |= firstBits;
  words.fill(-1, from + 1, to);
  words[to]! |= lastBits;
}
