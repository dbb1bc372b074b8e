/**
 * The writable buffers of each request in flight, by guest address: what the device may write, kept privately because the
 * guest can change its descriptors at any time.
 */
import type { DirtyMarks } from '../dirty/dirty-bitmap.js';
import type { Chain } from '../ring/chain.js';
import { Slots } from '../ring/slots.js';

export class WrittenBuffers {
  /** One record per shadow descriptor is enough: every piece of a buffer is one. */
  readonly #slots: Slots;
  readonly #gpa: Float64Array;
  readonly #length: Float64Array;
  /** By shadow head: its first record, and how many it has. */
  readonly #first: Uint16Array;
  readonly #count: Uint16Array;
  /** The request being translated. */
  readonly #stagedGpa: Float64Array;
  readonly #stagedLength: Float64Array;
  #staged = 0;

  constructor(size: number) {
    this.#slots = new Slots(size);
    this.#gpa = new Float64Array(size);
    this.#length = new Float64Array(size);
    this.#first = new Uint16Array(size);
    this.#count = new Uint16Array(size);
    this.#stagedGpa = new Float64Array(size);
    this.#stagedLength = new Float64Array(size);
  }

  /** Starts a request. */
  begin(): void {
    this.#staged = 0;
  }

  /** Adds a writable buffer at a guest address; its pieces are the target's from index `from` on. */
  stage(gpa: number, target: Chain, from: number): void {
    let address = gpa;
    for (let i = from; i < target.count; i++) {
      this.#stagedGpa[this.#staged] = address;
      this.#stagedLength[this.#staged++] = target.len[i]!;
      address += target.len[i]!;
    }
  }

  /** The staged request went out with this head. */
  commit(head: number): void {
    this.#count[head] = this.#staged;
    if (this.#staged === 0) return;
    const first = this.#slots.freeHead;
    this.#first[head] = first;
    let last = first;
    for (let i = 0, record = first; i < this.#staged; i++, record = this.#slots.next[record]!) {
      last = record;
      this.#gpa[record] = this.#stagedGpa[i]!;
      this.#length[record] = this.#stagedLength[i]!;
    }
    this.#slots.cut(last, this.#staged);
  }

  /**
   * The request is done, or stays undone: marks its buffers and forgets them. All of them, whatever length the device tells:
   * vdpa_sim_blk tells 1 for a failed read and writes the status behind the data.
   */
  mark(head: number, dirty: DirtyMarks): void {
    const count = this.#count[head]!;
    if (count === 0) return;
    for (let i = 0, record = this.#first[head]!; i < count; i++, record = this.#slots.next[record]!) {
      dirty.mark(this.#gpa[record]!, this.#length[record]!);
    }
    this.#slots.release(this.#first[head]!);
    this.#count[head] = 0;
  }
}
