/**
 * The shadow of one virtqueue: the device side of the guest's ring and the driver side of its own.
 *
 *     guest ring ──pop──▶ translate ──add──▶ shadow ring ──kick──▶ device
 *     guest ring ◀─push── mark dirty ◀─poll─ shadow ring ◀──call── device
 *
 * Steps without threads or file descriptors: `kick` and `call` are the owner's.
 */
import type { DirtyMarks } from '../dirty/dirty-bitmap.js';
import { hex, RingError } from '../errors.js';
import type { Translation, TranslationEntry } from '../iova/translation.js';
import { Chain } from '../ring/chain.js';
import type { SplitDevice } from '../ring/split-device.js';
import type { SplitDriver } from '../ring/split-driver.js';
import type { QueueCounters } from './counters.js';
import { newCounters } from './counters.js';
import { WrittenBuffers } from './written-buffers.js';

/** Where the guest's used ring is, to mark it dirty when we write it. */
export interface UsedRing {
  readonly gpa: number;
  readonly bytes: number;
}

export interface ForwarderParts {
  readonly guest: SplitDevice;
  readonly shadow: SplitDriver;
  /** Guest addresses to IOVA. */
  readonly translation: Translation;
  /** Where the device's writes are recorded, by guest address. */
  readonly dirty: DirtyMarks;
  readonly usedRing: UsedRing;
  /** Tells the device, the guest, that there is something new. */
  readonly kick: () => void;
  readonly call: () => void;
}

export class Forwarder {
  readonly counters: QueueCounters = newCounters();
  readonly #parts: ForwarderParts;
  /** The chain as the guest made it, and as the device gets it. */
  readonly #source: Chain;
  readonly #target: Chain;
  /** By head in the shadow ring: the guest's head. */
  readonly #guestHeads: Uint16Array;
  readonly #written: WrittenBuffers;
  /** Heads to take before anything new. */
  readonly #replaying: number[] = [];
  /** `target` holds a popped chain for which the shadow ring had no room. */
  #parked = false;
  #accepting = true;
  #kicking = true;
  #paused = false;
  #guestFault: RingError | undefined;
  #deviceFault: RingError | undefined;

  constructor(parts: ForwarderParts) {
    this.#parts = parts;
    this.#source = new Chain(parts.guest.size);
    this.#target = new Chain(parts.shadow.size);
    this.#guestHeads = new Uint16Array(parts.shadow.size);
    this.#written = new WrittenBuffers(parts.shadow.size);
  }

  /** What made the queue stop taking requests, if anything did. Completions still go to the guest unless the device is at fault. */
  get fault(): RingError | undefined {
    return this.#guestFault ?? this.#deviceFault;
  }

  /** Requests taken from the guest and not yet returned. */
  get inFlight(): number {
    return this.#parts.guest.inFlight + this.#replaying.length;
  }

  get guest(): SplitDevice {
    return this.#parts.guest;
  }

  get shadow(): SplitDriver {
    return this.#parts.shadow;
  }

  /** While false no new request is taken from the guest; those in flight go on. */
  accept(accepting: boolean): void {
    this.#accepting = accepting;
  }

  /** While false requests are made available to the device without a kick. */
  kickDevice(kicking: boolean): void {
    this.#kicking = kicking;
  }

  /**
   * Moves up to `budget` requests to the shadow ring: one publish, at most one kick.
   * @returns how many it moved.
   */
  forward(budget: number): number {
    if (this.fault || this.#paused) return 0;
    let moved = 0;
    try {
      while (moved < budget && this.#next()) moved++;
    } catch (error) {
      this.#guestFault = this.#count(error);
    }
    if (moved > 0) this.#publishToDevice(moved);
    return moved;
  }

  /** While true no request is given to the device, because memory is about to change; completions go on. */
  pause(paused: boolean): void {
    this.#paused = paused;
  }

  /**
   * Guest memory has changed: requests given to the device from now on are translated so, one that waits for room too. Those in
   * flight keep their addresses: a guest gives up memory only when no request uses it.
   * @param removed First guest addresses of the ranges that went.
   */
  retranslate(removed: readonly number[], added: readonly TranslationEntry[]): void {
    const { translation } = this.#parts;
    for (const from of removed) translation.remove(from);
    for (const entry of added) translation.add(entry);
    if (!this.#parked) return;
    try {
      this.#translate();
    } catch (error) {
      this.#guestFault = this.#count(error);
    }
  }

  /** Takes over requests that were in flight when another device stopped: `forward` moves them first, in their order. */
  replay(heads: readonly number[]): void {
    this.#replaying.push(...heads);
  }

  /**
   * Returns up to `budget` completions to the guest: one publish, at most one call.
   * @returns how many it returned.
   */
  complete(budget: number): number {
    const { guest, shadow, dirty, usedRing, call } = this.#parts;
    if (this.#deviceFault) return 0;
    let done = 0;
    try {
      for (let head = this.#poll(budget, done); head >= 0; head = this.#poll(budget, done)) {
        this.counters.dirty_bytes += shadow.usedLength;
        this.#written.mark(head, dirty);
        guest.push(this.#guestHeads[head]!, shadow.usedLength);
        done++;
      }
    } catch (error) {
      this.#deviceFault = this.#count(error);
    }
    if (done === 0) return 0;
    this.counters.completed += done;
    dirty.mark(usedRing.gpa, usedRing.bytes);
    guest.publish();
    if (guest.shouldCall()) {
      this.counters.calls++;
      call();
    }
    return done;
  }

  /**
   * The exact heads in flight, in the order they were taken, for a replay. Their writable buffers are marked: the device may
   * have written there. So is the used ring, whose flags change without a completion.
   */
  stop(): number[] {
    const { guest, shadow, dirty, usedRing } = this.#parts;
    const heads = new Uint16Array(guest.size);
    const count = guest.inFlightHeads(heads);
    const shadowHeads = new Uint16Array(shadow.size);
    const inShadow = shadow.inFlightHeads(shadowHeads);
    for (const head of shadowHeads.subarray(0, inShadow)) this.#written.mark(head, dirty);
    dirty.mark(usedRing.gpa, usedRing.bytes);
    return [...heads.subarray(0, count), ...this.#replaying];
  }

  #poll(budget: number, done: number): number {
    return done < budget ? this.#parts.shadow.poll() : -1;
  }

  /** Moves one request; false when there is none or no room for it. */
  #next(): boolean {
    if (this.#parked) return this.#unpark();
    if (!this.#take()) return false;
    this.#translate();
    if (this.#add()) return true;
    this.#parked = true;
    this.counters.parks++;
    return false;
  }

  /** The next request into `source`: those to replay first, then what the guest made available. */
  #take(): boolean {
    const { guest } = this.#parts;
    const head = this.#replaying.shift();
    if (head === undefined) return this.#accepting && guest.pop(this.#source);
    guest.chainAt(head, this.#source);
    return true;
  }

  #unpark(): boolean {
    this.#parked = !this.#add();
    return !this.#parked;
  }

  /** `source` by guest addresses to `target` by IOVA; a buffer that spans maps becomes several. */
  #translate(): void {
    const { translation } = this.#parts;
    const source = this.#source;
    const target = this.#target;
    target.reset();
    target.head = source.head;
    this.#written.begin();
    for (let i = 0; i < source.count; i++) {
      const write = i >= source.readable;
      const from = target.count;
      if (!translation.translate(source.addr[i]!, source.len[i]!, write, target)) throw unmapped(source, i, write);
      if (write) this.#written.stage(source.addr[i]!, target, from);
    }
  }

  /** Adds `target` to the shadow ring, all or nothing. */
  #add(): boolean {
    const head = this.#parts.shadow.add(this.#target);
    if (head < 0) return false;
    this.#guestHeads[head] = this.#target.head;
    this.#written.commit(head);
    this.counters.forwarded++;
    this.counters.descriptors += this.#target.count;
    return true;
  }

  #publishToDevice(moved: number): void {
    const { shadow, kick } = this.#parts;
    shadow.publish();
    this.counters.batches++;
    this.counters.largest_batch = Math.max(this.counters.largest_batch, moved);
    if (!this.#kicking || !shadow.shouldKick()) return;
    this.counters.kicks++;
    kick();
  }

  #count(error: unknown): RingError {
    if (!(error instanceof RingError)) throw error;
    this.counters.faults++;
    return error;
  }
}

function unmapped(chain: Chain, index: number, write: boolean): RingError {
  const address = chain.addr[index]!;
  const length = chain.len[index]!;
  return new RingError(
    `The guest's request with head ${chain.head} has a ${write ? 'writable' : 'readable'} buffer at ${hex(address)} (${length} bytes), which is not ${write ? 'writable' : ''} guest memory or needs more descriptors than the shadow ring has.`,
    { details: { kind: 'not-mapped', head: chain.head, address, length } },
  );
}
