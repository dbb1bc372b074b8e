/**
 * Runs of set bits, read from windows into a buffer of pairs.
 *
 * What costs is not the bits but the guesses of a processor that cannot foresee them. So words are found through the summary, the
 * end of a run by arithmetic and not by a search, and nothing is called per run. Pages are whole numbers of 32 bits, counted from
 * the start of the window, until they are written down as bytes.
 */
import type { Window } from './windows.js';

/** Takes `count` numbers of `runs`: pairs of offset and length in bytes. The buffer is used again. */
export type RunsCallback = (runs: Float64Array, count: number) => void;

// Of window-bits.ts; the compiler folds a constant of this file, and loads an imported one each time.
const LINES = 1024;
/** 32 KiB, which stays in the first-level cache. */
const BUFFER_NUMBERS = 4096;
/** Room for what is added between two looks at the buffer: the runs of a line of 1024 pages, at most every second one. */
const STEP_NUMBERS = 1024;
const STEP_PAGES = STEP_NUMBERS / 2;

export class RunScan {
  // A fraction's format from the start: the compiler then converts it in none of the stores.
  #pageSize = Number.NaN;
  /** Where the memory ends; its last page may be a part. */
  readonly #end: number;
  readonly #callback: RunsCallback;
  readonly #runs = new Float64Array(BUFFER_NUMBERS);
  #count = 0;
  /** Of no use, but the compiler drops a load whose value is not kept. */
  #fetched = 0;

  constructor(pageSize: number, end: number, callback: RunsCallback) {
    this.#pageSize = pageSize;
    this.#end = end;
    this.#callback = callback;
  }

  /** Adds the runs of a window; windows come in the order of their offsets (in bytes), lists sorted. */
  add({ words, count }: Window, offset: number): void {
    if (count === undefined) this.#addBitmap(words, offset);
    else this.#addList(words, count, offset);
  }

  /** Hands over the rest. */
  finish(): void {
    const count = this.#count;
    if (count === 0) return;
    const runs = this.#runs;
    runs[count - 1] = Math.min(runs[count - 1]!, this.#end - runs[count - 2]!);
    this.#callback(runs, count);
    this.#count = 0;
  }

  #addBitmap(window: Int32Array, offset: number): void {
    this.#fetched ^= fetchLines(window);
    const runs = this.#runs;
    const pageSize = this.#pageSize;
    let behind = this.#endsAt(offset) ? 0 : -1;
    for (let line = 0; line < LINES; line++) {
      let words = window[line]!;
      if (words === 0) continue;
      let count = this.#room();
      while (words !== 0) {
        const word = line * 32 + trailingZeros(words);
        words &= words - 1;
        let bits = window[LINES + word]!;
        while (bits !== 0) {
          const start = word * 32 + trailingZeros(bits);
          // Adding the lowest bit carries through the lowest run: what is then the lowest bit is the first behind it.
          const carried = (bits + (bits & -bits)) | 0;
          bits &= carried;
          if (start !== behind) {
            runs[count] = offset + start * pageSize;
            count += 2;
          }
          behind = word * 32 + (carried === 0 ? 32 : trailingZeros(carried));
          runs[count - 1] = offset + behind * pageSize - runs[count - 2]!;
        }
      }
      this.#count = count;
    }
  }

  #addList(list: Int32Array, length: number, offset: number): void {
    const runs = this.#runs;
    const pageSize = this.#pageSize;
    let behind = this.#endsAt(offset) ? 0 : -1;
    for (let from = 0; from < length; from += STEP_PAGES) {
      let count = this.#room();
      const to = Math.min(from + STEP_PAGES, length);
      for (let i = from; i < to; i++) {
        const page = list[i]!;
        if (page === behind) {
          runs[count - 1]! += pageSize;
        } else {
          runs[count] = offset + page * pageSize;
          runs[count + 1] = pageSize;
          count += 2;
        }
        behind = page + 1;
      }
      this.#count = count;
    }
  }

  /** Whether the last run ends there, and may go on. */
  #endsAt(offset: number): boolean {
    const count = this.#count;
    return count > 0 && this.#runs[count - 2]! + this.#runs[count - 1]! === offset;
  }

  /** Makes sure that there is room for a step. @returns the count. */
  #room(): number {
    if (this.#count > BUFFER_NUMBERS - STEP_NUMBERS) this.#flush();
    return this.#count;
  }

  /** Hands over all but the last run, which may go on. */
  #flush(): void {
    const runs = this.#runs;
    const last = this.#count - 2;
    this.#callback(runs, last);
    runs.copyWithin(0, last, this.#count);
    this.#count = 2;
  }
}

/**
 * Loads something of each cache line that has bits set. They are then fetched several at a time, where the scan, which has to look at
 * one before it knows the next, would wait for each.
 */
function fetchLines(window: Int32Array): number {
  let loaded = 0;
  for (let line = 0; line < LINES; line++) {
    const first = LINES + line * 32;
    if (window[line] !== 0) loaded ^= window[first]! ^ window[first + 16]!;
  }
  return loaded;
}

/** Of a word that is not 0. */
function trailingZeros(word: number): number {
  return 31 - Math.clz32(word & -word);
}
