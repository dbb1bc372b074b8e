/**
 * The kernel's iova_bitmap: dirty pages of an IOVA range, reported into memory that somebody else owns.
 *
 * ## Theory of operation
 * A bitmap covers [iova, iova + length) in pages of any power of two. Bit k stands for the page at iova + k * pageSize. Bits are in
 * the order of the vhost log and of little-endian words of any size: bit k is bit k % 8 of byte floor(k / 8). The bytes are
 * the caller's and may begin anywhere in their buffer. Only the first ceil(pages / 8) of them are used, and in the last of these only
 * the bits of pages that exist: others are neither read nor written.
 *
 * A **record** is a piece of IOVA that was written, of any size and alignment. A page that it touches is dirty as a whole. A record
 * may go beyond the range on either side: a driver reports in the sizes of its own page table, whose entries may be larger than
 * what was asked for. The part inside counts, the rest is not this bitmap's. Bits are only ever set, never cleared.
 *
 * **Windows.** The kernel writes to user memory through pinned pages, and pins no more than what fits one page of pointers:
 * 512 pages of bitmap at a time, which cover 64 GiB of IOVA in pages of 4 KiB. A window ends with its last pinned page; so the first
 * is shorter by the part of a page before the first byte. It begins with a whole byte of the bitmap.
 * `forEachWindow` cuts a range the way the kernel does (6.1 to 6.6 call their driver back once for each), for whoever has to hand the
 * bitmap on in such pieces.
 *
 * Marking needs no windows here, since all bytes can be reached all the time. In the kernel it does, and three things go wrong that
 * cannot happen here:
 * - a window that cannot be pinned (6.12 pins within `set`) loses its records, and nobody is told;
 * - a record beyond the pinned pages is cut off (6.1 and 6.6);
 * - a record beyond the end of the range sets bits behind the bitmap's last, up to the end of the pinned page.
 */
import { AddressError, type ErrorDetails, hex, VdpaError } from '../errors.js';
import { popcount, trailingZeros } from './bits.js';

/** Of the bitmap's own memory. A page of pointers has room for 512 pages. */
const PAGE = 4096;
const WINDOW_PAGES = 512;
/** Words can be used where they are aligned, on a machine that stores them with the lowest byte first. */
const LITTLE_ENDIAN = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

/** A part of a bitmap that the kernel would pin at once. */
export interface BitmapWindow {
  /** What it covers. */
  readonly iova: number;
  readonly length: number;
  /** Pages of 4 KiB of the bitmap's memory, as the kernel counts them (one may be unused), and where in the first it begins. */
  readonly pages: number;
  readonly pageOffset: number;
  /** The bytes themselves, shared. */
  readonly data: Uint8Array;
}

export class IovaBitmap {
  readonly iova: number;
  readonly length: number;
  readonly pageSize: number;
  /** Number of pages, and bits. */
  readonly pages: number;
  /** The bytes in use. */
  readonly data: Uint8Array;
  /** The words that lie whole among the bytes whose bits all count, and how many bytes are before them. */
  readonly #words: Uint32Array;
  readonly #wordsAt: number;

  /**
   * @param iova Start of the range; it must end at 2^53 - 1 or below.
   * @param length In bytes; the last page may be a part.
   * @param pageSize A power of two, from 1.
   * @param data At least ceil(pages / 8) bytes. Where they begin in their buffer is taken for where they begin in memory.
   * @throws AddressError for an impossible range; VdpaError ERR_VDPA_INVALID_ARGUMENT for a page size that is no power of two, or
   * too few bytes.
   */
  constructor(iova: number, length: number, pageSize: number, data: Uint8Array) {
    checkRange(iova, length);
    if (!(pageSize >= 1 && Number.isSafeInteger(pageSize) && 2 ** Math.round(Math.log2(pageSize)) === pageSize)) {
      throw invalid(`A page size is a power of two, not ${pageSize}.`, { page_size: pageSize });
    }
    this.iova = iova;
    this.length = length;
    this.pageSize = pageSize;
    this.pages = Math.ceil(length / pageSize);
    const bytes = Math.ceil(this.pages / 8);
    if (data.length < bytes) {
      const text = `A bitmap of ${this.pages} pages takes ${bytes} bytes, and there are ${data.length}.`;
      throw invalid(text, { pages: this.pages, bytes: data.length });
    }
    this.data = data.subarray(0, bytes);
    const whole = Math.floor(this.pages / 8);
    this.#wordsAt = Math.min(-data.byteOffset & 3, whole);
    const words = LITTLE_ENDIAN ? Math.floor((whole - this.#wordsAt) / 4) : 0;
    this.#words = new Uint32Array(data.buffer, words === 0 ? 0 : data.byteOffset + this.#wordsAt, words);
  }

  /**
   * Records that [iova, iova + length) was written: marks every page of the range that it touches. A length of 0 marks nothing, and
   * neither does what lies outside the range.
   * @throws AddressError for a record that is no range of addresses, such as one that ends above 2^53 - 1.
   */
  set(iova: number, length: number): void {
    checkRange(iova, length);
    const start = Math.max(iova, this.iova);
    const end = Math.min(iova + length, this.iova + this.length);
    if (start >= end) return;
    const first = Math.floor((start - this.iova) / this.pageSize);
    const last = Math.floor((end - 1 - this.iova) / this.pageSize);
    const from = Math.floor(first / 8);
    const to = Math.floor(last / 8);
    const firstBits = 0xff << (first & 7);
    const lastBits = 0xff >>> (7 - (last & 7));
    if (from === to) {
      this.data[from]! |= firstBits & lastBits;
      return;
    }
    this.data[from]! |= firstBits;
    this.data.fill(0xff, from + 1, to);
    this.data[to]! |= lastBits;
  }

  /** Whether the page of this address is dirty. @throws AddressError outside the range. */
  has(iova: number): boolean {
    if (!(iova >= this.iova && iova < this.iova + this.length)) {
      throw new AddressError(`${hex(iova)} is not in ${this.#range()}.`, { details: { iova } });
    }
    const bit = Math.floor((iova - this.iova) / this.pageSize);
    return ((this.data[Math.floor(bit / 8)]! >>> (bit & 7)) & 1) === 1;
  }

  /** Number of dirty pages. */
  count(): number {
    const words = this.#words;
    let total = 0;
    for (let i = 0; i < this.#wordsAt; i++) total += popcount(this.data[i]!);
    for (let i = 0; i < words.length; i++) total += popcount(words[i]!);
    for (let i = this.#tailAt; i < this.data.length; i++) total += popcount(this.data[i]! & this.#validBits(i));
    return total;
  }

  /** Calls back for each run of dirty pages, in order, with its first address and its length; the last one is clipped to the range. */
  forEachRun(callback: (iova: number, length: number) => void): void {
    let first = this.#next(0, 0);
    while (first < this.pages) {
      const end = this.#next(first, 0xff);
      const offset = first * this.pageSize;
      callback(this.iova + offset, Math.min(end * this.pageSize, this.length) - offset);
      first = this.#next(end, 0);
    }
  }

  /**
   * Marks what `other` has marked.
   * @throws VdpaError ERR_VDPA_INVALID_ARGUMENT when it has another range or page size.
   */
  or(other: IovaBitmap): void {
    if (other.iova !== this.iova || other.length !== this.length || other.pageSize !== this.pageSize) {
      throw invalid(`A bitmap of ${other.#range()} cannot be merged into one of ${this.#range()}.`, {});
    }
    const alike = this.#wordsAt === other.#wordsAt;
    const head = alike ? this.#wordsAt : 0;
    for (let i = 0; i < head; i++) this.data[i]! |= other.data[i]!;
    if (alike) for (let i = 0; i < this.#words.length; i++) this.#words[i]! |= other.#words[i]!;
    for (let i = alike ? this.#tailAt : 0; i < this.data.length; i++) {
      this.data[i]! |= other.data[i]! & this.#validBits(i);
    }
  }

  /** Calls back for each window the kernel would cut this bitmap into, in order. */
  forEachWindow(callback: (window: BitmapWindow) => void): void {
    const total = this.data.length;
    for (let base = 0; base < total; ) {
      const pageOffset = (this.data.byteOffset + base) % PAGE;
      const wanted = Math.ceil((total - base) / PAGE) + (pageOffset === 0 ? 0 : 1);
      const pages = Math.min(wanted, WINDOW_PAGES);
      const bytes = Math.min(total - base, pages * PAGE - pageOffset);
      const offset = base * 8 * this.pageSize;
      const length = Math.min(bytes * 8 * this.pageSize, this.length - offset);
      const data = this.data.subarray(base, base + bytes);
      callback({ iova: this.iova + offset, length, pages, pageOffset, data });
      base += bytes;
    }
  }

  /**
   * The first bit from `bit` on that is set (`same` 0) or not set (`same` 0xff). When there is none it is `pages` or more: behind the
   * last page the byte may have bits of somebody else.
   */
  #next(bit: number, same: 0 | 0xff): number {
    let at = Math.floor(bit / 8);
    if (at >= this.data.length) return this.pages;
    let found = (this.data[at]! ^ same) & (0xff << (bit & 7)) & 0xff;
    while (found === 0) {
      at = this.#skip(at + 1, same);
      if (at === this.data.length) return this.pages;
      found = this.data[at]! ^ same;
    }
    return at * 8 + trailingZeros(found);
  }

  /** The first byte from `at` on that is not `same`; the number of bytes when there is none. */
  #skip(at: number, same: 0 | 0xff): number {
    const { data } = this;
    const words = this.#words;
    const sameWord = same === 0 ? 0 : 0xffff_ffff;
    let byte = at;
    while (byte < data.length) {
      const fromWords = byte - this.#wordsAt;
      if (fromWords % 4 === 0 && words[fromWords / 4] === sameWord) byte += 4;
      else if (data[byte] === same) byte++;
      else break;
    }
    return byte;
  }

  /** The first byte behind the words. */
  get #tailAt(): number {
    return this.#wordsAt + this.#words.length * 4;
  }

  /** The bits of a byte that stand for pages. */
  #validBits(byte: number): number {
    return 0xff >>> Math.max(0, (byte + 1) * 8 - this.pages);
  }

  #range(): string {
    return `${hex(this.length)} bytes at ${hex(this.iova)} in pages of ${hex(this.pageSize)}`;
  }
}

function checkRange(iova: number, length: number): void {
  if (Number.isSafeInteger(iova) && iova >= 0 && Number.isSafeInteger(length) && length >= 0) {
    if (Number.isSafeInteger(iova + length)) return;
  }
  throw new AddressError(`${length} bytes at ${iova} are no range of addresses from 0 to 2^53 - 1.`, {
    details: { iova, length },
  });
}

function invalid(message: string, details: ErrorDetails): VdpaError {
  return new VdpaError('ERR_VDPA_INVALID_ARGUMENT', message, { details });
}
