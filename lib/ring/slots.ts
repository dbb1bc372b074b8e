/**
 * The driver's own books on the descriptor table: which descriptors are free, and which belong to which chain.
 *
 * All of it is private memory. The device can write the shared table, so a link read back from there could join two
 * chains.
 *
 *     freeHead ─▶ 5 ─▶ 1 ─▶ 7 ─▶ …        free descriptors, linked through `next`
 *     chain 2:   2 ─▶ 0 ─▶ 3 (tail)       cut off the front of that list, so the links stay as they were
 */
import { RingError } from '../errors.js';

export class Slots {
  readonly size: number;
  /** The descriptor after each, in the free list or in its chain; meaningless at the end of either. */
  readonly next: Uint16Array;
  /** By head: the last descriptor of its chain, and how many it has. */
  readonly #tails: Uint16Array;
  readonly #counts: Uint16Array;
  freeHead = 0;
  freeCount: number;

  constructor(size: number) {
    this.size = size;
    this.next = Uint16Array.from({ length: size }, (_, i) => i + 1);
    this.#tails = new Uint16Array(size);
    this.#counts = new Uint16Array(size);
    this.freeCount = size;
  }

  /** Cuts the first `count` free descriptors off; `tail` is the last of them. */
  cut(tail: number, count: number): void {
    const head = this.freeHead;
    this.#tails[head] = tail;
    this.#counts[head] = count;
    this.freeHead = this.next[tail]!;
    this.freeCount -= count;
  }

  /** Puts a chain back at the front, where its descriptors are still in the cache. */
  release(head: number): void {
    this.next[this.#tails[head]!] = this.freeHead;
    this.freeHead = head;
    this.freeCount += this.#counts[head]!;
  }

  /**
   * Proves that the free list and the chains of these heads are the whole table and share no descriptor. O(size).
   * @throws RingError kind `invariant`
   */
  check(heads: Uint16Array): void {
    const seen = new Uint8Array(this.size);
    this.#visit(this.freeHead, this.freeCount, seen);
    let total = this.freeCount;
    for (const head of heads) {
      const last = this.#visit(head, this.#counts[head]!, seen);
      if (last !== this.#tails[head]) throw broken(`chain ${head} ends in ${last}, not in ${this.#tails[head]}`);
      total += this.#counts[head]!;
    }
    if (total !== this.size) throw broken(`${total} descriptors are accounted for, the table has ${this.size}`);
  }

  /** Follows `count` links, each to a descriptor not seen before, and returns the last. */
  #visit(from: number, count: number, seen: Uint8Array): number {
    let last = -1;
    for (let i = 0, index = from; i < count; i++, index = this.next[index]!) {
      if (index >= this.size || seen[index] !== 0) throw broken(`descriptor ${index} is in two places`);
      seen[index] = 1;
      last = index;
    }
    return last;
  }
}

/** The error for books that do not add up: never the peer's doing. */
export function broken(what: string): RingError {
  const message = `The ring's own books are wrong: ${what}. This is a defect of this library.`;
  return new RingError(message, { details: { kind: 'invariant' } });
}
