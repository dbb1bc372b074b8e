/** What a bitmap of dirty pages tells: its own thread about the marks made so far, another thread about a snapshot. */
import { AddressError, hex, VdpaError } from '../errors.js';
import { RunScan, type RunsCallback } from './run-scan.js';
import { countBits } from './window-bits.js';
import { WINDOW_BITS, type Window, Windows } from './windows.js';

const MAX_PAGE_SHIFT = 52;

/** Marked pages as plain data. In a message to another thread the bits are not copied: both threads then have the same memory. */
export interface DirtySnapshot {
  /** Size of the memory, and of a page as a power of two. */
  readonly bytes: number;
  readonly pageShift: number;
  /** The windows (of 2^20 pages) that have marks, in ascending order. */
  readonly windows: readonly Window[];
}

export class DirtyView {
  /** Size of the memory; its last page may be a part. */
  readonly bytes: number;
  readonly pageShift: number;
  readonly pageSize: number;
  readonly pages: number;
  protected readonly windows: Windows;

  protected constructor(bytes: number, pageShift: number) {
    const valid = Number.isSafeInteger(bytes) && bytes >= 0;
    if (!valid || !Number.isInteger(pageShift) || pageShift < 0 || pageShift > MAX_PAGE_SHIFT) {
      throw new VdpaError('ERR_VDPA_INVALID_ARGUMENT', `No bitmap for ${bytes} bytes in pages of 2^${pageShift}.`, {
        details: { bytes, pageShift },
      });
    }
    this.bytes = bytes;
    this.pageShift = pageShift;
    this.pageSize = 2 ** pageShift;
    this.pages = Math.ceil(bytes / this.pageSize);
    this.windows = new Windows(this.pages);
  }

  /**
   * A view on a snapshot, without a copy: once the owner takes the memory back, it shows what the owner does with it.
   * @throws VdpaError ERR_VDPA_INVALID_ARGUMENT when it is not the snapshot of such a bitmap.
   */
  static of({ bytes, pageShift, windows }: DirtySnapshot): DirtyView {
    const view = new DirtyView(bytes, pageShift);
    let least = 0;
    for (const window of windows) {
      const { number } = window;
      const fits = Number.isInteger(number) && number >= least && number * WINDOW_BITS < view.pages;
      if (!fits || !view.windows.adopt(window)) throw noSnapshot(view, number);
      least = number + 1;
    }
    return view;
  }

  /** Whether the page of this byte is marked. @throws AddressError beyond the memory. */
  has(offset: number): boolean {
    if (!(offset >= 0 && offset < this.bytes)) throw outside(offset, 1, this.bytes);
    return this.windows.has(Math.floor(offset / this.pageSize));
  }

  /** Number of marked pages. */
  count(): number {
    this.windows.sort();
    let total = 0;
    for (const { words, count } of this.windows.marked()) total += count ?? countBits(words);
    return total;
  }

  /** Bytes of the marked pages. */
  markedBytes(): number {
    const missing = this.pages * this.pageSize - this.bytes;
    const cut = missing > 0 && this.has(this.bytes - 1) ? missing : 0;
    return this.count() * this.pageSize - cut;
  }

  /** Whether any page is marked. */
  any(): boolean {
    return this.windows.marked().next().done !== true;
  }

  /** Bytes of memory that the bitmap itself takes: at most 132 KiB for each window of 2^20 pages that was marked. */
  get heldBytes(): number {
    return this.windows.heldBytes;
  }

  /**
   * Calls back with the runs of marked pages, in order, many at a time; the last run is clipped to the memory. For large bitmaps,
   * where a call for every run would cost more than finding it.
   */
  scan(callback: RunsCallback): void {
    const scan = new RunScan(this.pageSize, this.bytes, callback);
    this.windows.sort();
    for (const window of this.windows.marked()) scan.add(window, window.number * WINDOW_BITS * this.pageSize);
    scan.finish();
  }

  /** Calls back for each run of marked pages, in order. Bytes. */
  forEachRun(callback: (offset: number, length: number) => void): void {
    this.scan((runs, count) => {
      for (let i = 0; i < count; i += 2) callback(runs[i]!, runs[i + 1]!);
    });
  }

  /** The runs as pairs (offset, length), the form in which bulk copies take ranges. */
  runs(): Float64Array {
    const parts: Float64Array[] = [];
    this.scan((runs, count) => parts.push(runs.slice(0, count)));
    const pairs = new Float64Array(parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of parts) {
      pairs.set(part, at);
      at += part.length;
    }
    return pairs;
  }

  /** The marks as plain data, which shares the bitmap's memory: it is what it is until something else is marked. */
  snapshot(): DirtySnapshot {
    return { bytes: this.bytes, pageShift: this.pageShift, windows: [...this.windows.marked()] };
  }
}

export function outside(offset: number, length: number, bytes: number): AddressError {
  return new AddressError(`${length} bytes at ${hex(offset)} are not within a memory of ${hex(bytes)} bytes.`, {
    details: { offset, length, bytes },
  });
}

function noSnapshot(view: DirtyView, window: number): VdpaError {
  const text = `Window ${window} does not belong to a bitmap of ${view.pages} pages: this is no snapshot of one.`;
  return new VdpaError('ERR_VDPA_INVALID_ARGUMENT', text, { details: { window, pages: view.pages } });
}
