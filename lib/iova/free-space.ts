/**
 * The addresses of a device's range that nothing holds: holes between what is held, what is reserved and the ends.
 *
 * Where a range goes. In the first hole that takes it, counted from below. A platform IOMMU maps with pages of 2 MiB or 1 GiB
 * where IOVA and memory agree modulo that size, so ranges that have such pages are put where they agree: of the first 64 holes
 * that are large enough in bytes, the first in which an agreeing place fits; behind these, the first hole that must have one
 * because it is larger by a page. If none does, the next smaller page is tried. The bound makes this O(log n), like all else
 * here; the price is that among thousands of holes that nearly fit, an agreeing place may be missed.
 *
 * Page 0 is never chosen, because some devices take address 0 for "none"; it may be asked for by name (identity placement).
 */
import { AddressError, hex } from '../errors.js';
import { checkPages, MAX_ADDRESS } from './check-range.js';
import { RECORD_END as END } from './chunks.js';
import { isKept, type ReservedWindow, SMALLEST_GRANULE, validateGranule } from './limits.js';
import { RangeIndex } from './range-index.js';

export interface FreeSpaceOptions {
  /** First and last usable address, inclusive (VHOST_VDPA_GET_IOVA_RANGE). Nothing above 2^53 - 1 is used. */
  readonly first: bigint;
  readonly last: bigint;
  /** What every address and size is a multiple of: 4096 unless told otherwise; limits.ts has what it may be. */
  readonly granule?: number;
  readonly reserved?: readonly ReservedWindow[];
}

const LARGE_PAGES = [2 ** 30, 2 ** 21];
/** Holes looked at for a place that agrees with the memory. */
const PROBES = 64;

export class FreeSpace {
  readonly granule: number;
  readonly #options: FreeSpaceOptions;
  readonly #reserved: readonly ReservedWindow[];
  /** Whole pages between the ends, `end` exclusive. */
  readonly #start: number;
  readonly #end: number;
  /** Holes above page 0. */
  readonly #holes = new RangeIndex(2, 'size');
  #zeroIsFree: boolean;
  #bytes = 0;

  /** @throws VdpaError ERR_VDPA_INVALID_ARGUMENT for a granule that is none. */
  constructor(options: FreeSpaceOptions) {
    const { first, last, granule = SMALLEST_GRANULE, reserved = [] } = options;
    validateGranule(granule);
    this.granule = granule;
    this.#options = options;
    this.#start = roundUp(Number(clip(first)), granule);
    this.#end = roundDown(Number(clip(last + 1n)), granule);
    this.#reserved = reserved.filter(isKept).sort((a, b) => a.first - b.first);
    this.#zeroIsFree =
      this.#start === 0 && this.#end >= granule && !this.#reserved.some(window => window.first < granule);
    let free = Math.max(this.#start, granule);
    for (const window of this.#reserved) {
      this.#addHole(free, Math.min(roundDown(window.first, granule), this.#end));
      free = Math.max(free, roundUp(window.last + 1, granule));
    }
    this.#addHole(free, this.#end);
  }

  /** Bytes that are free, without page 0. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Size of the largest hole, without page 0. */
  get largest(): number {
    return this.#holes.greatest;
  }

  /**
   * Takes the first place for `size` bytes that agrees with the memory at `hva` as far as its large pages go; anywhere without.
   * @throws AddressError when size or hva are not whole pages, or no hole is large enough.
   */
  allocate(size: number, hva: number | undefined): number {
    checkPages(hva ?? 0, size, this.granule);
    for (const page of LARGE_PAGES) {
      if (hva === undefined || size < page || this.granule >= page) continue;
      const iova = this.#takeAgreeing(size, hva, page);
      if (iova >= 0) return iova;
    }
    const hole = this.#holes.firstAtLeast(size);
    if (hole < 0) throw this.#noRoom(size);
    const iova = this.#holes.records[hole]!;
    this.#cut(hole, iova, iova + size);
    return iova;
  }

  /**
   * Takes exactly [iova, iova + size).
   * @param held What others took: it is only asked what is in the way.
   * @throws AddressError when these are not whole pages, are not in the range, or on something reserved or held.
   */
  claim(iova: number, size: number, held: RangeIndex): void {
    const { granule } = this;
    checkPages(iova, size, granule);
    const zero = iova === 0;
    const start = zero ? granule : iova;
    const end = iova + size;
    const hole = start < end ? this.#holes.seek(start) : -1;
    const isFree = start === end || (hole >= 0 && end <= this.#holes.records[hole + END]!);
    if (!isFree || (zero && !this.#zeroIsFree)) throw this.#inTheWay(iova, end, held);
    if (zero) this.#zeroIsFree = false;
    if (start < end) this.#cut(hole, start, end);
  }

  /** Gives back what was taken. */
  give(iova: number, size: number): void {
    const end = iova + size;
    if (iova < this.granule) this.#zeroIsFree = true;
    const start = Math.max(iova, this.granule);
    if (start === end) return;
    this.#bytes += end - start;
    const holes = this.#holes;
    const below = holes.seek(start);
    const isBelow = below >= 0 && holes.records[below + END] === start;
    const bottom = isBelow ? holes.records[below]! : start;
    const isAbove = holes.startAfter(below) === end;
    if (!isAbove) {
      if (isBelow) holes.change(below, bottom, end);
      else holes.insert(start, end);
      return;
    }
    const above = holes.seek(end);
    const top = holes.records[above + END]!;
    if (isBelow) {
      holes.remove(above);
      holes.change(holes.seek(bottom), bottom, top);
    } else holes.change(above, start, top);
  }

  #takeAgreeing(size: number, hva: number, page: number): number {
    const holes = this.#holes;
    let hole = holes.firstAtLeast(size);
    for (let probe = 0; hole >= 0; probe++) {
      const start = holes.records[hole]!;
      const iova = start + modulo(hva - start, page);
      if (iova + size <= holes.records[hole + END]!) {
        this.#cut(hole, iova, iova + size);
        return iova;
      }
      hole = probe + 1 < PROBES ? holes.nextAtLeast(hole, size) : holes.firstAtLeast(size + page - this.granule);
    }
    return -1;
  }

  #noRoom(size: number): AddressError {
    const { bytes: free, largest } = this;
    return new AddressError(
      `No room for ${hex(size)} bytes of IOVA: ${hex(free)} are free, ${hex(largest)} in one piece. Unmap something, or map less at once.`,
      { details: { size, free, largest } },
    );
  }

  /** Why [iova, end) cannot be claimed. */
  #inTheWay(iova: number, end: number, held: RangeIndex): AddressError {
    const text = `${hex(iova)}-${hex(end - 1)}`;
    const details = { iova, size: end - iova };
    if (iova < this.#start || end > this.#end) {
      const range = `${hex(this.#options.first)} to ${hex(this.#options.last)}`;
      return new AddressError(
        `${text} is outside the device's range ${range} (VHOST_VDPA_GET_IOVA_RANGE), whole pages of it below ${hex(MAX_ADDRESS + 1)}.`,
        { details },
      );
    }
    const window = this.#reserved.find(({ first, last }) => first < end && last >= iova);
    if (window) {
      const { first, last, type } = window;
      return new AddressError(
        `${text} is on ${hex(first)}-${hex(last)} (${type}), which the device's IOMMU reserves.`,
        {
          details: { ...details, first, last },
        },
      );
    }
    const first = held.firstShared(iova, end);
    const at = held.seek(first);
    const other = held.records[at]!;
    const last = Math.abs(held.records[at + END]!) - 1;
    return new AddressError(`${text} overlaps ${hex(other)}-${hex(last)}, which is held.`, {
      details: { ...details, first: other, last },
    });
  }

  /** Removes [start, end) from the hole that has it. */
  #cut(hole: number, start: number, end: number): void {
    const holes = this.#holes;
    const first = holes.records[hole]!;
    const last = holes.records[hole + END]!;
    this.#bytes -= end - start;
    if (first === start && last === end) holes.remove(hole);
    else if (first === start) holes.change(hole, end, last);
    else {
      holes.change(hole, first, start);
      if (end < last) holes.insert(end, last);
    }
  }

  #addHole(start: number, end: number): void {
    if (start >= end) return;
    this.#holes.insert(start, end);
    this.#bytes += end - start;
  }
}

function clip(address: bigint): bigint {
  const top = BigInt(MAX_ADDRESS) + 1n;
  return address < top ? address : top;
}

function roundDown(address: number, granule: number): number {
  return Math.floor(address / granule) * granule;
}

function roundUp(address: number, granule: number): number {
  return Math.ceil(address / granule) * granule;
}

/** Never negative, unlike %. */
function modulo(value: number, divisor: number): number {
  const rest = value % divisor;
  return rest < 0 ? rest + divisor : rest;
}
