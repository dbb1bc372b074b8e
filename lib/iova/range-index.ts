/**
 * Address ranges sorted by their start: the structure under every table of this folder.
 *
 * Theory of operation. A range is a record of a few numbers: start, end, and what the owner keeps with it. Records are sorted in
 * chunks of up to 127, all in one array, so that a change moves the records of one chunk and nothing else. A search reads the
 * directory of the chunks' first starts, then the chunk's head, with the start of every eighth record, then eight records side by
 * side: each step in few cache lines, because every other place in memory may be a miss.
 *
 * Bounds. A search takes O(log n). A change takes that, and moves at most 127 records. A chunk is opened or closed at most once in
 * some 30 changes (but for the last one, which has nothing behind it); that moves the directory and the weights, at most n/32 of
 * each, so n/1000 per change: at 10^6 ranges no more than the rest, at 10^8 it would be nearly all. The array doubles when it is
 * full, and halves when three quarters are empty: O(1) per change over time, but the one change that does it copies everything
 * (tens of milliseconds at 10^6).
 */
import { Chunks, HEAD, MAX_COUNT, RECORD_END, RECORD_EXTRA, RECORD_VALUE } from './chunks.js';
import { type Weight, Weights } from './weights.js';

// See chunks.ts.
const END = RECORD_END;
const VALUE = RECORD_VALUE;
const EXTRA = RECORD_EXTRA;

/** A chunk with fewer is merged with a neighbour, if both together are no more than this. */
const MIN_COUNT = 32;
const MERGED_COUNT = 96;

/**
 * A record is named by its place in `records`, which holds until the next change; -1 is no record. `seek` and the searches by
 * weight leave a cursor in the record's chunk: `startAfter`, `next…`, `change` and `remove` take what one of them returned last.
 * The end of a record may be negated to mark the range: for all but the owner it means the same.
 */
export class RangeIndex {
  readonly #chunks: Chunks;
  readonly #weights: readonly Weights[];
  #records: Float64Array;
  #size = 0;
  /** Where `find` found something last; at any rate where a record could be. */
  #last = HEAD;
  /** Where `below` found something last, and up to which address it is the answer: a number that is not boxed. */
  #lastBelow = 0;
  readonly #validBelow = new Float64Array(1).fill(-Infinity);

  /**
   * @param stride Numbers in a record: 2 to 4.
   * @param weights By which ranges are looked for, too.
   */
  constructor(stride: number, ...weights: readonly Weight[]) {
    this.#chunks = new Chunks(stride);
    this.#weights = weights.map(weight => new Weights(weight, this.#chunks));
    this.#records = this.#chunks.data;
    this.#open(0);
  }

  /** Number of ranges. */
  get size(): number {
    return this.#size;
  }

  /** All records; another array after a change. */
  get records(): Float64Array {
    return this.#records;
  }

  /** The range that holds the address, where ranges do not overlap. Looks first where it found one last. */
  find(address: number): number {
    const records = this.#records;
    const last = this.#last;
    // & and not &&: whether a random address is above the last one is a branch that nobody predicts.
    if (Number(address >= records[last]!) & Number(address < Math.abs(records[last + END]!))) return last;
    const at = this.#chunks.locate(address);
    if (at < 0 || address >= Math.abs(records[at + END]!)) return -1;
    this.#last = at;
    return at;
  }

  /** The last range that starts at the address or below. Looks first where it found one last. */
  below(address: number): number {
    const records = this.#records;
    const last = this.#lastBelow;
    if (Number(address >= records[last]!) & Number(address < this.#validBelow[0]!)) return last;
    const at = this.#chunks.locate(address);
    if (at < 0) return -1;
    this.#lastBelow = at;
    this.#validBelow[0] = this.startAfter(at);
    return at;
  }

  /** The last range that starts at the address or below; of those that start right there, the last with no more than `value`. */
  seek(start: number, value = Infinity): number {
    const at = this.#chunks.locate(start);
    if (at < 0 || value === Infinity) return at;
    return this.#records[at] === start && this.#records[at + VALUE]! > value
      ? this.#chunks.locateValue(start, value)
      : at;
  }

  /** Where the range after one begins (after -1, the first); Infinity when there is none. */
  startAfter(at: number): number {
    const { firsts, count, stride } = this.#chunks;
    if (at < 0) return firsts[0]!;
    const start = this.#records[at + stride]!;
    return start === Infinity && this.#chunks.position + 1 < count ? firsts[this.#chunks.position + 1]! : start;
  }

  /** The first address that [start, end) shares with a range; Infinity when there is none. Where ranges do not overlap. */
  firstShared(start: number, end: number): number {
    const below = this.seek(start);
    if (below >= 0 && Math.abs(this.#records[below + END]!) > start) return start;
    const next = this.startAfter(below);
    return next < end ? next : Infinity;
  }

  /** Visits all ranges, in order. */
  each(visit: (records: Float64Array, at: number) => void): void {
    const chunks = this.#chunks;
    for (let position = 0; position < chunks.count; position++) {
      for (let index = 0; index < chunks.size(position); index++) visit(chunks.data, chunks.at(position, index));
    }
  }

  /** Adds a range, with value and extra if the stride has room for them. */
  insert(start: number, end: number, value = 0, extra = 0): void {
    const chunks = this.#chunks;
    const before = this.seek(start, value);
    let index = before < 0 ? 0 : chunks.indexOf(this.#chunks.position, before) + 1;
    if (chunks.size(this.#chunks.position) === MAX_COUNT) index = this.#split(index);
    const at = chunks.add(this.#chunks.position, index, start);
    const records = this.#records;
    records[at + END] = end;
    if (chunks.stride > VALUE) records[at + VALUE] = value;
    if (chunks.stride > EXTRA) records[at + EXTRA] = extra;
    this.#size++;
    this.#validBelow[0] = -Infinity;
    for (const weights of this.#weights) weights.raise(this.#chunks.position, at);
  }

  /** Sets start and end of a range, which must keep its place in the order. */
  change(at: number, start: number, end: number): void {
    const position = this.#chunks.position;
    const greatest = this.#isGreatest(at);
    this.#records[at] = start;
    this.#records[at + END] = end;
    this.#validBelow[0] = -Infinity;
    const index = this.#chunks.indexOf(position, at);
    this.#chunks.mend(position, index, index);
    for (const weights of this.#weights) {
      if (greatest) weights.update(position);
      else weights.raise(position, at);
    }
  }

  remove(at: number): void {
    const position = this.#chunks.position;
    const greatest = this.#isGreatest(at);
    this.#chunks.remove(position, this.#chunks.indexOf(position, at));
    this.#size--;
    this.#validBelow[0] = -Infinity;
    if (greatest) for (const weights of this.#weights) weights.update(position);
    if (this.#chunks.size(position) < MIN_COUNT) this.#shrink(position);
  }

  /** The greatest first weight of all; 0 when there are no ranges. */
  get greatest(): number {
    return this.#weights[0]!.greatest;
  }

  /** The first range of at least this first weight. */
  firstAtLeast(weight: number): number {
    return this.#found(0, this.#weights[0]!.firstFrom(0, weight));
  }

  /** The next one after a range. */
  nextAtLeast(at: number, weight: number): number {
    return this.#found(0, this.#weights[0]!.nextAfter(this.#chunks.position, at, weight));
  }

  /** Of a range and all before it, the first of those with the greatest weight, by weight number `which`. */
  greatestUpTo(at: number, which: number): number {
    return this.#found(which, this.#weights[which]!.greatestUpTo(this.#chunks.position, at));
  }

  #found(which: number, at: number): number {
    if (at >= 0) this.#chunks.position = this.#weights[which]!.found;
    return at;
  }

  /** Halves a full chunk, and moves the cursor to where record `index` is to go. */
  #split(index: number): number {
    const position = this.#chunks.position;
    // What is added in order fills its chunks.
    const keep = index === MAX_COUNT && position + 1 === this.#chunks.count ? MAX_COUNT : (MAX_COUNT + 1) / 2;
    this.#open(position + 1);
    this.#chunks.move(position, keep, position + 1);
    for (const weights of this.#weights) {
      weights.update(position);
      weights.update(position + 1);
    }
    if (index <= keep && keep < MAX_COUNT) return index;
    this.#chunks.position++;
    return index - keep;
  }

  #shrink(position: number): void {
    const chunks = this.#chunks;
    const size = (at: number) => (at >= 0 && at < chunks.count ? chunks.size(at) : Infinity);
    if (size(position) + size(position + 1) <= MERGED_COUNT) this.#merge(position);
    else if (size(position - 1) + size(position) <= MERGED_COUNT) this.#merge(position - 1);
    else if (size(position) === 0 && chunks.count > 1) this.#close(position);
  }

  /** Moves the records of the next chunk to this one. */
  #merge(position: number): void {
    this.#chunks.move(position + 1, 0, position);
    for (const weights of this.#weights) weights.update(position);
    this.#close(position + 1);
  }

  #open(position: number): void {
    this.#chunks.open(position);
    for (const weights of this.#weights) weights.opened(position);
    this.#moved();
  }

  #close(position: number): void {
    for (const weights of this.#weights) weights.closing(position);
    this.#chunks.close(position);
    this.#moved();
  }

  #moved(): void {
    this.#records = this.#chunks.data;
    this.#last = this.#chunks.bases[0]! + HEAD;
  }

  #isGreatest(at: number): boolean {
    for (const weights of this.#weights) if (weights.isGreatest(this.#chunks.position, at)) return true;
    return false;
  }
}
