/** A virtio-blk driver that plays the guest: fills slots with requests, makes them available, takes them back. */
import type { DirtyMarks } from '../dirty/dirty-bitmap.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import { ringAreas } from '../ring/addresses.js';
import type { RingAreas } from '../ring/areas.js';
import { Chain } from '../ring/chain.js';
import { SplitDriver } from '../ring/split-driver.js';
import {
  VIRTIO_BLK_HEADER_SECTOR,
  VIRTIO_BLK_HEADER_SIZE,
  VIRTIO_BLK_HEADER_TYPE,
  VIRTIO_BLK_SECTOR_SIZE,
  VIRTIO_BLK_T_OUT,
} from '../uapi/virtio-blk.js';
import { splitAvailSize, splitDescSize } from '../uapi/virtio-ring.js';
import { BLOCK_SIZE, type GuestLayout, PAGES_PER_KIND } from './layout.js';

/** What the driver puts in a status byte before the device answers; no device answers it. */
const NO_STATUS = 0xff;
const NO_SLOT = -1;

/** The guest memory a driver touches, through windows that change when the guest moves. */
export interface Place {
  readonly areas: RingAreas;
  readonly headers: DataView;
  readonly statuses: Uint8Array;
  readonly buffers: readonly Uint32Array[];
}

export class BlkDriver {
  readonly slots: number;
  readonly #layout: GuestLayout;
  readonly #driver: SplitDriver;
  /** What the guest's own processor writes, by guest address. */
  readonly #dirty: DirtyMarks;
  readonly #chain = new Chain(3);
  #place: Place;
  /** By head: the slot whose request it carries. */
  readonly #slotOf: Int32Array;
  /** By slot: requests it has carried, which chooses the page of the next. */
  readonly #turns: Uint32Array;
  readonly #isWrite: Uint8Array;

  constructor(memory: GuestMemory, layout: GuestLayout, dirty: DirtyMarks) {
    this.slots = layout.buffers.length;
    this.#layout = layout;
    this.#dirty = dirty;
    this.#place = openPlace(memory, layout);
    this.#driver = new SplitDriver(this.#place.areas, layout.queue.size, 0);
    this.#slotOf = new Int32Array(layout.queue.size).fill(NO_SLOT);
    this.#turns = new Uint32Array(this.slots);
    this.#isWrite = new Uint8Array(this.slots);
    this.#markRing();
  }

  /** Requests made available and not taken back. */
  get inFlight(): number {
    return this.#driver.inFlight;
  }

  /** Windows on a copy of the memory, for `moveTo`. */
  openPlace(memory: GuestMemory): Place {
    return openPlace(memory, this.#layout);
  }

  /** Goes on in a copy of the memory: what a guest does when it is migrated. */
  moveTo(place: Place): void {
    this.#place = place;
    this.#driver.moveTo(place.areas);
  }

  /** The page that the slot's current request reads into or writes from, as 32-bit words. */
  data(slot: number): Uint32Array {
    const words = BLOCK_SIZE / 4;
    const start = this.#pageOf(slot) * words;
    return this.#place.buffers[slot]!.subarray(start, start + words);
  }

  /** The device's answer to the slot's request. */
  status(slot: number): number {
    return this.#place.statuses[slot]!;
  }

  /** Chooses the buffer of the slot's next request; for a write, fill `data` before `submit`. */
  prepare(slot: number, write: boolean): void {
    this.#turns[slot]!++;
    this.#isWrite[slot] = write ? 1 : 0;
  }

  /**
   * Adds the prepared request for one block; the device sees it after `publish`.
   * @returns false when the ring is full.
   */
  submit(slot: number, type: number, block: number): boolean {
    const { headers, statuses } = this.#layout;
    const write = type === VIRTIO_BLK_T_OUT;
    const header = headers + slot * VIRTIO_BLK_HEADER_SIZE;
    const data = this.#layout.buffers[slot]! + this.#pageOf(slot) * BLOCK_SIZE;
    const chain = this.#chain;
    chain.reset();
    chain.push(header, VIRTIO_BLK_HEADER_SIZE, false);
    chain.push(data, BLOCK_SIZE, !write);
    chain.push(statuses + slot, 1, true);
    this.#writeHeader(slot, type, block);
    const head = this.#driver.add(chain);
    if (head < 0) return false;
    this.#slotOf[head] = slot;
    this.#dirty.mark(header, VIRTIO_BLK_HEADER_SIZE);
    this.#dirty.mark(statuses + slot, 1);
    if (write) this.#dirty.mark(data, BLOCK_SIZE);
    return true;
  }

  /** Makes what was added available. @returns whether the device wants a kick. */
  publish(): boolean {
    this.#markRing();
    this.#driver.publish();
    return this.#driver.shouldKick();
  }

  /**
   * Takes back the next completed request.
   * @returns its slot, or -1.
   * @throws RingError when the device breaks the ring's contract.
   */
  poll(): number {
    const head = this.#driver.poll();
    if (head < 0) return NO_SLOT;
    const slot = this.#slotOf[head]!;
    this.#slotOf[head] = NO_SLOT;
    return slot;
  }

  #writeHeader(slot: number, type: number, block: number): void {
    const { headers, statuses } = this.#place;
    const at = slot * VIRTIO_BLK_HEADER_SIZE;
    const sector = (block * BLOCK_SIZE) / VIRTIO_BLK_SECTOR_SIZE;
    headers.setUint32(at + VIRTIO_BLK_HEADER_TYPE, type, true);
    headers.setUint32(at + VIRTIO_BLK_HEADER_SECTOR, sector >>> 0, true);
    headers.setUint32(at + VIRTIO_BLK_HEADER_SECTOR + 4, Math.floor(sector / 2 ** 32), true);
    statuses[slot] = NO_STATUS;
  }

  #pageOf(slot: number): number {
    return (this.#turns[slot]! % PAGES_PER_KIND) + this.#isWrite[slot]! * PAGES_PER_KIND;
  }

  #markRing(): void {
    const { size, desc, driver } = this.#layout.queue;
    this.#dirty.mark(desc, splitDescSize(size));
    this.#dirty.mark(driver, splitAvailSize(size));
  }
}

function openPlace(memory: GuestMemory, { queue, headers, statuses, buffers }: GuestLayout): Place {
  return {
    areas: ringAreas(queue, (gpa, length) => memory.view(gpa, length)),
    headers: new DataView(memory.view(headers, buffers.length * VIRTIO_BLK_HEADER_SIZE)),
    statuses: new Uint8Array(memory.view(statuses, buffers.length)),
    buffers: buffers.map(gpa => new Uint32Array(memory.view(gpa, 2 * PAGES_PER_KIND * BLOCK_SIZE))),
  };
}
