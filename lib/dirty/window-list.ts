/**
 * A window as a list of its bits that are set: at first in the order they were set, and again and again if they were set so; sorted
 * when it is read.
 *
 * Where few bits are set in many windows a list is what a bitmap cannot be: it takes 4 bytes for a bit, it is written one line of memory
 * after the other, and its runs need no search.
 */

/** Room of a list when it is made, and when it has grown. The longest takes half the memory of a bitmap. */
const LENGTHS = [64, 512, 4096, 16384];
/** Up to here insertion is faster than preparing a table. */
const FEW = 32;
/** A bit's number, below 2^20, in two digits. */
const DIGIT_BITS = 10;
const DIGIT = 2 ** DIGIT_BITS - 1;

const scratch = new Int32Array(LENGTHS.at(-1)!);
const lows = new Int32Array(DIGIT + 1);
const highs = new Int32Array(DIGIT + 1);

/** The length after this one; undefined when the window should become a bitmap instead. */
export function nextLength(length: number): number | undefined {
  return LENGTHS.find(longer => longer > length);
}

/** Whether the first `count` of these words are bits of a window that has so many. */
export function isList(words: Int32Array, count: number, bits: number): boolean {
  if (!LENGTHS.includes(words.length) || !Number.isInteger(count) || count < 0 || count > words.length) return false;
  for (let i = 0; i < count; i++) if (!(words[i]! >= 0 && words[i]! < bits)) return false;
  return true;
}

/** Sorts the first `count` numbers of a list, one or more, and drops repeated ones. @returns how many there are then. */
export function sortList(list: Int32Array, count: number): number {
  if (count <= FEW) insertionSort(list, count);
  else radixSort(list, count);
  let kept = 1;
  for (let i = 1; i < count; i++) {
    const bit = list[i]!;
    if (bit !== list[kept - 1]) list[kept++] = bit;
  }
  return kept;
}

function insertionSort(list: Int32Array, count: number): void {
  for (let i = 1; i < count; i++) {
    const bit = list[i]!;
    let at = i;
    for (; at > 0 && list[at - 1]! > bit; at--) list[at] = list[at - 1]!;
    list[at] = bit;
  }
}

function radixSort(list: Int32Array, count: number): void {
  lows.fill(0);
  highs.fill(0);
  for (let i = 0; i < count; i++) {
    const bit = list[i]!;
    lows[bit & DIGIT]!++;
    highs[bit >>> DIGIT_BITS]!++;
  }
  countsToPlaces(lows);
  countsToPlaces(highs);
  for (let i = 0; i < count; i++) {
    const bit = list[i]!;
    scratch[lows[bit & DIGIT]!++] = bit;
  }
  for (let i = 0; i < count; i++) {
    const bit = scratch[i]!;
    list[highs[bit >>> DIGIT_BITS]!++] = bit;
  }
}

/** How many have a digit becomes where the first of them goes. */
function countsToPlaces(counts: Int32Array): void {
  let place = 0;
  for (let digit = 0; digit <= DIGIT; digit++) {
    const count = counts[digit]!;
    counts[digit] = place;
    place += count;
  }
}
