/**
 * A machine's memory: which region stands behind which guest physical address. It changes in transactions, in which those who
 * map it for a device take part as listeners.
 */
import { AddressError, ClosedError, hex, VdpaError } from '../errors.js';
import { checkTopology } from './check-topology.js';
import { MemoryRegion } from './region.js';
import { describeSection, findSection, type MemoryKind, type MemoryShape, type Section } from './section.js';
import { flatTopology, type HotplugWindow, refuseUnmappable, type Topology } from './topology.js';
import { changeSections, MemoryTransaction, type TransactionContent } from './transaction.js';

/** What a transaction changes. */
export interface MemoryChange {
  /** All sections as they will be, by address. */
  readonly sections: readonly Section[];
  readonly added: readonly Section[];
  readonly removed: readonly Section[];
}

/** Follows a change, or refuses it by throwing; who had followed then gets the opposite change. */
export type MemoryListener = (change: MemoryChange) => Promise<void>;

export class GuestMemory {
  /** The first guest address above all memory that is there or may be plugged in. */
  readonly end: number;
  /** Where memory can be plugged in, if it can. */
  readonly hotplug: HotplugWindow | undefined;
  #sections: readonly Section[];
  readonly #regions = new Map<number, MemoryRegion>();
  readonly #listeners = new Set<MemoryListener>();
  /** The last commit: the next one starts when it has ended. */
  #committed: Promise<void> = Promise.resolve();
  #open = true;

  private constructor({ sections, end }: MemoryShape, regions: Iterable<MemoryRegion>, hotplug?: HotplugWindow) {
    this.#sections = sections;
    this.end = end;
    this.hotplug = hotplug;
    for (const region of regions) this.#regions.set(region.id, region);
  }

  /**
   * Makes the sparse memory of a machine; a size is one section from guest address 0.
   * @throws VdpaError ERR_VDPA_INVALID_ARGUMENT when sections overlap or are beyond their memory.
   * @throws UnsupportedError when no device can be given this memory: behind a guest's IOMMU, or protected.
   * @throws VdpaError ERR_VDPA_MEMORY when the system refuses.
   */
  static create(machine: number | Topology): GuestMemory {
    const topology = typeof machine === 'number' ? flatTopology(machine) : checkTopology(machine);
    refuseUnmappable(topology);
    const regions = makeRegions(topology);
    const sections = topology.sections.flatMap(({ name, kind, gpa, size, backend, offset }): Section[] => {
      const region = backend === undefined ? undefined : regions.get(backend);
      return region ? [{ name, kind: kind as MemoryKind, gpa, size, region: region.id, offset }] : [];
    });
    const { hotplug } = topology;
    const top = sections.at(-1);
    const end = Math.max(top ? top.gpa + top.size : 0, hotplug ? hotplug.base + hotplug.size : 0);
    return new GuestMemory({ sections, end }, regions.values(), hotplug);
  }

  /** The same memory in another thread. */
  static open(shape: MemoryShape): GuestMemory {
    const ids = new Set(shape.sections.map(section => section.region));
    const sections = [...shape.sections].sort((a, b) => a.gpa - b.gpa);
    return new GuestMemory(
      { sections, end: shape.end },
      [...ids].map(id => MemoryRegion.open(id)),
    );
  }

  /** By address. */
  get sections(): readonly Section[] {
    return this.#sections;
  }

  /** What another thread needs to open it. */
  get shape(): MemoryShape {
    return { sections: this.#sections, end: this.end };
  }

  /** Bytes of memory. */
  get size(): number {
    return this.#sections.reduce((sum, section) => sum + section.size, 0);
  }

  /** Starts a change; nothing happens before its `commit`. Commits follow one another. @throws ClosedError */
  begin(): MemoryTransaction {
    this.#requireOpen();
    return new MemoryTransaction(content => this.#queue(() => this.#commit(content)));
  }

  /**
   * A change that depends on what is there: `build` adds to the transaction, and removes, when all earlier ones have ended.
   * @throws as `commit`, and whatever `build` throws; nothing has changed then.
   */
  change<T>(build: (transaction: MemoryTransaction) => T): Promise<T> {
    return this.#queue(async () => {
      const transaction = new MemoryTransaction(content => this.#commit(content));
      try {
        const result = build(transaction);
        await transaction.commit();
        return result;
      } catch (error) {
        transaction.abort();
        throw error;
      }
    });
  }

  /**
   * Takes part in every change from now on, after those who came before.
   * @returns what ends it.
   */
  listen(listener: MemoryListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * A window on [gpa, gpa + length).
   * @throws AddressError when the range is not inside one section.
   */
  view(gpa: number, length: number): ArrayBuffer {
    const section = this.#sections[findSection(this.#sections, gpa)];
    const region = section && this.#regions.get(section.region);
    if (section && region && gpa + length <= section.gpa + section.size) {
      return region.view(section.offset + (gpa - section.gpa), length);
    }
    throw new AddressError(
      `Guest addresses ${hex(gpa)} to ${hex(gpa + length - 1)} are not inside one memory section.`,
      { details: { gpa, length } },
    );
  }

  /** Gives up this thread's windows; the thread that made the memory frees it. */
  close(): void {
    this.#open = false;
    for (const region of this.#regions.values()) region.close();
  }

  /** One after another, whether the last one succeeded or not. */
  #queue<T>(step: () => Promise<T>): Promise<T> {
    const result = this.#committed.then(step);
    this.#committed = result.then(
      () => {},
      () => {},
    );
    return result;
  }

  #requireOpen(): void {
    if (!this.#open) throw new ClosedError('Guest memory');
  }

  async #commit({ added, removed, regions }: TransactionContent): Promise<void> {
    this.#requireOpen();
    for (const section of added) {
      this.#requireRegion(section, regions);
      this.#requireRoom(section);
    }
    const before = this.#sections;
    const after = changeSections(before, added, removed);
    await this.#tell(
      { sections: after.sections, added, removed: after.removed },
      { sections: before, added: after.removed, removed: added },
    );
    this.#sections = after.sections;
    for (const region of regions) this.#regions.set(region.id, region);
    this.#closeUnused(after.removed);
  }

  #requireRegion(section: Section, made: readonly MemoryRegion[]): void {
    const region = this.#regions.get(section.region) ?? made.find(({ id }) => id === section.region);
    if (region && section.offset >= 0 && section.offset + section.size <= region.size) return;
    throw new AddressError(
      `${describeSection(section)} needs ${hex(section.size)} bytes at offset ${hex(section.offset)} of region ${section.region}, which this machine does not have.`,
      { details: { gpa: section.gpa, size: section.size, offset: section.offset, region: section.region } },
    );
  }

  /** What devices and bitmaps are laid out for does not grow. */
  #requireRoom(section: Section): void {
    if (section.gpa + section.size <= this.end) return;
    throw new AddressError(
      `${describeSection(section)} ends above ${hex(this.end - 1)}, the last guest address of this machine: give it a hotplug window.`,
      { details: { gpa: section.gpa, size: section.size, end: this.end } },
    );
  }

  /** Tells the listeners in turn; when one refuses, those before it get the opposite. */
  async #tell(change: MemoryChange, opposite: MemoryChange): Promise<void> {
    const followed: MemoryListener[] = [];
    try {
      for (const listener of this.#listeners) {
        await listener(change);
        followed.unshift(listener);
      }
    } catch (error) {
      // Each of them, also when one cannot go back.
      const stuck: unknown[] = [];
      for (const listener of followed) await listener(opposite).catch(second => stuck.push(second));
      if (stuck.length > 0) throw halfChanged(error, stuck[0]);
      throw error;
    }
  }

  #closeUnused(removed: readonly Section[]): void {
    const used = new Set(this.#sections.map(section => section.region));
    for (const { region } of removed) {
      if (used.has(region)) continue;
      this.#regions.get(region)?.close();
      this.#regions.delete(region);
    }
  }
}

/** One region for each backend of a topology, or none. */
function makeRegions({ backends, sections }: Topology): Map<string, MemoryRegion> {
  const regions = new Map<string, MemoryRegion>();
  for (const { name, file } of backends) {
    const own = sections.find(section => section.backend === name && section.kind !== 'ram-device');
    if (file === undefined || !own) continue;
    throw new VdpaError(
      'ERR_VDPA_INVALID_ARGUMENT',
      `${describeSection(own)} is ${own.kind} in the file ${file}: a guest here gets new memory, so that nobody's is overwritten. Leave the file out; only ram-device is opened.`,
      { details: { name, file } },
    );
  }
  try {
    for (const { name, size, file } of backends) {
      regions.set(name, file === undefined ? MemoryRegion.create(name, size) : MemoryRegion.openFile(file, size));
    }
    return regions;
  } catch (error) {
    for (const region of regions.values()) region.close();
    throw error;
  }
}

/** A change that one device refused could not be taken back on another. */
function halfChanged(cause: unknown, second: unknown): VdpaError {
  const text = (error: unknown) => (error instanceof Error ? error.message : String(error));
  return new VdpaError(
    'ERR_VDPA_MEMORY',
    `Memory could not be changed: ${text(cause)} Another device that had followed could not go back: ${text(second)} Reset both.`,
    { cause },
  );
}
