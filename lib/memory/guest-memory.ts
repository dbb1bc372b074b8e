/** A machine's memory: which region stands behind which guest physical address. */
import { AddressError, hex } from '../errors.js';
import { MemoryRegion } from './region.js';

/** Contiguous guest memory in one region. Plain data: it goes to workers as it is. */
export interface Section {
  /** First guest physical address. */
  readonly gpa: number;
  readonly size: number;
  /** Id of the memory region, and where in it the section starts. */
  readonly region: number;
  readonly offset: number;
}

export class GuestMemory {
  readonly sections: readonly Section[];
  readonly #regions = new Map<number, MemoryRegion>();

  private constructor(sections: readonly Section[], regions: readonly MemoryRegion[]) {
    this.sections = sections;
    for (const region of regions) this.#regions.set(region.id, region);
  }

  /** Makes `size` bytes of sparse guest memory from guest address 0. */
  static create(size: number): GuestMemory {
    const region = MemoryRegion.create('guest-memory', size);
    return new GuestMemory([{ gpa: 0, size: region.size, region: region.id, offset: 0 }], [region]);
  }

  /** The same memory in another thread. */
  static open(sections: readonly Section[]): GuestMemory {
    const ids = new Set(sections.map(section => section.region));
    return new GuestMemory(
      sections,
      [...ids].map(id => MemoryRegion.open(id)),
    );
  }

  /** Bytes of memory. */
  get size(): number {
    return this.sections.reduce((sum, section) => sum + section.size, 0);
  }

  /** The first guest address above all memory. */
  get end(): number {
    return this.sections.reduce((end, section) => Math.max(end, section.gpa + section.size), 0);
  }

  /**
   * A window on [gpa, gpa + length).
   * @throws AddressError when the range is not inside one section.
   */
  view(gpa: number, length: number): ArrayBuffer {
    const section = this.sections.find(s => gpa >= s.gpa && gpa + length <= s.gpa + s.size);
    const region = section && this.#regions.get(section.region);
    if (!section || !region) {
      throw new AddressError(
        `Guest addresses ${hex(gpa)} to ${hex(gpa + length - 1)} are not inside one memory section.`,
        {
          details: { gpa, length },
        },
      );
    }
    return region.view(section.offset + (gpa - section.gpa), length);
  }

  /** Gives up this thread's windows; the thread that made the memory frees it. */
  close(): void {
    for (const region of this.#regions.values()) region.close();
  }
}
