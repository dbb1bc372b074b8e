/**
 * One queue of the soft device: takes requests in order, completes them in order after the set latency.
 *
 * A request is executed when it completes, not when it is taken, so a suspend leaves none half done: the base then equals
 * the used index, as on a well-behaved device.
 */
import { RingError } from '../../errors.js';
import { signalEventFd } from '../../eventfd.js';
import { type QueueAddresses, ringAreas } from '../../ring/addresses.js';
import { Chain } from '../../ring/chain.js';
import { SplitDevice } from '../../ring/split-device.js';
import type { BlkBackend } from './blk.js';
import type { Dma } from './dma.js';

/** Requests in one go, so that a busy queue does not starve the thread's other work. */
const BUDGET = 256;

/** Where time comes from, in nanoseconds. */
export type Clock = () => number;

export class SoftQueue {
  readonly #addresses: QueueAddresses;
  readonly #dma: Dma;
  readonly #chain: Chain;
  readonly #backend: BlkBackend;
  readonly #latencyNs: number;
  /** When each taken request is due, a circle over the ring's size; taken requests are not popped before that. */
  readonly #due: Float64Array;
  #taken: number;
  readonly #start: number;
  #ring: SplitDevice | undefined;
  /** The mappings that the ring was found through. */
  #generation = -1;

  constructor(addresses: QueueAddresses, base: number, dma: Dma, backend: BlkBackend, latencyNs: number) {
    this.#addresses = addresses;
    this.#start = base;
    this.#dma = dma;
    this.#chain = new Chain(addresses.size);
    this.#backend = backend;
    this.#latencyNs = latencyNs;
    this.#due = new Float64Array(addresses.size);
    this.#taken = base;
  }

  /** The next request the device will execute, which is also its used index. */
  get base(): number {
    return this.#ring?.availIndex ?? this.#start;
  }

  /** Whether there are requests it has taken notice of and not executed. */
  get busy(): boolean {
    return this.base !== this.#taken;
  }

  /**
   * Takes what is new and completes what is due.
   * @returns nanoseconds until there is more to do: 0 for at once, Infinity for nothing before a kick.
   * @throws RingError when a ring area is not mapped, or the driver breaks the ring's contract; what was completed before
   * that is published.
   */
  step(now: number, callFd: number): number {
    const ring = this.#openRing();
    this.#take(now, ring.peekAvail());
    const before = ring.usedIndex;
    try {
      for (let left = BUDGET; left > 0 && this.busy && this.#nextDue() <= now; left--) {
        if (!ring.pop(this.#chain)) break;
        ring.push(this.#chain.head, this.#execute());
      }
    } finally {
      if (ring.usedIndex !== before) {
        ring.publish();
        if (callFd >= 0 && ring.shouldCall()) signalEventFd(callFd);
      }
    }
    return this.busy ? Math.max(0, this.#nextDue() - now) : Number.POSITIVE_INFINITY;
  }

  /** The ring where it is mapped now: a device reaches it through the same mappings as everything else. */
  #openRing(): SplitDevice {
    if (this.#ring && this.#generation === this.#dma.generation) return this.#ring;
    const { size, device } = this.#addresses;
    // Only the used ring is written: the rest may be mapped read-only.
    const areas = ringAreas(this.#addresses, (iova, length) => this.#dma.view(iova, length, iova === device));
    this.#ring = new SplitDevice(areas, size, this.base, this.#ring?.usedIndex ?? this.#start);
    this.#generation = this.#dma.generation;
    return this.#ring;
  }

  #execute(): number {
    const written = this.#backend.execute(this.#chain);
    if (written >= 0) return written;
    throw new RingError('A request has no header or no status byte.', {
      details: { kind: 'request', head: this.#chain.head },
    });
  }

  #take(now: number, available: number): void {
    while (this.#taken !== available) {
      this.#due[this.#taken % this.#due.length] = now + this.#latencyNs;
      this.#taken = (this.#taken + 1) & 0xffff;
    }
  }

  #nextDue(): number {
    return this.#due[this.base % this.#due.length]!;
  }
}
