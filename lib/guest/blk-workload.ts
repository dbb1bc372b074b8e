/**
 * A verified block workload: keeps a number of requests in flight, checks every byte it reads, and accounts for every
 * request. Steps without threads or file descriptors; `kick` is the owner's.
 */
import { RingError } from '../errors.js';
import { VIRTIO_BLK_S_OK, VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT } from '../uapi/virtio-blk.js';
import type { BlkDriver } from './blk-driver.js';
import { DiskModel } from './disk-model.js';
import { Random } from './random.js';

export interface WorkloadOptions {
  /** First block (of 4 KiB) and number of blocks it works on. */
  readonly firstBlock: number;
  readonly blocks: number;
  /** Requests kept in flight. */
  readonly depth: number;
  /** Share of writes, 0 to 1. */
  readonly writes: number;
  readonly seed: number;
}

export interface WorkloadCounters {
  submitted: number;
  completed: number;
  reads: number;
  writes: number;
  /** Blocks that did not hold what they must. */
  corrupt: number;
  /** Requests the device answered with another status than OK. */
  errors: number;
  /** Completions for requests that were not in flight. */
  duplicated: number;
}

export function newWorkloadCounters(): WorkloadCounters {
  return { submitted: 0, completed: 0, reads: 0, writes: 0, corrupt: 0, errors: 0, duplicated: 0 };
}

/** How often another block is drawn when the first has a request in flight. */
const TRIES = 16;

export class BlkWorkload {
  readonly counters = newWorkloadCounters();
  readonly #driver: BlkDriver;
  readonly #options: WorkloadOptions;
  readonly #model: DiskModel;
  readonly #random: Random;
  readonly #free: number[];
  /** By slot: the block of its request, and the number of its write; 0 for a read. */
  readonly #block: Float64Array;
  readonly #write: Uint32Array;
  #fault: RingError | undefined;

  constructor(driver: BlkDriver, options: WorkloadOptions) {
    this.#driver = driver;
    this.#options = options;
    this.#model = new DiskModel(options.blocks);
    this.#random = new Random(options.seed);
    this.#free = Array.from({ length: driver.slots }, (_, slot) => slot);
    this.#block = new Float64Array(driver.slots);
    this.#write = new Uint32Array(driver.slots);
  }

  /** How the device broke the ring's contract, if it did; nothing more is polled after that. */
  get fault(): RingError | undefined {
    return this.#fault;
  }

  get inFlight(): number {
    return this.#driver.inFlight;
  }

  /** Whether as many requests are in flight as there should be. */
  get isFull(): boolean {
    return this.#driver.inFlight >= this.#options.depth;
  }

  /** Takes back and checks what the device has completed. @returns how many requests. */
  collect(): number {
    let done = 0;
    try {
      for (let slot = this.#poll(); slot >= 0; slot = this.#poll()) {
        this.#finish(slot);
        done++;
      }
    } catch (error) {
      this.#note(error);
    }
    this.counters.completed += done;
    return done;
  }

  /**
   * Submits requests until `depth` are in flight, and makes them available.
   * @returns whether the device wants a kick for them.
   */
  fill(depth = this.#options.depth): boolean {
    let added = 0;
    while (this.#driver.inFlight < depth && this.#submit()) added++;
    this.counters.submitted += added;
    return added > 0 && this.#driver.publish();
  }

  #poll(): number {
    return this.#fault ? -1 : this.#driver.poll();
  }

  #submit(): boolean {
    const slot = this.#free.at(-1);
    const block = this.#pickBlock();
    if (slot === undefined || block < 0) return false;
    const write = this.#random.next() < this.#options.writes;
    this.#driver.prepare(slot, write);
    this.#write[slot] = write ? this.#model.fill(block, this.#driver.data(slot)) : 0;
    if (!this.#driver.submit(slot, write ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN, this.#options.firstBlock + block))
      return false;
    this.#free.pop();
    this.#block[slot] = block;
    this.#model.begin(block);
    return true;
  }

  /** A block without a request in flight, or -1. */
  #pickBlock(): number {
    for (let i = 0; i < TRIES; i++) {
      const block = this.#random.below(this.#options.blocks);
      if (!this.#model.isBusy(block)) return block;
    }
    return -1;
  }

  #finish(slot: number): void {
    const block = this.#block[slot]!;
    const write = this.#write[slot]!;
    this.#model.end(block);
    this.#free.push(slot);
    if (write > 0) this.counters.writes++;
    else this.counters.reads++;
    if (this.#driver.status(slot) !== VIRTIO_BLK_S_OK) {
      this.counters.errors++;
      if (write > 0) this.#model.forget(block);
    } else if (write > 0) this.#model.written(block, write);
    else if (!this.#model.verify(block, this.#driver.data(slot))) this.counters.corrupt++;
  }

  #note(error: unknown): void {
    if (!(error instanceof RingError)) throw error;
    if (error.details['kind'] === 'not-in-flight') this.counters.duplicated++;
    this.#fault = error;
  }
}
