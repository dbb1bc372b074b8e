/**
 * The device side of a split virtqueue: takes chains and returns them (virtio 1.3 §2.7.7, §2.7.8).
 * The ring's drawing is in split-ring.ts, the ordering rules are in docs/memory-model.md.
 *
 *     pop, pop, … until false  push, push, …  publish  shouldCall      setNotify(true)  isEmpty  sleep
 *
 * Everything the driver wrote is read once and validated as it is read, because the driver may change it at any time.
 */
import { type RingError, VdpaError } from '../errors.js';
import {
  VIRTQ_AVAIL_F_NO_INTERRUPT,
  VIRTQ_DESC_F_INDIRECT,
  VIRTQ_DESC_F_NEXT,
  VIRTQ_DESC_F_WRITE,
  VIRTQ_USED_F_NO_NOTIFY,
} from '../uapi/virtio-ring.js';
import type { RingAreas } from './areas.js';
import type { Chain } from './chain.js';
import { type DriverFault, driverFault } from './faults.js';
import { InFlight } from './in-flight.js';
import { DESC_WORDS, FLAGS, IDX, RING, SplitRing, USED_WORDS, validateBase } from './split-ring.js';

const WORD = 0x1_0000_0000;
/** High words from here on make an address above 2^53 - 1. */
const HIGH_LIMIT = 0x20_0000;
/** virtio 1.3 §2.7.5.1: a chain has at most 2^32 bytes in total. */
const MAX_CHAIN_BYTES = WORD;

export class SplitDevice {
  readonly size: number;
  readonly #ring: SplitRing;
  readonly #inFlight: InFlight;

  #availIndex: number;
  /** avail.idx as last loaded: entries up to it may be read. */
  #availSeen: number;
  #usedIndex: number;

  /**
   * Writes nothing: the areas are the driver's to initialise.
   * @param size Entries: a power of two, 1 to 32768.
   * @param base Next avail index to take, 0 to 65535.
   * @param used Next used index to write; below `base` by the number of heads in flight that `chainAt` will replay.
   * @throws VdpaError ERR_VDPA_INVALID_ARGUMENT
   */
  constructor(areas: RingAreas, size: number, base: number, used = base) {
    this.#availIndex = this.#availSeen = validateBase(base);
    this.#usedIndex = validateBase(used);
    this.#ring = new SplitRing(areas, size);
    this.#inFlight = new InFlight(size);
    this.size = size;
  }

  /** Index of the next avail entry to take, free-running in 16 bits; after a fault, of the faulty one. */
  get availIndex(): number {
    return this.#availIndex;
  }

  /** Index of the next used element to write, free-running in 16 bits; equals used.idx after `publish`. */
  get usedIndex(): number {
    return this.#usedIndex;
  }

  /** Chains taken and not yet returned with `push`. */
  get inFlight(): number {
    return this.#inFlight.count;
  }

  /**
   * Takes the next available chain into `chain`, whose capacity is at least the queue's size.
   * @returns false when there is none.
   * @throws RingError when the driver broke the contract; the entry is not consumed and `availIndex` stays on it.
   */
  pop(chain: Chain): boolean {
    const index = this.#availIndex;
    if (index === this.#availSeen && !this.#refresh()) return false;
    this.#take(this.#ring.avail[RING + (index & this.#ring.mask)]!, chain);
    this.#availIndex = (index + 1) & 0xffff;
    return true;
  }

  /**
   * Reads the chain of a head that was in flight when another device stopped, and takes it over;
   * `availIndex` does not move.
   * Call it for the heads in the order they were made available.
   * @throws RingError as `pop`
   */
  chainAt(head: number, chain: Chain): void {
    this.#take(head, chain);
  }

  /**
   * Returns a chain with the number of bytes written into it; the driver does not see it before `publish`.
   * @throws VdpaError ERR_VDPA_INVALID_ARGUMENT when the head is not in flight: it would corrupt the driver's books.
   */
  push(head: number, length: number): void {
    if (!(this.#inFlight.serial(head) > 0)) {
      throw new VdpaError('ERR_VDPA_INVALID_ARGUMENT', `Head ${head} is not in flight, so it cannot be returned.`);
    }
    const { usedRing, mask } = this.#ring;
    const at = (this.#usedIndex & mask) * USED_WORDS;
    usedRing[at] = head;
    usedRing[at + 1] = length;
    this.#inFlight.delete(head);
    this.#usedIndex = (this.#usedIndex + 1) & 0xffff;
  }

  /** Shows the driver everything returned so far: once per batch. */
  publish(): void {
    // Release: buffers and used elements before used.idx; pairs with the load of used.idx in SplitDriver.#refresh.
    // Being sequentially consistent it is also the barrier before the load of avail.flags in shouldCall.
    Atomics.store(this.#ring.used, IDX, this.#usedIndex);
  }

  /** Whether the driver wants a call for what was published. Ask after `publish`. */
  shouldCall(): boolean {
    // Pairs with SplitDriver.setInterrupts, which stores avail.flags and then loads used.idx: one of the two
    // sees the other.
    return (Atomics.load(this.#ring.avail, FLAGS) & VIRTQ_AVAIL_F_NO_INTERRUPT) === 0;
  }

  /**
   * Asks the driver to kick, or not to (a hint). After asking for kicks look once more (`isEmpty`) before sleeping:
   * what the driver made available before it saw the request comes without a kick.
   */
  setNotify(enabled: boolean): void {
    // Full barrier before the load of avail.idx in isEmpty; pairs with SplitDriver.publish, which stores avail.idx and
    // then loads used.flags in shouldKick: one of the two sees the other.
    Atomics.store(this.#ring.used, FLAGS, enabled ? 0 : VIRTQ_USED_F_NO_NOTIFY);
  }

  /** Whether the driver has made nothing available that `pop` has not taken: the last look before sleeping. */
  isEmpty(): boolean {
    return Atomics.load(this.#ring.avail, IDX) === this.#availIndex;
  }

  /** avail.idx as it stands, for a device that takes notice of requests before it executes them. Not validated. */
  peekAvail(): number {
    return Atomics.load(this.#ring.avail, IDX);
  }

  /** Writes the heads in flight to `out` in the order they were taken, and returns their number. */
  inFlightHeads(out: Uint16Array): number {
    return this.#inFlight.heads(out);
  }

  /** Loads avail.idx once for the batch that follows; false when nothing is new. */
  #refresh(): boolean {
    // Acquire: avail entries and descriptors are read after avail.idx; pairs with SplitDriver.publish.
    const idx = Atomics.load(this.#ring.avail, IDX);
    const fresh = (idx - this.#availIndex) & 0xffff;
    if (fresh > this.size)
      throw driverFault('avail-jump', { index: this.#availIndex, avail_idx: idx, size: this.size });
    this.#availSeen = idx;
    return fresh !== 0;
  }

  #take(head: number, chain: Chain): void {
    if (!(head >= 0 && head < this.size)) throw this.#fault('head-range', head, head);
    if (this.#inFlight.serial(head) !== 0) throw this.#fault('in-flight', head, head);
    this.#walk(head, chain);
    this.#inFlight.add(head);
  }

  /** One walk, bounded by the size of the table. */
  #walk(head: number, chain: Chain): void {
    const { desc, size } = this.#ring;
    chain.reset();
    chain.head = head;
    let index = head;
    for (let left = size; left > 0; left--) {
      const at = index * DESC_WORDS;
      const high = desc[at + 1]!;
      const flags = desc[at + 3]!;
      const writable = (flags & VIRTQ_DESC_F_WRITE) !== 0;
      if ((flags & VIRTQ_DESC_F_INDIRECT) !== 0) throw this.#fault('indirect', head, index);
      if (high >= HIGH_LIMIT) throw this.#fault('address', head, index);
      if (!writable && chain.count !== chain.readable) throw this.#fault('order', head, index);
      chain.push(high * WORD + desc[at]!, desc[at + 2]!, writable);
      if ((flags & VIRTQ_DESC_F_NEXT) === 0) {
        if (chain.readableBytes + chain.writableBytes > MAX_CHAIN_BYTES) throw this.#fault('bytes', head, index);
        return;
      }
      index = flags >>> 16;
      if (index >= size) throw this.#fault('next-range', head, index);
    }
    throw this.#fault('loop', head, index);
  }

  #fault(kind: DriverFault, head: number, descriptor: number): RingError {
    return driverFault(kind, { index: this.#availIndex, head, descriptor });
  }
}
