/**
 * Which pages of a memory were written: one bit per page, page p in bit p % 32 of word p / 32 (the vhost log's bit order).
 *
 * A bitmap belongs to the thread that marks it: atomic marks cost ten times as much, so every producer has its own, and a
 * reader gets a snapshot that the owner took and ORs the snapshots together.
 */
import { AddressError, hex, VdpaError } from '../errors.js';

const BITS = 32;
/** Page numbers stay below 2^32, where `>>>` is exact. */
const MAX_PAGES = 0xffff_ffff;

export class DirtyBitmap {
  readonly bytes: number;
  readonly pageSize: number;
  readonly pages: number;
  #words: Uint32Array;

  /**
   * @param bytes Size of the memory; the last page may be a part.
   * @param pageShift Page size as a power of two, 0 to 31.
   * @throws VdpaError ERR_VDPA_INVALID_ARGUMENT
   */
  constructor(bytes: number, pageShift = 12) {
    this.bytes = bytes;
    this.pageSize = 2 ** pageShift;
    this.pages = Math.ceil(bytes / this.pageSize);
    const valid = Number.isSafeInteger(bytes) && bytes >= 0 && this.pages <= MAX_PAGES;
    if (!valid || !Number.isInteger(pageShift) || pageShift < 0 || pageShift >= BITS) {
      throw new VdpaError('ERR_VDPA_INVALID_ARGUMENT', `No bitmap for ${bytes} bytes in pages of 2^${pageShift}.`);
    }
    this.#words = new Uint32Array(Math.ceil(this.pages / BITS));
  }

  /**
   * A bitmap on words that another thread's `take` returned; it uses them, without a copy.
   * @throws VdpaError ERR_VDPA_INVALID_ARGUMENT when they are not the words of such a bitmap.
   */
  static fromWords(words: Uint32Array, bytes: number, pageShift = 12): DirtyBitmap {
    const bitmap = new DirtyBitmap(bytes, pageShift);
    const spare = bitmap.#words.length * BITS - bitmap.pages;
    const beyond = spare === 0 ? 0 : (words[words.length - 1] ?? 0) >>> (BITS - spare);
    if (words.length !== bitmap.#words.length || beyond !== 0) {
      throw new VdpaError('ERR_VDPA_INVALID_ARGUMENT', `${words.length} words do not fit ${bitmap.pages} pages.`);
    }
    bitmap.#words = words;
    return bitmap;
  }

  /** The live words. */
  get words(): Uint32Array {
    return this.#words;
  }

  /**
   * Marks every page that [offset, offset + length) touches; a length of 0 touches none.
   * @throws AddressError when the range ends beyond the memory.
   */
  mark(offset: number, length: number): void {
    if (!(offset >= 0 && length >= 0 && offset + length <= this.bytes)) throw this.#outside(offset, length);
    if (length === 0) return;
    const first = Math.floor(offset / this.pageSize);
    const last = Math.floor((offset + length - 1) / this.pageSize);
    const words = this.#words;
    const from = first >>> 5;
    const to = last >>> 5;
    const firstBits = -1 << (first & 31);
    const lastBits = -1 >>> (31 - (last & 31));
    if (from === to) {
      words[from]! |= firstBits & lastBits;
      return;
    }
    words[from]! |= firstBits;
    words.fill(0xffff_ffff, from + 1, to);
    words[to]! |= lastBits;
  }

  /** Whether the page of this byte is marked. @throws AddressError beyond the memory. */
  has(offset: number): boolean {
    if (!(offset >= 0 && offset < this.bytes)) throw this.#outside(offset, 1);
    const page = Math.floor(offset / this.pageSize);
    return ((this.#words[page >>> 5]! >>> (page & 31)) & 1) === 1;
  }

  /** Number of marked pages. */
  count(): number {
    let total = 0;
    for (const word of this.#words) total += popcount(word);
    return total;
  }

  /** Whether any page is marked. */
  any(): boolean {
    return this.#next(0, 0) < this.pages;
  }

  clear(): void {
    this.#words.fill(0);
  }

  /**
   * Marks what `other` has marked.
   * @throws VdpaError ERR_VDPA_INVALID_ARGUMENT when it is for another size of memory or page.
   */
  or(other: DirtyBitmap): void {
    if (other.bytes !== this.bytes || other.pageSize !== this.pageSize) {
      throw new VdpaError(
        'ERR_VDPA_INVALID_ARGUMENT',
        'Two bitmaps of different memory or page size cannot be merged.',
      );
    }
    const from = other.#words;
    const to = this.#words;
    for (let i = 0; i < to.length; i++) to[i]! |= from[i]!;
  }

  /**
   * Takes a snapshot: returns a copy of the words and clears the bitmap, so that every mark is in exactly one snapshot.
   */
  take(): Uint32Array {
    const taken = this.#words.slice();
    this.clear();
    return taken;
  }

  /** Calls back for each run of marked pages, in order; the last run is clipped to the memory. Bytes. */
  forEachRun(callback: (offset: number, length: number) => void): void {
    let first = this.#next(0, 0);
    while (first < this.pages) {
      const end = this.#next(first, -1);
      const offset = first * this.pageSize;
      callback(offset, Math.min(end * this.pageSize, this.bytes) - offset);
      first = this.#next(end, 0);
    }
  }

  /** The runs as pairs (offset, length), the form in which bulk copies take ranges. */
  runs(): Float64Array {
    const pairs = new Float64Array(2 * this.#countRuns());
    let i = 0;
    this.forEachRun((offset, length) => {
      pairs[i++] = offset;
      pairs[i++] = length;
    });
    return pairs;
  }

  /** The first page from `page` on that is marked (`flip` 0) or unmarked (`flip` -1); `pages` when there is none. */
  #next(page: number, flip: 0 | -1): number {
    const words = this.#words;
    let at = page >>> 5;
    if (at >= words.length) return this.pages;
    let word = (words[at]! ^ flip) & (-1 << (page & 31));
    while (word === 0) {
      if (++at === words.length) return this.pages;
      word = words[at]! ^ flip;
    }
    return Math.min(at * BITS + 31 - Math.clz32(word & -word), this.pages);
  }

  /** A run starts at every marked page whose predecessor is not marked. */
  #countRuns(): number {
    let total = 0;
    let carry = 0;
    for (const word of this.#words) {
      total += popcount(word & ~((word << 1) | carry));
      carry = word >>> 31;
    }
    return total;
  }

  #outside(offset: number, length: number): AddressError {
    return new AddressError(`${length} bytes at ${hex(offset)} are not within a memory of ${hex(this.bytes)} bytes.`, {
      details: { offset, length, bytes: this.bytes },
    });
  }
}

/** Marked bits of a word, counted in parallel (SWAR). */
function popcount(word: number): number {
  const pairs = word - ((word >>> 1) & 0x5555_5555);
  const nibbles = (pairs & 0x3333_3333) + ((pairs >>> 2) & 0x3333_3333);
  return Math.imul((nibbles + (nibbles >>> 4)) & 0x0f0f_0f0f, 0x0101_0101) >>> 24;
}
