/** A soft device in this thread, with memory, a driver and a disk of its own: what the tests of its model share. */
import { setTimeout as sleep } from 'node:timers/promises';
import { startOperations } from '../../lib/device/sequences.js';
import { type Answer, SoftModel } from '../../lib/device/soft/model.js';
import { parseSoftOptions } from '../../lib/device/soft/options.js';
import { closeFd, createEventFd, signalEventFd } from '../../lib/eventfd.js';
import { MemoryRegion } from '../../lib/memory/region.js';
import { native } from '../../lib/native.js';
import { type QueueAddresses, ringAreas } from '../../lib/ring/addresses.js';
import { ringLayout } from '../../lib/ring/areas.js';
import { Chain } from '../../lib/ring/chain.js';
import { SplitDriver } from '../../lib/ring/split-driver.js';
import type { Operation } from '../../lib/uapi/operation.js';

/** VERSION_1 and ACCESS_PLATFORM. */
export const FEATURES = 0x3_0000_0000n;
export const PERSIST = 1n << 8n;

export const PAGE = 4096;
export const RING_SIZE = 16;
const DISK_BYTES = 64 * 1024;
/** Memory stands at another address for the device than in its region, so that nothing works by being confused. */
export const MEMORY = 0x1_0000_0000;
const MEMORY_BYTES = 64 * PAGE;
/** Offsets in memory: two rings, headers, statuses, and from DATA on a page of data for each slot. */
export const RING = 0;
export const OTHER_RING = 4 * PAGE;
const HEADERS = 8 * PAGE;
const STATUSES = 9 * PAGE;
const DATA = 16 * PAGE;
const UNTOUCHED = 0xaa;

/** The longest that anything may take on a busy machine before a test gives up. */
const PATIENCE_MS = 5000;
/** Long enough for a device to do what it must not do. */
const IDLE_MS = 20;

export interface Request {
  readonly type: number;
  readonly sector?: number | bigint;
  /** Data for the device to read. */
  readonly out?: Uint8Array;
  /** Bytes of data for the device to write. */
  readonly room?: number;
}

/** One buffer of a chain, by its offset in memory. */
export type Buffer = readonly [offset: number, length: number, access: 'r' | 'w'];

export class SoftMachine {
  readonly model: SoftModel;
  readonly memory = MemoryRegion.create('soft-test', MEMORY_BYTES);
  readonly kickFd = createEventFd();
  readonly callFd = createEventFd();
  readonly disk: Uint8Array;
  readonly #disk = MemoryRegion.create('soft-test-disk', DISK_BYTES);
  #driver: SplitDriver;

  /** @param properties As in a reference: `latency=1ms&persist=off`. */
  constructor(properties = '') {
    const options = parseSoftOptions(`soft:blk?capacity=${DISK_BYTES}&${properties}`);
    this.model = new SoftModel({ options, disk: this.#disk.id });
    this.disk = new Uint8Array(this.#disk.view(0, DISK_BYTES));
    this.#driver = this.newRing(RING, 0);
  }

  /** The addresses of a queue at this offset, as the device knows them. */
  queueAt(offset: number): QueueAddresses {
    const { descOffset, driverOffset, deviceOffset } = ringLayout(RING_SIZE);
    const at = MEMORY + offset;
    return { size: RING_SIZE, desc: at + descOffset, driver: at + driverOffset, device: at + deviceOffset };
  }

  /** Initialises a queue in memory, which the driver uses from now on. */
  newRing(offset: number, base: number): SplitDriver {
    const areas = ringAreas(this.queueAt(offset), (iova, length) => this.memory.view(iova - MEMORY, length));
    this.#driver = new SplitDriver(areas, RING_SIZE, base);
    return this.#driver;
  }

  /** The map of all memory, or a part of it. */
  map(from = 0, size = MEMORY_BYTES - from, perm: 'ro' | 'wo' | 'rw' = 'rw'): Operation {
    return { op: 'iotlbUpdate', asid: 0, iova: MEMORY + from, size, region: this.memory.id, offset: from, perm };
  }

  unmap(from = 0, size = MEMORY_BYTES - from): Operation {
    return { op: 'iotlbInvalidate', asid: 0, iova: MEMORY + from, size };
  }

  ask(operation: Operation): Answer {
    return this.model.execute(operation);
  }

  /** Carries out operations that must all succeed. */
  do(...operations: readonly Operation[]): void {
    for (const operation of operations) {
      const { errno } = this.ask(operation);
      if (errno !== 0) throw new Error(`${operation.op} answered errno ${errno}`);
    }
  }

  /** From closed to owned. */
  own(backendFeatures = 0n): this {
    this.do({ op: 'open', path: 'soft:blk' }, { op: 'setOwner' });
    this.do({ op: 'setBackendFeatures', features: backendFeatures });
    return this;
  }

  /** From reset to DRIVER_OK, on a fresh ring at `offset` that starts at `base`. */
  start(offset = RING, base = 0): this {
    this.newRing(offset, base);
    const { kickFd, callFd } = this;
    this.do(...startOperations(FEATURES, [{ index: 0, addresses: this.queueAt(offset), base, kickFd, callFd }]));
    return this;
  }

  /** From closed to DRIVER_OK with all memory mapped. */
  run(backendFeatures = 0n): this {
    this.own(backendFeatures).do(this.map());
    return this.start();
  }

  kick(): void {
    signalEventFd(this.kickFd);
  }

  /** Makes a chain of these buffers available, without a kick. */
  offer(...buffers: readonly Buffer[]): number {
    const chain = new Chain(buffers.length);
    for (const [offset, length, access] of buffers) chain.push(MEMORY + offset, length, access === 'w');
    const head = this.#driver.add(chain);
    if (head < 0) throw new Error('The ring is full.');
    this.#driver.publish();
    return head;
  }

  /** Makes a request available, without a kick; its slot, by which `data` and `status` know it. */
  request(slot: number, { type, sector = 0, out, room = 0 }: Request): number {
    this.header(slot, type, sector);
    this.#bytes(STATUSES + slot, 1)[0] = UNTOUCHED;
    const data = DATA + slot * PAGE;
    if (out) this.#bytes(data, out.length).set(out);
    else this.#bytes(data, PAGE).fill(UNTOUCHED);
    const buffers: Buffer[] = [[HEADERS + 16 * slot, 16, 'r']];
    if (out) buffers.push([data, out.length, 'r']);
    if (room > 0) buffers.push([data, room, 'w']);
    return this.offer(...buffers, [STATUSES + slot, 1, 'w']);
  }

  /** Writes a request's header; its offset in memory. */
  header(slot: number, type: number, sector: number | bigint): number {
    const at = HEADERS + 16 * slot;
    const view = new DataView(this.memory.view(at, 16));
    view.setUint32(0, type, true);
    view.setBigUint64(8, BigInt(sector), true);
    return at;
  }

  /** The next completion within patience: head and length. */
  async completion(): Promise<{ head: number; length: number }> {
    for (const deadline = performance.now() + PATIENCE_MS; performance.now() < deadline; await sleep(1)) {
      const head = this.#driver.poll();
      if (head >= 0) return { head, length: this.#driver.usedLength };
    }
    throw new Error('The device completed nothing.');
  }

  /** One request from kick to completion: status, bytes the device says it wrote, and the data. */
  async complete(request: Request, slot = 0): Promise<{ status: number; length: number; data: Uint8Array }> {
    this.request(slot, request);
    this.kick();
    const { length } = await this.completion();
    return { status: this.status(slot), length, data: this.data(slot).slice(0, request.room ?? 0) };
  }

  /** Whether the device leaves alone what is available, for as long as it would take to serve it. */
  async isIdle(): Promise<boolean> {
    await sleep(IDLE_MS);
    return this.#driver.poll() < 0;
  }

  data(slot: number): Uint8Array {
    return this.#bytes(DATA + slot * PAGE, PAGE);
  }

  status(slot: number): number {
    return this.#bytes(STATUSES + slot, 1)[0];
  }

  /** used.idx of the ring at this offset, as the device last wrote it. */
  usedIndex(offset = RING): number {
    return new Uint16Array(this.memory.view(offset + ringLayout(RING_SIZE).deviceOffset, 4))[1];
  }

  base(): number {
    return Number(this.ask({ op: 'getVringBase', index: 0 }).value);
  }

  /** Calls since the last time it was asked. */
  calls(): number {
    return Math.max(0, native().eventfdRead(this.callFd));
  }

  setInterrupts(enabled: boolean): void {
    this.#driver.setInterrupts(enabled);
  }

  close(): void {
    this.ask({ op: 'close' });
    closeFd(this.kickFd);
    closeFd(this.callFd);
    this.memory.close();
    this.#disk.close();
  }

  #bytes(offset: number, length: number): Uint8Array {
    return new Uint8Array(this.memory.view(offset, length));
  }
}
