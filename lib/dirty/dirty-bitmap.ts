/**
 * Which pages of a memory were written: one bit per page, in memory in proportion to what is marked.
 *
 * A bitmap belongs to the thread that marks it: atomic marks cost ten times as much, so every producer has its own (a
 * `DirtyPair`), and a reader ORs their snapshots together.
 */
import { VdpaError } from '../errors.js';
import { type DirtySnapshot, DirtyView, outside } from './dirty-view.js';

/** Where written memory is told. */
export interface DirtyMarks {
  /** Marks every page that [offset, offset + length) touches. */
  mark(offset: number, length: number): void;
}

export class DirtyBitmap extends DirtyView implements DirtyMarks {
  // Numbers from the start, so that the compiler never expects anything else.
  #end = Number.NaN;
  #pagesPerByte = Number.NaN;

  /**
   * @param bytes Size of the memory, up to 2^53 - 1: an address space of any size costs nothing until it is marked.
   * @param pageShift Page size as a power of two, 0 to 52.
   * @throws VdpaError ERR_VDPA_INVALID_ARGUMENT
   */
  constructor(bytes: number, pageShift = 12) {
    super(bytes, pageShift);
    this.#end = bytes;
    this.#pagesPerByte = 1 / this.pageSize;
  }

  /**
   * Marks every page that [offset, offset + length) touches; a length of 0 touches none.
   * @throws AddressError when the range ends beyond the memory; VdpaError ERR_VDPA_MEMORY when there is no memory for the marks, of
   * which some may then have been made.
   */
  mark(offset: number, length: number): void {
    const end = offset + length;
    if (!(offset >= 0 && length >= 0 && end <= this.#end)) throw outside(offset, length, this.bytes);
    if (length === 0) return;
    this.windows.set(offset * this.#pagesPerByte, (end - 1) * this.#pagesPerByte);
  }

  /** Forgets all marks. Windows that had some keep their memory for the next ones; that of the others is released. */
  clear(): void {
    this.windows.clear();
  }

  /**
   * Marks what `other`, a bitmap or the snapshot of one, has marked.
   * @throws VdpaError ERR_VDPA_INVALID_ARGUMENT when it is for another size of memory or page, or no snapshot.
   */
  or(other: DirtyView | DirtySnapshot): void {
    if (other.bytes !== this.bytes || other.pageShift !== this.pageShift) {
      throw new VdpaError(
        'ERR_VDPA_INVALID_ARGUMENT',
        'Two bitmaps of different memory or page size cannot be merged.',
      );
    }
    const { windows } = (other instanceof DirtyView ? other : DirtyView.of(other)).snapshot();
    for (const window of windows) this.windows.merge(window);
  }
}
