/** Where memory stands in one address space of a device, looked up from every side: guest address, address in this process, IOVA. */
import { AddressError, hex } from '../errors.js';
import type { Chain } from '../ring/chain.js';
import { checkPages, checkRange } from './check-range.js';
import { RECORD_END, RECORD_EXTRA, RECORD_VALUE } from './chunks.js';
import { FreeSpace, type FreeSpaceOptions } from './free-space.js';
import { HvaIndex } from './hva-index.js';
import { pageCoverage } from './page-coverage.js';
import { appendPieces } from './pieces.js';
import { RangeIndex } from './range-index.js';

// See chunks.ts.
const END = RECORD_END;
const VALUE = RECORD_VALUE;
const EXTRA = RECORD_EXTRA;

/** Memory to be mapped: addresses in bytes, in whole pages of the granule (a guest address may be any). */
export interface MappedMemory {
  readonly hva: number;
  readonly size: number;
  /** Where the guest has it; undefined for memory that is the host's alone, such as shadow rings. */
  readonly gpa?: number | undefined;
  /** Whether the device may write there. */
  readonly writable: boolean;
}

/** Memory at its place. */
export interface PlacedMemory extends MappedMemory {
  readonly iova: number;
}

/** Bytes by the largest page that an IOMMU can use for them: whole pages, at which IOVA and HVA agree modulo their size. */
export interface TreeCoverage {
  readonly in1GiB: number;
  readonly in2MiB: number;
  readonly rest: number;
}

/**
 * Maps of one address space. Every change and every lookup takes O(log n), and a lookup as much again for every further piece;
 * the bounds are in range-index.ts. Lookups append pieces of less than 4 GiB to a caller's chain, allocate nothing, and answer
 * false when a byte is not mapped, may not be written though `write` was asked, or the chain is full (it then holds a part).
 */
export class IovaTree {
  readonly #free: FreeSpace;
  /** By IOVA: distances to the HVA, and to the GPA (NaN when there is none). In all three the end of what is read-only is negated. */
  readonly #iovas = new RangeIndex(4);
  /** By GPA: distance to the IOVA. */
  readonly #gpas = new RangeIndex(3);
  readonly #hvas = new HvaIndex();
  #in1GiB = 0;
  #in2MiB = 0;
  #bytes = 0;

  /** @throws VdpaError ERR_VDPA_INVALID_ARGUMENT for a granule that is none. */
  constructor(options: FreeSpaceOptions) {
    this.#free = new FreeSpace(options);
  }

  /** Number of maps. */
  get size(): number {
    return this.#iovas.size;
  }

  /**
   * Maps memory, at the given place or where IovaAllocator.allocate would put it. Guest addresses must not overlap those of another
   * map; addresses in this process may.
   * @returns The IOVA.
   * @throws AddressError when they do, or there is no such place; nothing has changed then.
   */
  map(memory: MappedMemory, iova?: number): number {
    const { hva, size, gpa, writable } = memory;
    checkPages(hva, size, this.#free.granule);
    if (gpa !== undefined) this.#checkGuestRange(gpa, size);
    let place = iova;
    if (place === undefined) place = this.#free.allocate(size, hva);
    else this.#free.claim(place, size, this.#iovas);
    const end = place + size;
    this.#iovas.insert(place, writable ? end : -end, hva - place, gpa === undefined ? Number.NaN : gpa - place);
    this.#hvas.add(hva, size, place, writable);
    if (gpa !== undefined) this.#gpas.insert(gpa, writable ? gpa + size : -gpa - size, place - gpa);
    this.#count(place, hva, size, 1);
    return place;
  }

  /**
   * Removes the map that starts at the IOVA.
   * @throws AddressError when none does.
   */
  unmap(iova: number): void {
    const at = this.#exactly(iova);
    if (at < 0) throw new AddressError(`No map starts at IOVA ${hex(iova)}.`, { details: { iova } });
    const { hva, size, gpa } = this.#memoryAt(at);
    this.#iovas.remove(at);
    this.#hvas.remove(hva, iova);
    if (gpa !== undefined) this.#gpas.remove(this.#gpas.seek(gpa));
    this.#free.give(iova, size);
    this.#count(iova, hva, size, -1);
  }

  /** The map that starts at the IOVA. */
  get(iova: number): PlacedMemory | undefined {
    const at = this.#exactly(iova);
    return at < 0 ? undefined : this.#memoryAt(at);
  }

  /** All maps, sorted by IOVA. */
  maps(): PlacedMemory[] {
    const maps: PlacedMemory[] = [];
    this.#iovas.each((_, at) => {
      maps.push(this.#memoryAt(at));
    });
    return maps;
  }

  gpaToIova(gpa: number, length: number, write: boolean, out: Chain): boolean {
    return appendPieces(this.#gpas, VALUE, gpa, length, write, out);
  }

  /** Where several maps have the memory, any of them, and the fewest pieces that do. */
  hvaToIova(hva: number, length: number, write: boolean, out: Chain): boolean {
    return this.#hvas.translate(hva, length, write, out);
  }

  /** Memory that no guest has is not mapped here. */
  iovaToGpa(iova: number, length: number, write: boolean, out: Chain): boolean {
    return appendPieces(this.#iovas, EXTRA, iova, length, write, out);
  }

  iovaToHva(iova: number, length: number, write: boolean, out: Chain): boolean {
    return appendPieces(this.#iovas, VALUE, iova, length, write, out);
  }

  /** How much of the memory is placed for large IOMMU pages. Whether it is in large pages on the host is not known here. */
  coverage(): TreeCoverage {
    const in1GiB = this.#in1GiB;
    const in2MiB = this.#in2MiB;
    return { in1GiB, in2MiB, rest: this.#bytes - in1GiB - in2MiB };
  }

  #checkGuestRange(gpa: number, size: number): void {
    checkRange(gpa, size);
    const shared = this.#gpas.firstShared(gpa, gpa + size);
    if (shared === Infinity) return;
    throw new AddressError(
      `Guest addresses ${hex(gpa)}-${hex(gpa + size - 1)} overlap a map that is there, at ${hex(shared)}. Unmap it first.`,
      { details: { gpa, size, address: shared } },
    );
  }

  #exactly(iova: number): number {
    const at = this.#iovas.seek(iova);
    return at >= 0 && this.#iovas.records[at] === iova ? at : -1;
  }

  #memoryAt(at: number): PlacedMemory {
    const { records } = this.#iovas;
    const iova = records[at]!;
    const end = records[at + END]!;
    const distance = records[at + EXTRA]!;
    return {
      iova,
      hva: iova + records[at + VALUE]!,
      size: Math.abs(end) - iova,
      gpa: Number.isNaN(distance) ? undefined : iova + distance,
      writable: end > 0,
    };
  }

  #count(iova: number, hva: number, size: number, sign: 1 | -1): void {
    const { huge, large } = pageCoverage(iova, hva, size);
    this.#in1GiB += sign * huge;
    this.#in2MiB += sign * large;
    this.#bytes += sign * size;
  }
}
