/**
 * Address ranges sorted by their start: the structure under every table of this folder.
 *
 * Theory of operation. A range is a record of a few numbers: start, end, and what the owner keeps with it. Records are sorted in
 * chunks of up to 127, all in one array, so that a change moves the records of one chunk and nothing else. A search reads the
 * directory of the chunks' first starts, then the chunk's head, with the start of every eighth record, then eight records side by
 * side: each step in few cache lines, because every other place in memory may be a miss. What is not there starts at Infinity, so
 * a search takes the same steps whatever the lengths are. It compares four or eight at a time and adds up the answers, without
 * branches: half of them would be mispredicted.
 *
 * Bounds. A search takes O(log n). A change takes that, and moves at most 127 records. A chunk is opened or closed at most once in
 * some 30 changes; that moves the directory and the weights, at most n/32 of each, so n/1000 per change: at 10^6 ranges no more
 * than the rest, at 10^8 it would be nearly all. The array doubles when it is full, and halves when three quarters are empty: O(1)
 * per change over time, but the one change that does it copies everything (tens of milliseconds at 10^6).
 */
import { Chunks, HEAD, MAX_COUNT, RECORD_END, RECORD_EXTRA, RECORD_VALUE } from './chunks.js';
import { type Weight, Weights } from './weights.js';

// An import is looked up at each use, as V8 compiles it; a constant of this file is a part of the code.
const END = RECORD_END;
const VALUE = RECORD_VALUE;
const EXTRA = RECORD_EXTRA;

const WANTED = 0;
const NEXT = 1;

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
  /** What is looked for, and where the range after the one of `below` starts. An argument would be boxed on the heap at each call. */
  readonly #scratch = new Float64Array(2);
  /** Where `below` found something last. */
  #lastBelow = 0;
  /** The cursor: the position of a chunk. */
  #position = 0;

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
    this.#scratch[WANTED] = address;
    const at = this.#locate();
    if (at < 0 || address >= Math.abs(records[at + END]!)) return -1;
    this.#last = at;
    return at;
  }

  /** The last range that starts at the address or below. Looks first where it found one last. */
  below(address: number): number {
    const records = this.#records;
    const last = this.#lastBelow;
    if (Number(address >= records[last]!) & Number(address < this.#scratch[NEXT]!)) return last;
    this.#scratch[WANTED] = address;
    const at = this.#locate();
    if (at < 0) return -1;
    this.#lastBelow = at;
    this.#scratch[NEXT] = this.startAfter(at);
    return at;
  }

  /** The last range that starts at the address or below; of those that start right there, the last with no more than `value`. */
  seek(start: number, value = Infinity): number {
    this.#scratch[WANTED] = start;
    const at = this.#locate();
    if (at < 0 || value === Infinity) return at;
    return this.#records[at] === start && this.#records[at + VALUE]! > value ? this.#seekValue(start, value) : at;
  }

  /** Where the range after one begins (after -1, the first); Infinity when there is none. */
  startAfter(at: number): number {
    const { firsts, count, stride } = this.#chunks;
    if (at < 0) return firsts[0]!;
    const start = this.#records[at + stride]!;
    return start === Infinity && this.#position + 1 < count ? firsts[this.#position + 1]! : start;
  }

  /** The first address that [start, end) shares with a range; Infinity when there is none. Where ranges do not overlap. */
  firstShared(start: number, end: number): number {
    const below = this.seek(start);
    if (below >= 0 && Math.abs(this.#records[below + END]!) > start) return start;
    const next = this.startAfter(below);
    return next < end ? next : Infinity;
  }

  /** Visits all ranges, in order. */
  forEach(visit: (records: Float64Array, at: number) => void): void {
    const chunks = this.#chunks;
    for (let position = 0; position < chunks.count; position++) {
      for (let index = 0; index < chunks.size(position); index++) visit(chunks.data, chunks.at(position, index));
    }
  }

  /** Adds a range, with value and extra if the stride has room for them. */
  insert(start: number, end: number, value = 0, extra = 0): void {
    const chunks = this.#chunks;
    const before = this.seek(start, value);
    let index = before < 0 ? 0 : chunks.indexOf(this.#position, before) + 1;
    if (chunks.size(this.#position) === MAX_COUNT) index = this.#split(index);
    const at = chunks.add(this.#position, index, start);
    const records = this.#records;
    records[at + END] = end;
    if (chunks.stride > VALUE) records[at + VALUE] = value;
    if (chunks.stride > EXTRA) records[at + EXTRA] = extra;
    this.#size++;
    for (const weights of this.#weights) weights.raise(this.#position, at);
  }

  /** Sets start and end of a range, which must keep its place in the order. */
  change(at: number, start: number, end: number): void {
    const position = this.#position;
    const greatest = this.#isGreatest(at);
    this.#records[at] = start;
    this.#records[at + END] = end;
    const index = this.#chunks.indexOf(position, at);
    this.#chunks.mend(position, index, index);
    for (const weights of this.#weights) {
      if (greatest) weights.update(position);
      else weights.raise(position, at);
    }
  }

  remove(at: number): void {
    const position = this.#position;
    const greatest = this.#isGreatest(at);
    this.#chunks.remove(position, this.#chunks.indexOf(position, at));
    this.#size--;
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
    return this.#found(0, this.#weights[0]!.nextAfter(this.#position, at, weight));
  }

  /** Of a range and all before it, the first of those with the greatest weight, by weight number `which`. */
  greatestUpTo(at: number, which: number): number {
    return this.#found(which, this.#weights[which]!.greatestUpTo(this.#position, at));
  }

  #found(which: number, at: number): number {
    if (at >= 0) this.#position = this.#weights[which]!.found;
    return at;
  }

  /** `seek`, for addresses alone. One function, because calls between two would cost more than either. */
  #locate(): number {
    const address = this.#scratch[WANTED]!;
    const { firsts, bases, stride } = this.#chunks;
    let position = 0;
    for (let step = firsts.length >>> 2; step > 0; step >>>= 2) {
      const quarters =
        Number(firsts[(position + step) | 0]! <= address) +
        Number(firsts[(position + 2 * step) | 0]! <= address) +
        Number(firsts[(position + 3 * step) | 0]! <= address);
      position = (position + Math.imul(step, quarters)) | 0;
    }
    this.#position = position;

    const data = this.#records;
    const head = bases[position]!;
    const four =
      (head +
        4 *
          (Number(data[(head + 4) | 0]! <= address) +
            Number(data[(head + 8) | 0]! <= address) +
            Number(data[(head + 12) | 0]! <= address))) |
      0;
    const group =
      four -
      head +
      Number(data[(four + 1) | 0]! <= address) +
      Number(data[(four + 2) | 0]! <= address) +
      Number(data[(four + 3) | 0]! <= address);

    const r0 = (head + 16 + Math.imul(8 * group, stride)) | 0;
    const r1 = (r0 + stride) | 0;
    const r2 = (r1 + stride) | 0;
    const r3 = (r2 + stride) | 0;
    const r4 = (r3 + stride) | 0;
    const r5 = (r4 + stride) | 0;
    const r6 = (r5 + stride) | 0;
    const r7 = (r6 + stride) | 0;
    const index =
      Number(data[r1]! <= address) +
      Number(data[r2]! <= address) +
      Number(data[r3]! <= address) +
      Number(data[r4]! <= address) +
      Number(data[r5]! <= address) +
      Number(data[r6]! <= address) +
      Number(data[r7]! <= address);
    const at = (r0 + Math.imul(index, stride)) | 0;
    return data[at]! <= address ? at : -1;
  }

  /** As `seek`, where several ranges start at the address: their values decide, between chunks as in a chunk. */
  #seekValue(start: number, value: number): number {
    const chunks = this.#chunks;
    const { data } = chunks;
    const isBehind = (at: number) => data[at]! > start || (data[at] === start && data[at + VALUE]! > value);
    let position = 0;
    for (let above = chunks.count; above - position > 1; ) {
      const middle = (position + above) >> 1;
      if (isBehind(chunks.at(middle, 0))) above = middle;
      else position = middle;
    }
    this.#position = position;
    let index = -1;
    for (let above = chunks.size(position); above - index > 1; ) {
      const middle = (index + above) >> 1;
      if (isBehind(chunks.at(position, middle))) above = middle;
      else index = middle;
    }
    return index < 0 ? -1 : chunks.at(position, index);
  }

  /** Halves a full chunk, and moves the cursor to where record `index` is to go. */
  #split(index: number): number {
    const position = this.#position;
    // What is added in order fills its chunks.
    const keep = index === MAX_COUNT && position + 1 === this.#chunks.count ? MAX_COUNT : (MAX_COUNT + 1) / 2;
    this.#open(position + 1);
    this.#chunks.move(position, keep, position + 1);
    for (const weights of this.#weights) {
      weights.update(position);
      weights.update(position + 1);
    }
    if (index <= keep && keep < MAX_COUNT) return index;
    this.#position++;
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
    this.#scratch[NEXT] = -Infinity;
  }

  #isGreatest(at: number): boolean {
    for (const weights of this.#weights) if (weights.isGreatest(this.#position, at)) return true;
    return false;
  }
}
