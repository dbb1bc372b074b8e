/** The greatest weight of every chunk of a RangeIndex, to find ranges by what they weigh: room for something, or how far they reach. */
import { type Chunks, HEAD } from './chunks.js';
import { MaxTree } from './max-tree.js';

/** What a range may weigh: its size, its end, or its end if that is not marked (0 if it is). */
export type Weight = 'size' | 'end' | 'unmarked';

/** A record's end, which may be negated as a mark, stands behind its start. */
export function weigh(weight: Weight, data: Float64Array, at: number): number {
  const end = data[at + 1]!;
  if (weight === 'size') return end - data[at]!;
  return weight === 'end' ? Math.abs(end) : Math.max(end, 0);
}

export class Weights {
  readonly #weight: Weight;
  readonly #chunks: Chunks;
  readonly #tree = new MaxTree();
  /** The chunk in which a search found something: its position. */
  found = 0;

  constructor(weight: Weight, chunks: Chunks) {
    this.#weight = weight;
    this.#chunks = chunks;
  }

  /** The greatest weight of all; 0 when there is no range. */
  get greatest(): number {
    return this.#tree.max;
  }

  /** To be told when a chunk was opened, or is about to be closed. */
  opened(position: number): void {
    this.#tree.insert(position, 0, this.#chunks.count - 1);
  }

  closing(position: number): void {
    this.#tree.remove(position, this.#chunks.count);
  }

  /** Whether no other record of the chunk weighs more. */
  isGreatest(position: number, at: number): boolean {
    return weigh(this.#weight, this.#chunks.data, at) === this.#tree.get(position);
  }

  /** A record was added, or became heavier. */
  raise(position: number, at: number): void {
    const weight = weigh(this.#weight, this.#chunks.data, at);
    if (weight > this.#tree.get(position)) this.#tree.set(position, weight);
  }

  /** Weighs a chunk anew. */
  update(position: number): void {
    const { data, stride } = this.#chunks;
    const end = this.#chunks.at(position, this.#chunks.size(position));
    let greatest = 0;
    for (let at = this.#chunks.at(position, 0); at < end; at += stride) {
      const weight = weigh(this.#weight, data, at);
      if (weight > greatest) greatest = weight;
    }
    this.#tree.set(position, greatest);
  }

  /** The first range from a chunk on that weighs as much or more, or -1. */
  firstFrom(position: number, least: number): number {
    this.found = this.#tree.firstAtLeast(position, least);
    return this.found < 0 ? -1 : this.#scan(this.#chunks.at(this.found, 0), least);
  }

  /** The same, from behind a range on. */
  nextAfter(position: number, at: number, least: number): number {
    this.found = position;
    const next = this.#scan(at + this.#chunks.stride, least);
    return next < 0 ? this.firstFrom(position + 1, least) : next;
  }

  /** Of a range and all before it, the first of those that weigh most, or -1 when none weighs anything. */
  greatestUpTo(position: number, last: number): number {
    const { data, bases, stride } = this.#chunks;
    const before = this.#tree.greatestBelow(position);
    let greatest = before < 0 ? 0 : this.#tree.get(before);
    this.found = position;
    let at = -1;
    for (let next = bases[position]! + HEAD; next <= last; next += stride) {
      const weight = weigh(this.#weight, data, next);
      if (weight > greatest) {
        greatest = weight;
        at = next;
      }
    }
    if (at >= 0 || before < 0) return at;
    this.found = before;
    return this.#scan(bases[before]! + HEAD, greatest);
  }

  /** The first range from `at` to the end of its chunk that weighs as much or more. */
  #scan(at: number, least: number): number {
    const { data, stride } = this.#chunks;
    for (let next = at; data[next] !== Infinity; next += stride) {
      if (weigh(this.#weight, data, next) >= least) return next;
    }
    return -1;
  }
}
