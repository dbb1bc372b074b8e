/**
 * Bits by number, for numbers up to 2^53, in memory in proportion to where bits are set.
 *
 *     bit ─▶ region of 2^28 bits: its windows ─▶ window of 2^18 bits: summary, words
 *
 * - A **window** is allocated when a bit in it is first set: 33 KiB, which stand for 1 GiB of memory in pages of 4 KiB. It is a
 *   SharedArrayBuffer, so that another thread reads it without a copy. Windows this large keep their number small (1024 for
 *   1 TiB): a snapshot sends each of them, and finding one must not cost more than the bit.
 * - The **summary** in front of a window's words has a bit for each of them, set when the word has bits set. What is sparse is read
 *   through the summary, and costs what is set instead of what there is.
 * - **Regions** exist only where there are windows: 2^53 bits would have 2^35 windows.
 */
import { VdpaError } from '../errors.js';
import { popcount, trailingZeros } from './bits.js';

// The compiler folds a constant of this file into the code, and loads an imported or exported one each time: hence the copies.
const SHIFT = 18;
const BITS = 2 ** SHIFT;
const MASK = BITS - 1;
const SUMMARY_WORDS = 256;
const REGION_WINDOWS = 2 ** 10;
const REGION_BITS = REGION_WINDOWS * BITS;

/** Bits of a window. */
export const WINDOW_BITS = BITS;
/** Words of its summary; each stands for a line of 32 words. */
export const WINDOW_LINES = SUMMARY_WORDS;

type Region = Int32Array[];

/** Stands where no window is: a list of one kind of object is faster than one with gaps. */
const NONE = new Int32Array(0);

export class Windows {
  /** Size of the whole, in bits. */
  readonly bits: number;
  readonly #regions = new Map<number, Region>();
  /** The region last used for setting a bit, and its first bit. */
  #region: Region = [];
  #first = Number.NaN;

  constructor(bits: number) {
    this.bits = bits;
  }

  /**
   * Sets bits `first` to `last`, both inclusive; fractions are cut off.
   * @throws VdpaError ERR_VDPA_MEMORY, after some of them.
   */
  set(first: number, last: number): void {
    const from = first - this.#first;
    const to = last - this.#first;
    // Also when there is no region yet, because nothing compares to NaN.
    if (!(from >= 0 && to < REGION_BITS)) {
      this.#setFar(first, last);
      return;
    }
    // Whole numbers of 32 bits from here on, which are much cheaper.
    const bit = from | 0;
    if (bit !== (to | 0)) {
      this.#setRange(bit, to | 0);
      return;
    }
    let window = this.#region[bit >>> SHIFT]!;
    if (window === NONE) window = this.#allocate(bit >>> SHIFT);
    const word = (bit & MASK) >>> 5;
    window[SUMMARY_WORDS + word]! |= 1 << (bit & 31);
    window[word >>> 5]! |= 1 << (word & 31);
  }

  has(bit: number): boolean {
    const window = this.get(Math.floor(bit / BITS));
    if (window === NONE) return false;
    return ((window[SUMMARY_WORDS + ((bit & MASK) >>> 5)]! >>> (bit & 31)) & 1) === 1;
  }

  /** The words of a window; none if it does not exist. */
  get(number: number): Int32Array {
    return this.#regions.get(Math.floor(number / REGION_WINDOWS))?.[number % REGION_WINDOWS] ?? NONE;
  }

  /** Makes this window exist, with the words of another thread's. */
  adopt(number: number, window: Int32Array): void {
    this.#enter(number * BITS);
    this.#region[number % REGION_WINDOWS] = window;
  }

  /** Sets the bits that another set's window has. @throws VdpaError ERR_VDPA_MEMORY */
  merge(number: number, source: Int32Array): void {
    if (isEmpty(source)) return;
    const window = this.get(number);
    if (window !== NONE) {
      or(window, source);
      return;
    }
    this.#enter(number * BITS);
    this.#allocate(number % REGION_WINDOWS).set(source);
  }

  /** Clears all bits. Windows that had some stay, for the next ones; the others are released. */
  clear(): void {
    for (const [index, region] of this.#regions) {
      for (let i = 0; i < region.length; i++) {
        const window = region[i]!;
        if (window === NONE) continue;
        if (isEmpty(window)) region[i] = NONE;
        else window.fill(0);
      }
      if (region.every(window => window === NONE)) this.#regions.delete(index);
    }
    this.#region = [];
    this.#first = Number.NaN;
  }

  /** Every window and its number, in the order of the numbers. */
  *entries(): Generator<[number, Int32Array]> {
    for (const index of [...this.#regions.keys()].sort((a, b) => a - b)) {
      for (const [i, window] of this.#regions.get(index)!.entries()) {
        if (window !== NONE) yield [index * REGION_WINDOWS + i, window];
      }
    }
  }

  /** Bytes of the windows, and of the lists of them. */
  get heldBytes(): number {
    let bytes = 0;
    for (const region of this.#regions.values()) {
      bytes += region.length * 8;
      for (const window of region) bytes += window.byteLength;
    }
    return bytes;
  }

  /** Region by region. */
  #setFar(first: number, last: number): void {
    for (let from = Math.floor(first); from <= last; from = this.#first + REGION_BITS) {
      this.#enter(from);
      const to = Math.min(Math.floor(last) - this.#first, REGION_BITS - 1);
      this.#setRange(from - this.#first, to);
    }
  }

  /** Bits of the region, window by window. */
  #setRange(first: number, last: number): void {
    for (let index = first >>> SHIFT; index <= last >>> SHIFT; index++) {
      const from = index === first >>> SHIFT ? first & MASK : 0;
      const to = index === last >>> SHIFT ? last & MASK : MASK;
      let window = this.#region[index]!;
      if (window === NONE) window = this.#allocate(index);
      fill(window, SUMMARY_WORDS, from, to);
      fill(window, 0, from >>> 5, to >>> 5);
    }
  }

  /** Makes the region of a bit the one last used. */
  #enter(bit: number): void {
    const index = Math.floor(bit / REGION_BITS);
    let region = this.#regions.get(index);
    if (!region) {
      const length = Math.min(REGION_WINDOWS, Math.ceil(this.bits / BITS) - index * REGION_WINDOWS);
      region = Array.from({ length }, () => NONE);
      this.#regions.set(index, region);
    }
    this.#region = region;
    this.#first = index * REGION_BITS;
  }

  /** @param index Of the window in the region last used. */
  #allocate(index: number): Int32Array {
    const bytes = windowLength(this.bits, this.#first / BITS + index) * Int32Array.BYTES_PER_ELEMENT;
    try {
      const window = new Int32Array(new SharedArrayBuffer(bytes));
      this.#region[index] = window;
      return window;
    } catch (cause) {
      throw new VdpaError('ERR_VDPA_MEMORY', `No ${bytes} bytes for a bitmap: too much memory is marked in it.`, {
        details: { bytes },
        cause,
      });
    }
  }
}

/** Words of a window of a set of so many bits: the last one ends with the line of the last bit. */
export function windowLength(bits: number, number: number): number {
  const lines = Math.ceil((bits - number * BITS) / (32 * 32));
  return SUMMARY_WORDS + 32 * Math.min(SUMMARY_WORDS, lines);
}

/** Whether no bit of a window is set. */
export function isEmpty(window: Int32Array): boolean {
  for (let line = 0; line < SUMMARY_WORDS; line++) if (window[line] !== 0) return false;
  return true;
}

/** Number of bits set in a window. */
export function countBits(window: Int32Array): number {
  let total = 0;
  for (let line = 0; line < SUMMARY_WORDS; line++) {
    let words = window[line]!;
    while (words !== 0) {
      total += popcount(window[SUMMARY_WORDS + line * 32 + trailingZeros(words)]!);
      words &= words - 1;
    }
  }
  return total;
}

function or(target: Int32Array, source: Int32Array): void {
  for (let line = 0; line < SUMMARY_WORDS; line++) {
    let words = source[line]!;
    target[line]! |= words;
    while (words !== 0) {
      const at = SUMMARY_WORDS + line * 32 + trailingZeros(words);
      target[at]! |= source[at]!;
      words &= words - 1;
    }
  }
}

/** Sets bits `first` to `last`, both inclusive, of the words from index `base` on. */
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
