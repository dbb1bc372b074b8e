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
  readonly #ring: SplitDevice;
  readonly #chain: Chain;
  readonly #backend: BlkBackend;
  readonly #latencyNs: number;
  /** When each taken request is due, a circle over the ring's size; taken requests are not popped before that. */
  readonly #due: Float64Array;
  #taken: number;

  /** @throws RingError when a ring area is not mapped. */
  constructor(addresses: QueueAddresses, base: number, dma: Dma, backend: BlkBackend, latencyNs: number) {
    const areas = {
      ...ringAreas(addresses, (iova, length) => dma.view(iova, length, false)),
      device: ringAreas(addresses, (iova, length) => dma.view(iova, length, true)).device,
    };
    this.#ring = new SplitDevice(areas, addresses.size, base);
    this.#chain = new Chain(addresses.size);
    this.#backend = backend;
    this.#latencyNs = latencyNs;
    this.#due = new Float64Array(addresses.size);
    this.#taken = base;
  }

  /** The next request the device will execute, which is also its used index. */
  get base(): number {
    return this.#ring.availIndex;
  }

  /**
   * Takes what is new and completes what is due.
   * @returns nanoseconds until there is more to do: 0 for at once, Infinity for nothing before a kick.
   * @throws RingError when the driver breaks the ring's contract.
   */
  step(now: number, callFd: number): number {
    this.#take(now);
    let done = 0;
    while (done < BUDGET && this.#ring.availIndex !== this.#taken && this.#nextDue() <= now) {
      if (!this.#ring.pop(this.#chain)) break;
      const written = this.#backend.execute(this.#chain);
      if (written < 0)
        throw new RingError('A request has no header or no status byte.', {
          details: { kind: 'request', head: this.#chain.head },
        });
      this.#ring.push(this.#chain.head, written);
      done++;
    }
    if (done > 0) {
      this.#ring.publish();
      if (callFd >= 0 && this.#ring.shouldCall()) signalEventFd(callFd);
    }
    if (this.#ring.availIndex === this.#taken) return Number.POSITIVE_INFINITY;
    return Math.max(0, this.#nextDue() - now);
  }

  #take(now: number): void {
    const available = this.#ring.peekAvail();
    while (this.#taken !== available) {
      this.#due[this.#taken % this.#due.length] = now + this.#latencyNs;
      this.#taken = (this.#taken + 1) & 0xffff;
    }
  }

  #nextDue(): number {
    return this.#due[this.#ring.availIndex % this.#due.length]!;
  }
}
