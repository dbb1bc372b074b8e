/**
 * Runs of set bits, read from windows into a buffer of pairs.
 *
 * Scattered pages are the hard case: there a processor cannot foresee which words have bits, nor how many, and a wrong guess costs
 * as much as five pages. So words are found through the summary, the end of a run by arithmetic instead of a search,
 * words whose pages stand alone (most of them, then) have a loop of their own, and nothing is called per run.
 */
import { trailingZeros } from './bits.js';
import { WINDOW_LINES } from './windows.js';

/** Takes `count` numbers of `runs`: pairs of offset and length in bytes. The buffer is used again. */
export type RunsCallback = (runs: Float64Array, count: number) => void;

const LINE_WORDS = 32;
/** The most numbers one line adds: every second page of its 1024 a run. */
const LINE_NUMBERS = 1024;
/** 32 KiB, which stays in the first-level cache. */
const BUFFER_NUMBERS = 4 * LINE_NUMBERS;

export class RunScan {
  readonly #pageSize: number;
  /** Where the memory ends; its last page may be a part. */
  readonly #end: number;
  readonly #callback: RunsCallback;
  readonly #runs = new Float64Array(BUFFER_NUMBERS);
  #count = 0;

  constructor(pageSize: number, end: number, callback: RunsCallback) {
    this.#pageSize = pageSize;
    this.#end = end;
    this.#callback = callback;
  }

  /** Adds a window's runs; windows come in the order of their offsets (in bytes). */
  add(window: Int32Array, offset: number): void {
    const lineBytes = LINE_WORDS * 32 * this.#pageSize;
    for (let line = 0; line < WINDOW_LINES; line++) {
      const words = window[line]!;
      if (words === 0) continue;
      if (this.#count > BUFFER_NUMBERS - LINE_NUMBERS) this.#flush();
      const first = WINDOW_LINES + line * LINE_WORDS;
      this.#count = addLine(window, first, words, offset + line * lineBytes, this.#pageSize, this.#runs, this.#count);
    }
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
 * Adds the runs of a line.
 * @param first Its first word in the window.
 * @param words Which of its words have bits set.
 * @param offset Of its first page, in bytes.
 * @returns the new count of numbers.
 */
function addLine(
  window: Int32Array,
  first: number,
  words: number,
  offset: number,
  pageSize: number,
  runs: Float64Array,
  count: number,
): number {
  let rest = words;
  let to = count;
  while (rest !== 0) {
    const word = trailingZeros(rest);
    rest &= rest - 1;
    let bits = window[first + word]!;
    // A page whose neighbour is in the word, or may be in the word before.
    if ((bits & ((bits << 1) | 1)) !== 0) {
      to = addRuns(bits, offset + word * 32 * pageSize, pageSize, runs, to);
      continue;
    }
    while (bits !== 0) {
      runs[to] = offset + (word * 32 + trailingZeros(bits)) * pageSize;
      runs[to + 1] = pageSize;
      to += 2;
      bits &= bits - 1;
    }
  }
  return to;
}

/** Adds the runs of a word that is not 0, the first perhaps to the last one before. */
function addRuns(word: number, offset: number, pageSize: number, runs: Float64Array, count: number): number {
  let to = count;
  let bits = word;
  let end = to === 0 ? -1 : runs[to - 2]! + runs[to - 1]!;
  while (bits !== 0) {
    const start = offset + trailingZeros(bits) * pageSize;
    // Adding the lowest bit carries through the lowest run: what is then the lowest bit is the first behind it.
    const carried = (bits + (bits & -bits)) | 0;
    const behind = carried === 0 ? offset + 32 * pageSize : offset + trailingZeros(carried) * pageSize;
    if (start !== end) {
      runs[to] = start;
      to += 2;
    }
    runs[to - 1] = behind - runs[to - 2]!;
    end = behind;
    bits &= carried;
  }
  return to;
}
