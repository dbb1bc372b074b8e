/**
 * Bits by number, for numbers up to 2^53, in memory in proportion to what is set.
 *
 *     bit ─▶ region of 2^28 bits: its windows ─▶ window of 2^20 bits: a list, later a bitmap
 *
 * - A **window** stands for 4 GiB of memory in pages of 4 KiB, and exists where bits were set. It begins as a list of bits
 *   (window-list.ts, 4 bytes for each), and becomes a bitmap (window-bits.ts, 132 KiB) when there are too many for a list, or a long
 *   range is set. Marks all over a memory then go to the ends of some lists, which a processor's cache has; in a bitmap of 32 MiB, for
 *   1 TiB, nearly every one would wait for memory.
 * - Windows are SharedArrayBuffers: another thread reads them without a copy. They are large so that there are few of them, 256 for
 *   1 TiB: a snapshot sends each, and finding one must not cost more than the mark.
 * - **Regions** exist only where there are windows: 2^53 bits would have 2^33 windows.
 */
import { VdpaError } from '../errors.js';
import { bitsLength, hasBit, isBitmap, isEmpty, orBits, setBits } from './window-bits.js';
import { isList, nextLength, sortList } from './window-list.js';

// The compiler folds a constant of this file into the code, and loads an imported or exported one each time: hence the copies.
const SHIFT = 20;
const BITS = 2 ** SHIFT;
const MASK = BITS - 1;
const SUMMARY_WORDS = 1024;
const REGION_WINDOWS = 2 ** 8;
const REGION_BITS = REGION_WINDOWS * BITS;
/** A range of at most so many bits goes to a list, bit by bit. */
const SHORT = 16;
/** The count of a window that is a bitmap: more than any list has, so that one comparison tells a list with room. */
const BITMAP = 2 ** 30;

/** Bits of a window. */
export const WINDOW_BITS = BITS;

/** Stands where no window is: a list of one kind of object is faster than one with gaps, and an empty list is full. */
const NONE = new Int32Array(0);

/** A window with bits set. */
export interface Window {
  readonly number: number;
  /** A list's bits, or the summary and the words of a bitmap. */
  readonly words: Int32Array;
  /** How many bits a list has; undefined for a bitmap. */
  readonly count: number | undefined;
}

interface Region {
  readonly words: Int32Array[];
  readonly counts: Int32Array;
  /** How many of a list's bits are sorted: all or an earlier count. */
  readonly sorted: Int32Array;
}

export class Windows {
  /** Size of the whole, in bits. */
  readonly bits: number;
  readonly #regions = new Map<number, Region>();
  /** Of the region where a bit was last set, and its first bit. */
  #words: Int32Array[] = [];
  #counts: Int32Array = new Int32Array(0);
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
    if (bit === (to | 0)) this.#setBit(bit);
    else this.#setRange(bit, to | 0);
  }

  has(bit: number): boolean {
    const region = this.#regions.get(Math.floor(bit / REGION_BITS));
    const index = Math.floor(bit / BITS) % REGION_WINDOWS;
    const words = region?.words[index] ?? NONE;
    const count = region?.counts[index] ?? 0;
    return count === BITMAP ? hasBit(words, bit & MASK) : words.subarray(0, count).includes(bit & MASK);
  }

  /** Takes over a window that another thread has set bits in. @returns false when it cannot be one of this set. */
  adopt({ number, words, count }: Window): boolean {
    const limit = Math.min(this.bits - number * BITS, BITS);
    if (count === undefined ? !isBitmap(words, limit) : !isList(words, count, limit)) return false;
    this.#enter(number * BITS);
    this.#words[number % REGION_WINDOWS] = words;
    this.#counts[number % REGION_WINDOWS] = count ?? BITMAP;
    return true;
  }

  /** Sets the bits that a window of another set has. @throws VdpaError ERR_VDPA_MEMORY, after some of them. */
  merge({ number, words, count }: Window): void {
    this.#enter(number * BITS);
    const index = number % REGION_WINDOWS;
    if (count === undefined) {
      this.#toBitmap(index);
      orBits(this.#words[index]!, words);
      return;
    }
    while (this.#counts[index]! + count > this.#words[index]!.length && this.#counts[index] !== BITMAP)
      this.#grow(index);
    if (this.#counts[index] === BITMAP) {
      for (let i = 0; i < count; i++) this.#setBit(index * BITS + words[i]!);
    } else {
      this.#words[index]!.set(words.subarray(0, count), this.#counts[index]);
      this.#counts[index]! += count;
    }
  }

  /** Clears all bits. Windows that had some stay, for the next ones; the others are released. */
  clear(): void {
    for (const [number, { words, counts, sorted }] of this.#regions) {
      let used = false;
      for (let index = 0; index < words.length; index++) {
        if (isUnmarked(words[index]!, counts[index]!)) {
          words[index] = NONE;
          counts[index] = 0;
        } else {
          used = true;
          if (counts[index] === BITMAP) words[index]!.fill(0);
          else counts[index] = 0;
        }
        sorted[index] = 0;
      }
      if (!used) this.#regions.delete(number);
    }
    this.#words = [];
    this.#first = Number.NaN;
  }

  /** Every window with bits set, in the order of their numbers. */
  *marked(): Generator<Window> {
    for (const number of [...this.#regions.keys()].sort((a, b) => a - b)) {
      const { words, counts } = this.#regions.get(number)!;
      for (let index = 0; index < words.length; index++) {
        if (isUnmarked(words[index]!, counts[index]!)) continue;
        const count = counts[index] === BITMAP ? undefined : counts[index]!;
        yield { number: number * REGION_WINDOWS + index, words: words[index]!, count };
      }
    }
  }

  /** Sorts all lists, and drops what is in them more than once. */
  sort(): void {
    for (const { words, counts, sorted } of this.#regions.values()) {
      for (let index = 0; index < words.length; index++) {
        const count = counts[index]!;
        if (count === BITMAP || count === sorted[index]) continue;
        counts[index] = sortList(words[index]!, count);
        sorted[index] = counts[index]!;
      }
    }
  }

  /** Bytes of the windows, and of the lists of them. */
  get heldBytes(): number {
    let bytes = 0;
    for (const { words, counts, sorted } of this.#regions.values()) {
      bytes += words.length * 8 + counts.byteLength + sorted.byteLength;
      for (const window of words) bytes += window.byteLength;
    }
    return bytes;
  }

  /** Of the region. */
  #setBit(bit: number): void {
    const index = bit >>> SHIFT;
    const words = this.#words[index]!;
    const count = this.#counts[index]!;
    if (count < words.length) {
      words[count] = bit & MASK;
      this.#counts[index] = count + 1;
    } else if (count === BITMAP) {
      const word = (bit & MASK) >>> 5;
      words[SUMMARY_WORDS + word]! |= 1 << (bit & 31);
      words[word >>> 5]! |= 1 << (word & 31);
    } else {
      this.#grow(index);
      this.#setBit(bit);
    }
  }

  /** Region by region. */
  #setFar(first: number, last: number): void {
    for (let from = Math.floor(first); from <= last; from = this.#first + REGION_BITS) {
      this.#enter(from);
      this.set(from, Math.min(last, this.#first + REGION_BITS - 1));
    }
  }

  /** Bits of the region, window by window. */
  #setRange(first: number, last: number): void {
    if (last - first < SHORT && this.#counts[first >>> SHIFT] !== BITMAP) {
      for (let bit = first; bit <= last; bit++) this.#setBit(bit);
      return;
    }
    for (let index = first >>> SHIFT; index <= last >>> SHIFT; index++) {
      this.#toBitmap(index);
      const from = index === first >>> SHIFT ? first & MASK : 0;
      const to = index === last >>> SHIFT ? last & MASK : MASK;
      setBits(this.#words[index]!, from, to);
    }
  }

  /** Makes room for another bit in a list that is full. */
  #grow(index: number): void {
    const list = this.#words[index]!;
    const length = nextLength(list.length);
    if (length === undefined) {
      this.#toBitmap(index);
      return;
    }
    const longer = allocate(length);
    longer.set(list);
    this.#words[index] = longer;
  }

  #toBitmap(index: number): void {
    const count = this.#counts[index]!;
    if (count === BITMAP) return;
    const list = this.#words[index]!;
    const bitmap = allocate(this.#bitmapLength(this.#first / BITS + index));
    for (let i = 0; i < count; i++) setBits(bitmap, list[i]!, list[i]!);
    this.#words[index] = bitmap;
    this.#counts[index] = BITMAP;
  }

  #bitmapLength(number: number): number {
    return bitsLength(this.bits - number * BITS);
  }

  /** Makes the region of a bit the one where bits are set. */
  #enter(bit: number): void {
    const number = Math.floor(bit / REGION_BITS);
    const region = this.#regions.get(number) ?? this.#addRegion(number);
    this.#words = region.words;
    this.#counts = region.counts;
    this.#first = number * REGION_BITS;
  }

  #addRegion(number: number): Region {
    const length = Math.min(REGION_WINDOWS, Math.ceil(this.bits / BITS) - number * REGION_WINDOWS);
    const words = Array.from({ length }, () => NONE);
    const region = { words, counts: new Int32Array(length), sorted: new Int32Array(length) };
    this.#regions.set(number, region);
    return region;
  }
}

function isUnmarked(words: Int32Array, count: number): boolean {
  return count === BITMAP ? isEmpty(words) : count === 0;
}

function allocate(words: number): Int32Array {
  const bytes = words * Int32Array.BYTES_PER_ELEMENT;
  try {
    return new Int32Array(new SharedArrayBuffer(bytes));
  } catch (cause) {
    throw new VdpaError('ERR_VDPA_MEMORY', `No ${bytes} bytes for a bitmap: too much memory is marked in it.`, {
      details: { bytes },
      cause,
    });
  }
}
