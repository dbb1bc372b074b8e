/**
 * Sorted records in chunks, all in one array: where a RangeIndex keeps its ranges, and how it finds them.
 *
 * A chunk has room for 16 groups of 8 records, and before them a head: how many records there are, and the starts of groups 1 to
 * 15. The directory has, in order, each chunk's first start and its place; it is one sorted array, so opening or closing a chunk
 * moves 12 bytes for every chunk behind. Whatever is not there starts at Infinity: unused records, groups and chunks alike.
 */

/** Where the parts of a record are, from its place on, where its start is. The first address behind the range, which is never 0: */
export const RECORD_END = 1;
/** The owner's. Where ranges may start at one address, these are sorted by it. */
export const RECORD_VALUE = 2;
export const RECORD_EXTRA = 3;

/** Records in a group; groups in a chunk. */
export const GROUP = 8;
const GROUPS = 16;
/** Numbers before a chunk's records. */
export const HEAD = GROUPS;
/** The last record stays unused, so that every other is followed by one. */
export const MAX_COUNT = GROUP * GROUPS - 1;
/** Chunks an array never has less room for. */
const FEWEST = 4;

// As V8 compiles it, what is exported is looked up at each use; what is not is a part of the code.
const SIZE_OF_GROUP = GROUP;
const SIZE_OF_HEAD = HEAD;

export class Chunks {
  /** Numbers in a record; its start comes first. */
  readonly stride: number;
  /** All chunks. Another array after `open` or `close`. */
  data: Float64Array;
  /** By position: the first start. As long as a power of four. */
  firsts = new Float64Array(1).fill(Infinity);
  /** By position: where the chunk begins in `data`. */
  bases = new Int32Array(1);
  /** Number of chunks. */
  count = 0;
  /** Position of the chunk in which `locate` found something last. */
  position = 0;
  readonly #length: number;
  /** What `locate` looks for. As an argument it would be boxed, on the heap, for each call. */
  readonly #wanted = new Float64Array(1);
  /** How many chunks of `data` were ever in use, and the places of those that are not now. */
  #touched = 0;
  #free: number[] = [];

  constructor(stride: number) {
    this.stride = stride;
    this.#length = HEAD + GROUP * GROUPS * stride;
    this.data = new Float64Array(this.#length);
  }

  /** Number of records in a chunk. */
  size(position: number): number {
    return this.data[this.bases[position]!]!;
  }

  /** The place of a record. */
  at(position: number, index: number): number {
    return this.bases[position]! + HEAD + index * this.stride;
  }

  /** Which record of its chunk one is. */
  indexOf(position: number, at: number): number {
    return (at - this.bases[position]! - HEAD) / this.stride;
  }

  /**
   * The last record that starts at the address or below, or -1; and its chunk's position, that of the first if there is none.
   *
   * Four or eight comparisons at a time, and their sum is the way to go: no branch that half the time is mispredicted, and the same
   * steps whatever there is. Sums are cut to 32 bits so that V8 need not look for overflows.
   */
  locate(address: number): number {
    this.#wanted[0] = address;
    return this.#locate();
  }

  #locate(): number {
    const address = this.#wanted[0]!;
    const { data, firsts, bases } = this;
    const stride = this.stride | 0;
    let position = 0;
    for (let shift = 29 - Math.clz32(firsts.length); shift >= 0; shift -= 2) {
      const step = 1 << shift;
      const quarter =
        Number(firsts[(position + step) | 0]! <= address) +
        Number(firsts[(position + 2 * step) | 0]! <= address) +
        Number(firsts[(position + 3 * step) | 0]! <= address);
      position = (position + (quarter << shift)) | 0;
    }
    this.position = position;

    const head = bases[position]!;
    const four =
      4 *
      (Number(data[(head + 4) | 0]! <= address) +
        Number(data[(head + 8) | 0]! <= address) +
        Number(data[(head + 12) | 0]! <= address));
    const group =
      four +
      Number(data[(head + four + 1) | 0]! <= address) +
      Number(data[(head + four + 2) | 0]! <= address) +
      Number(data[(head + four + 3) | 0]! <= address);

    const r0 = (head + SIZE_OF_HEAD + Math.imul(SIZE_OF_GROUP * group, stride)) | 0;
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

  /** As `locate`, but of records that start right there the last one with no more than `value`, by which these are sorted. */
  locateValue(start: number, value: number): number {
    const { data } = this;
    const isBehind = (at: number) => data[at]! > start || (data[at] === start && data[at + RECORD_VALUE]! > value);
    let position = 0;
    for (let above = this.count; above - position > 1; ) {
      const middle = (position + above) >> 1;
      if (isBehind(this.at(middle, 0))) above = middle;
      else position = middle;
    }
    this.position = position;
    let index = -1;
    for (let above = this.size(position); above - index > 1; ) {
      const middle = (index + above) >> 1;
      if (isBehind(this.at(position, middle))) above = middle;
      else index = middle;
    }
    return index < 0 ? -1 : this.at(position, index);
  }

  /** Opens an empty chunk at a position. May move all others. */
  open(position: number): void {
    const capacity = this.data.length / this.#length;
    if (this.count === capacity) this.#reallocate(2 * capacity);
    if (this.count === this.firsts.length) this.#widen();
    const base = this.#free.pop() ?? this.#touched++ * this.#length;
    this.data.fill(Infinity, base, base + this.#length);
    this.data[base] = 0;
    this.firsts.copyWithin(position + 1, position, this.count);
    this.bases.copyWithin(position + 1, position, this.count);
    this.firsts[position] = Infinity;
    this.bases[position] = base;
    this.count++;
  }

  /** Closes the chunk at a position. May move all others. */
  close(position: number): void {
    this.#free.push(this.bases[position]!);
    this.firsts.copyWithin(position, position + 1, this.count);
    this.bases.copyWithin(position, position + 1, this.count);
    this.count--;
    this.firsts[this.count] = Infinity;
    const capacity = this.data.length / this.#length;
    if (this.count < capacity / 4 && capacity > FEWEST) this.#reallocate(capacity / 2);
  }

  /**
   * Adds a record to a chunk that is not full, before record `index`.
   * @returns Its place. Only its start is set.
   */
  add(position: number, index: number, start: number): number {
    const { data, stride } = this;
    const count = this.size(position);
    const at = this.at(position, index);
    data.copyWithin(at + stride, at, this.at(position, count));
    data[at] = start;
    data[this.bases[position]!] = count + 1;
    this.mend(position, index, count + 1);
    return at;
  }

  /** Removes a record. */
  remove(position: number, index: number): void {
    const { data, stride } = this;
    const count = this.size(position) - 1;
    const at = this.at(position, index);
    const end = this.at(position, count);
    data.copyWithin(at, at + stride, end + stride);
    data[end] = Infinity;
    data[this.bases[position]!] = count;
    this.mend(position, index, count);
  }

  /** Moves the records of one chunk from `index` on to the end of another. */
  move(source: number, index: number, target: number): void {
    const { data } = this;
    const had = this.size(target);
    const count = this.size(source);
    const begin = this.at(source, index);
    const end = this.at(source, count);
    data.copyWithin(this.at(target, had), begin, end);
    data.fill(Infinity, begin, end);
    data[this.bases[source]!] = index;
    data[this.bases[target]!] = had + count - index;
    this.mend(source, index, count);
    this.mend(target, had, had + count - index);
  }

  /** Brings the chunk's head and the directory in line with records `from` to `to`. */
  mend(position: number, from: number, to: number): void {
    const { data } = this;
    const base = this.bases[position]!;
    if (from === 0) this.firsts[position] = data[base + HEAD]!;
    const length = GROUP * this.stride;
    for (let group = Math.max(Math.ceil(from / GROUP), 1); group * GROUP <= to; group++) {
      data[base + group] = data[base + HEAD + group * length]!;
    }
  }

  /** Puts the chunks, in order, into an array of another size. */
  #reallocate(capacity: number): void {
    const { data, bases } = this;
    const length = this.#length;
    this.data = new Float64Array(capacity * length);
    for (let position = 0; position < this.count; position++) {
      const base = bases[position]!;
      this.data.set(data.subarray(base, base + length), position * length);
      bases[position] = position * length;
    }
    this.#touched = this.count;
    this.#free = [];
  }

  #widen(): void {
    const { firsts, bases } = this;
    this.firsts = new Float64Array(4 * firsts.length).fill(Infinity);
    this.bases = new Int32Array(4 * bases.length);
    this.firsts.set(firsts);
    this.bases.set(bases);
  }
}
