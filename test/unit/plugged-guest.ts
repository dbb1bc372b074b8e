/**
 * A guest whose memory comes and goes while its disk works: requests use pages of whatever memory there is at the moment, and
 * every page that is read is compared with what was last written to that block.
 */
import {
  Attachment,
  type BlockDevice,
  Chain,
  closeFd,
  createEventFd,
  GuestMemory,
  openBlockDevice,
  type Placement,
  ringAreas,
  ringLayout,
  type Section,
  SplitDriver,
  signalEventFd,
  type Topology,
} from 'vhost-vdpa';
import { randoms } from './iova-support.js';

const PAGE = 4096;
const MIB = 2 ** 20;
const QUEUE_SIZE = 64;
const DEPTH = 12;
const BLOCKS = 64;
const SECTORS_PER_BLOCK = 8;
const VIRTIO_BLK_T_OUT = 1;
/** Of the boot memory: the queue, then a header and a status for each request. */
const QUEUE_GPA = MIB;
const WINDOW = { base: 2 ** 32, size: 2 ** 30, slots: 8 };
const SLOT_BYTES = WINDOW.size / 2 / WINDOW.slots;
const BOOT_BYTES = 4 * MIB;
/** Guest addresses where memory shows a second time: above the slots. */
const ALIASES_GPA = WINDOW.base + WINDOW.size / 2;
const WAIT_MS = 10_000;

const MACHINE: Topology = {
  backends: [{ name: 'boot', size: BOOT_BYTES }],
  sections: [{ name: 'boot', kind: 'ram', gpa: 0, size: BOOT_BYTES, backend: 'boot', offset: 0 }],
  hotplug: WINDOW,
};

interface Request {
  readonly write: boolean;
  readonly block: number;
  readonly gpa: number;
  /** The page, whatever its guest address. */
  readonly page: string;
  readonly section: Section;
  readonly version: number;
}

export interface PluggedGuestOptions {
  readonly placement: Placement;
  readonly shadow: boolean;
  readonly seed: number;
}

export class PluggedGuest {
  completed = 0;
  /** Changes of memory made, by kind. */
  readonly changes: Record<string, number> = {};
  readonly #block: BlockDevice;
  readonly #memory: GuestMemory;
  readonly #kickFd = createEventFd();
  readonly #callFd = createEventFd();
  readonly #driver: SplitDriver;
  readonly #headers: DataView;
  readonly #statuses: Uint8Array;
  readonly #areaGpa: number;
  readonly #chain = new Chain(3);
  readonly #slots: (Request | undefined)[] = Array(DEPTH).fill(undefined);
  readonly #slotOf = new Map<number, number>();
  readonly #busyPages = new Set<string>();
  readonly #busyBlocks = new Set<number>();
  /** By block: what it holds; 0 for unknown, until it is written. */
  readonly #versions = new Uint32Array(BLOCKS);
  #steps = 0;
  readonly #random: (below: number) => number;
  attachment!: Attachment;

  private constructor(block: BlockDevice, seed: number) {
    this.#block = block;
    this.#random = randoms(seed);
    this.#memory = GuestMemory.create(MACHINE);
    const { bytes } = ringLayout(QUEUE_SIZE);
    this.#areaGpa = QUEUE_GPA + bytes;
    this.#driver = new SplitDriver(
      ringAreas(this.#addresses(), (gpa, length) => this.#memory.view(gpa, length)),
      QUEUE_SIZE,
      0,
    );
    this.#headers = new DataView(this.#memory.view(this.#areaGpa, PAGE));
    this.#statuses = new Uint8Array(this.#memory.view(this.#areaGpa + PAGE, PAGE));
  }

  static async start(reference: string, { placement, shadow, seed }: PluggedGuestOptions): Promise<PluggedGuest> {
    const block = await openBlockDevice(reference);
    const guest = new PluggedGuest(block, seed);
    const { device, features, backendFeatures, limits } = block;
    const queue = { index: 0, addresses: guest.#addresses(), kickFd: guest.#kickFd, callFd: guest.#callFd };
    guest.attachment = await Attachment.attach({
      device,
      features,
      backendFeatures,
      limits,
      placement,
      memory: guest.#memory,
      queues: [queue],
      startShadowed: shadow,
    });
    if (shadow) await guest.attachment.startShadow();
    else await guest.attachment.startPassthrough();
    return guest;
  }

  get sections(): readonly Section[] {
    return this.#memory.sections;
  }

  /** One random change of memory under load; now and then the rings change hands in between. */
  async step(): Promise<void> {
    if (++this.#steps % 40 === 0) await this.#switch();
    for (;;) {
      const roll = this.#random(100);
      const kind = roll < 35 ? 'plug' : roll < 60 ? 'unplug' : roll < 80 ? 'replace' : roll < 90 ? 'alias' : 'protect';
      const transaction = this.#memory.begin();
      if (this.#change(kind, transaction)) {
        await transaction.commit();
        this.changes[kind] = (this.changes[kind] ?? 0) + 1;
        return;
      }
      // There is no slot, or nothing that could go: all requests may be in the same memory.
      transaction.abort();
      await this.work(1);
    }
  }

  /** What no guest may do: its queue is there. */
  async removeBootMemory(): Promise<void> {
    const transaction = this.#memory.begin();
    transaction.remove(0);
    await transaction.commit();
  }

  /** One new memory in the place of all that was plugged in; while nothing is in flight. */
  async replaceAll(): Promise<void> {
    const transaction = this.#memory.begin();
    for (const { gpa } of this.sections) if (gpa !== 0) transaction.remove(gpa);
    transaction.add({ name: 'dimm', gpa: WINDOW.base, size: MIB });
    await transaction.commit();
  }

  /** Keeps requests in flight, and waits until so many more are completed and verified. */
  async work(count: number): Promise<void> {
    const goal = this.completed + count;
    for (const deadline = performance.now() + WAIT_MS; this.completed < goal; ) {
      this.#collect();
      this.#fill();
      if (performance.now() > deadline) throw new Error(`stalled after ${this.completed} requests`);
      await new Promise(resolve => setImmediate(resolve));
    }
  }

  /** Waits for what is in flight. */
  async finish(): Promise<void> {
    for (const deadline = performance.now() + WAIT_MS; this.#driver.inFlight > 0; ) {
      this.#collect();
      if (performance.now() > deadline) throw new Error(`${this.#driver.inFlight} requests did not come back`);
      await new Promise(resolve => setImmediate(resolve));
    }
  }

  async close(): Promise<void> {
    await this.attachment.close();
    await this.#block.device.close();
    this.#memory.close();
    closeFd(this.#kickFd);
    closeFd(this.#callFd);
  }

  async #switch(): Promise<void> {
    if (this.attachment.mode === 'shadowed') await this.attachment.leaveShadow();
    else await this.attachment.enterShadow();
    this.changes['switch'] = (this.changes['switch'] ?? 0) + 1;
  }

  #change(kind: string, transaction: ReturnType<GuestMemory['begin']>): boolean {
    const idle = this.#idleSections();
    const victim = idle[this.#random(idle.length)];
    switch (kind) {
      case 'plug': {
        const slot = this.#freeSlot();
        if (slot === undefined) return false;
        const size = (1 + this.#random(64)) * PAGE * 16;
        if (this.#random(2) === 0) transaction.add({ name: 'dimm', gpa: slot, size });
        else {
          // Neighbours in one memory: what becomes of one must not touch the other.
          const { region } = transaction.add({ name: 'dimm', gpa: slot + size, size, offset: size });
          transaction.add({ name: 'dimm', gpa: slot, size, region });
        }
        return true;
      }
      case 'unplug':
        if (!victim) return false;
        transaction.remove(victim.gpa);
        return true;
      case 'replace':
        if (!victim || this.#within(victim.gpa, SLOT_BYTES).length > 1) return false;
        transaction.remove(victim.gpa);
        transaction.add({ name: victim.name, gpa: victim.gpa, size: (1 + this.#random(64)) * PAGE * 16 });
        return true;
      case 'alias': {
        const gpa = ALIASES_GPA + this.#random(4) * 2 ** 26;
        const original = this.sections[this.#random(this.sections.length)]!;
        if (this.sections.some(section => section.gpa === gpa) || original.gpa === 0) return false;
        transaction.add({ ...original, name: 'alias', gpa });
        return true;
      }
      default:
        // The same memory, written to by the device or not: what PAM does to a PC's low memory.
        if (!victim) return false;
        transaction.remove(victim.gpa);
        transaction.add({ ...victim, kind: victim.kind === 'ram' ? 'rom' : 'ram' });
        return true;
    }
  }

  #freeSlot(): number | undefined {
    const { base, slots } = WINDOW;
    const places = Array.from({ length: slots }, (_, i) => base + i * SLOT_BYTES);
    const free = places.filter(gpa => this.#within(gpa, SLOT_BYTES).length === 0);
    return free[this.#random(free.length)];
  }

  #within(gpa: number, size: number): Section[] {
    return this.sections.filter(section => section.gpa < gpa + size && gpa < section.gpa + section.size);
  }

  /** Sections that can be taken away: a guest gives up memory only when no request uses it. */
  #idleSections(): Section[] {
    const busy = new Set(this.#slots.map(request => request?.section.gpa));
    return this.sections.filter(section => section.gpa !== 0 && !busy.has(section.gpa));
  }

  #fill(): void {
    for (let slot = 0; slot < DEPTH; slot++) if (!this.#slots[slot]) this.#submit(slot);
    this.#driver.publish();
    if (this.#driver.shouldKick()) signalEventFd(this.#kickFd);
  }

  #submit(slot: number): void {
    const section = this.sections[this.#random(this.sections.length)]!;
    const block = this.#random(BLOCKS);
    const write = section.kind === 'rom' || this.#versions[block] === 0 || this.#random(2) === 0;
    const first = section.gpa === 0 ? (2 * MIB) / PAGE : 0;
    const pages = section.size / PAGE - first;
    // The edges of a section are where a map could be a page too long or too short.
    const place = this.#random(4);
    const index = first + (place === 0 ? 0 : place === 1 ? pages - 1 : this.#random(pages));
    const page = `${section.region}:${section.offset + index * PAGE}`;
    if (this.#busyBlocks.has(block) || this.#busyPages.has(page)) return;
    const gpa = section.gpa + index * PAGE;
    const version = write ? this.#random(2 ** 31) + 1 : this.#versions[block]!;
    new Uint32Array(this.#memory.view(gpa, PAGE)).fill(write ? pattern(block, version) : 0);
    this.#queue(slot, { write, block, gpa, page, section, version });
  }

  #queue(slot: number, request: Request): void {
    const header = slot * 16;
    this.#headers.setUint32(header, request.write ? VIRTIO_BLK_T_OUT : 0, true);
    this.#headers.setUint32(header + 8, request.block * SECTORS_PER_BLOCK, true);
    this.#statuses[slot] = 0xff;
    const chain = this.#chain;
    chain.reset();
    chain.push(this.#areaGpa + header, 16, false);
    chain.push(request.gpa, PAGE, !request.write);
    chain.push(this.#areaGpa + PAGE + slot, 1, true);
    this.#slotOf.set(this.#driver.add(chain), slot);
    this.#slots[slot] = request;
    this.#busyPages.add(request.page);
    this.#busyBlocks.add(request.block);
  }

  #collect(): void {
    for (let head = this.#driver.poll(); head >= 0; head = this.#driver.poll()) {
      const slot = this.#slotOf.get(head)!;
      const request = this.#slots[slot]!;
      this.#slots[slot] = undefined;
      this.#busyPages.delete(request.page);
      this.#busyBlocks.delete(request.block);
      this.#verify(request, this.#statuses[slot]!);
      this.completed++;
    }
  }

  #verify({ write, block, gpa, section, version }: Request, status: number): void {
    const what = `${write ? 'write' : 'read'} of block ${block} at 0x${gpa.toString(16)} in ${JSON.stringify(section)}`;
    if (status !== 0) throw new Error(`${what}: status ${status}`);
    if (write) {
      this.#versions[block] = version;
      return;
    }
    const wrong = new Uint32Array(this.#memory.view(gpa, PAGE)).findIndex(word => word !== pattern(block, version));
    if (wrong >= 0) throw new Error(`${what}: word ${wrong} is wrong`);
  }

  #addresses() {
    const { descOffset, driverOffset, deviceOffset } = ringLayout(QUEUE_SIZE);
    const at = QUEUE_GPA;
    return { size: QUEUE_SIZE, desc: at + descOffset, driver: at + driverOffset, device: at + deviceOffset };
  }
}

function pattern(block: number, version: number): number {
  return (Math.imul(version, 2654435761) ^ block) >>> 0;
}
