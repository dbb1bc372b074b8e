/**
 * The driver side of a split virtqueue: makes chains available and takes them back (virtio 1.3 §2.7.13, §2.7.14).
 * The ring's drawing is in split-ring.ts, the ordering rules are in docs/memory-model.md.
 *
 *     add, add, …  publish  shouldKick      poll, poll, … until -1  setInterrupts(true)  poll once more  sleep
 */
import { RingError, VdpaError } from '../errors.js';
import {
  VIRTQ_AVAIL_F_NO_INTERRUPT,
  VIRTQ_DESC_F_NEXT,
  VIRTQ_DESC_F_WRITE,
  VIRTQ_USED_F_NO_NOTIFY,
} from '../uapi/virtio-ring.js';
import type { RingAreas } from './areas.js';
import type { Chain } from './chain.js';
import { type DeviceFault, deviceFault } from './faults.js';
import { InFlight } from './in-flight.js';
import { broken, Slots } from './slots.js';
import { DESC_WORDS, FLAGS, IDX, RING, SplitRing, USED_WORDS, validateBase } from './split-ring.js';

const WORD = 0x1_0000_0000;
const MAX_USED_LENGTH = 0xffff_ffff;

export class SplitDriver {
  readonly size: number;
  #ring: SplitRing;

  readonly #slots: Slots;
  readonly #inFlight: InFlight;
  /** By head: bytes the device may write into its chain, at most what a used element can tell. */
  readonly #writable: Uint32Array;

  #availIndex: number;
  #publishedIndex: number;
  /** Serial of the newest head the device was told of. */
  #publishedSerial = 0;
  #usedIndex: number;
  /** used.idx as last loaded: elements up to it may be read. */
  #usedSeen: number;
  #usedLength = 0;

  /**
   * Initialises all three areas afresh; both indices start at `base`, because a device writes used.idx = base + 1 first
   * (vdpa_sim.c sets last_used_idx from the base).
   * @param size Entries: a power of two, 1 to 32768.
   * @param base First avail index, 0 to 65535, as told to the device (VHOST_SET_VRING_BASE).
   * @throws VdpaError ERR_VDPA_INVALID_ARGUMENT
   */
  constructor(areas: RingAreas, size: number, base: number) {
    this.#availIndex = this.#publishedIndex = this.#usedIndex = this.#usedSeen = validateBase(base);
    this.#ring = new SplitRing(areas, size);
    this.size = size;
    this.#slots = new Slots(size);
    this.#inFlight = new InFlight(size);
    this.#writable = new Uint32Array(size);
    this.#initialise(base);
  }

  /** Descriptors that can be added now. */
  get freeCount(): number {
    return this.#slots.freeCount;
  }

  /** Chains added and not yet returned by `poll`. */
  get inFlight(): number {
    return this.#inFlight.count;
  }

  /** Next avail index, free-running in 16 bits; equals avail.idx after `publish`. */
  get availIndex(): number {
    return this.#availIndex;
  }

  /** Index of the next used element to look at, free-running in 16 bits; after a fault, of the faulty one. */
  get usedIndex(): number {
    return this.#usedIndex;
  }

  /** Bytes the device wrote into the chain that `poll` returned last; never more than it had writable. */
  get usedLength(): number {
    return this.#usedLength;
  }

  /**
   * Adds a chain, all or nothing; the device does not see it before `publish`.
   * @returns its head, or -1 when too few descriptors are free: nothing has changed, try again once `poll` took one back.
   * @throws RingError kind `chain-size` when the chain can never fit. ERR_VDPA_INVALID_ARGUMENT when it is empty.
   */
  add(chain: Chain): number {
    const { count, readable, addr, len } = chain;
    if (count > this.#slots.freeCount) {
      if (count > this.size) throw tooLong(count, this.size);
      return -1;
    }
    if (count === 0) throw new VdpaError('ERR_VDPA_INVALID_ARGUMENT', 'A chain without buffers cannot be added.');
    const { desc, avail, mask } = this.#ring;
    const { next, freeHead: head } = this.#slots;
    let tail = head;
    let index = head;
    for (let i = 0; i < count; i++) {
      tail = index;
      index = next[tail]!;
      const at = tail * DESC_WORDS;
      const more = i + 1 < count ? VIRTQ_DESC_F_NEXT | (index << 16) : 0;
      desc[at] = addr[i]! >>> 0;
      desc[at + 1] = (addr[i]! / WORD) >>> 0;
      desc[at + 2] = len[i]!;
      desc[at + 3] = i < readable ? more : more | VIRTQ_DESC_F_WRITE;
    }
    this.#slots.cut(tail, count);
    this.#writable[head] = Math.min(chain.writableBytes, MAX_USED_LENGTH);
    this.#inFlight.add(head);
    avail[RING + (this.#availIndex & mask)] = head;
    this.#availIndex = (this.#availIndex + 1) & 0xffff;
    return head;
  }

  /** Shows the device everything added so far: once per batch. */
  publish(): void {
    // Release: descriptors and avail entries before avail.idx; pairs with the load of avail.idx in
    // SplitDevice.#refresh.
    // Being sequentially consistent it is also the barrier before the load of used.flags in shouldKick.
    Atomics.store(this.#ring.avail, IDX, this.#availIndex);
    this.#publishedIndex = this.#availIndex;
    this.#publishedSerial = this.#inFlight.last;
  }

  /** Whether the device wants a kick for what was published. Ask after `publish`. */
  shouldKick(): boolean {
    // Pairs with SplitDevice.setNotify, which stores used.flags and then loads avail.idx: one of the two
    // sees the other.
    return (Atomics.load(this.#ring.used, FLAGS) & VIRTQ_USED_F_NO_NOTIFY) === 0;
  }

  /**
   * Takes back the next used chain; its descriptors are free again at once, and `usedLength` is what the device wrote.
   * @returns its head, or -1 when there is none.
   * @throws RingError when the device broke the contract; the element is not consumed and `usedIndex` stays on it.
   */
  poll(): number {
    const index = this.#usedIndex;
    if (index === this.#usedSeen && !this.#refresh()) return -1;
    const { usedRing, mask, size } = this.#ring;
    const at = (index & mask) * USED_WORDS;
    const id = usedRing[at]!;
    const length = usedRing[at + 1]!;
    if (id >= size) throw this.#fault('id-range', id, length);
    const serial = this.#inFlight.serial(id);
    if (serial === 0 || serial > this.#publishedSerial) throw this.#fault('not-in-flight', id, length);
    if (length > this.#writable[id]!) throw this.#fault('used-length', id, length);
    this.#usedIndex = (index + 1) & 0xffff;
    this.#usedLength = length;
    this.#slots.release(id);
    this.#inFlight.delete(id);
    return id;
  }

  /**
   * Goes on in a copy of the memory, as a guest does on the machine it migrated to; what is in flight stays in flight.
   * @throws VdpaError ERR_VDPA_INVALID_ARGUMENT for a window that cannot be.
   */
  moveTo(areas: RingAreas): void {
    this.#ring = new SplitRing(areas, this.size);
  }

  /** Whether the device has returned something that `poll` has not: the last look before sleeping. */
  hasUsed(): boolean {
    return Atomics.load(this.#ring.used, IDX) !== this.#usedIndex;
  }

  /**
   * Asks the device to call, or not to (a hint). After asking for calls look once more (`hasUsed` or `poll`) before
   * sleeping: what the device returned before it saw the request comes without a call.
   */
  setInterrupts(enabled: boolean): void {
    // Full barrier before the load of used.idx in that last look; pairs with SplitDevice.publish, which stores used.idx
    // and then loads avail.flags in shouldCall: one of the two sees the other.
    Atomics.store(this.#ring.avail, FLAGS, enabled ? 0 : VIRTQ_AVAIL_F_NO_INTERRUPT);
  }

  /** Writes the heads in flight to `out` in the order they were added, published or not, and returns their number. */
  inFlightHeads(out: Uint16Array): number {
    return this.#inFlight.heads(out);
  }

  /**
   * Proves that free list and chains in flight are the whole ring and share no descriptor. For tests; O(size).
   * @throws RingError kind `invariant`
   */
  check(): void {
    const heads = new Uint16Array(this.size);
    const count = this.#inFlight.heads(heads);
    this.#slots.check(heads.subarray(0, count));
    const expected = (this.#availIndex - this.#usedIndex) & 0xffff;
    if (count !== expected) throw broken(`${count} chains are in flight, by the indices ${expected}`);
  }

  /** Plain stores: the device learns of the ring later, through a system call or a message, and those order memory. */
  #initialise(base: number): void {
    const { desc, avail, used, usedRing } = this.#ring;
    for (const area of [desc, avail, used, usedRing]) area.fill(0);
    avail[IDX] = base;
    used[IDX] = base;
  }

  /** Loads used.idx once for the batch that follows; false when nothing is new. */
  #refresh(): boolean {
    // Acquire: used elements are read after used.idx; pairs with SplitDevice.publish.
    const idx = Atomics.load(this.#ring.used, IDX);
    const fresh = (idx - this.#usedIndex) & 0xffff;
    const available = (this.#publishedIndex - this.#usedIndex) & 0xffff;
    if (fresh > available) throw deviceFault('used-jump', { index: this.#usedIndex, used_idx: idx, available });
    this.#usedSeen = idx;
    return fresh !== 0;
  }

  #fault(kind: DeviceFault, id: number, length: number): RingError {
    return deviceFault(kind, { index: this.#usedIndex, id, length, writable: this.#writable[id] ?? 0 });
  }
}

function tooLong(count: number, size: number): RingError {
  return new RingError(
    `The chain has ${count} descriptors and can never fit a queue of ${size}: make the queue or the memory's maps larger.`,
    { details: { kind: 'chain-size', count, size } },
  );
}
