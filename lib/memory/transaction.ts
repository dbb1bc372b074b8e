/** A change of a machine's memory: sections that come and go together, or not at all. */
import { AddressError, hex, UnsupportedError, VdpaError } from '../errors.js';
import { MemoryRegion } from './region.js';
import { describeSection, type MemoryKind, type Section } from './section.js';
import type { SectionKind } from './topology.js';

/** Memory to add. */
export interface NewMemory {
  readonly name: string;
  /** Default: ram. */
  readonly kind?: SectionKind;
  /** First guest physical address. */
  readonly gpa: number;
  readonly size: number;
  /** Id of a region that the machine has already, of which this is an alias, and where in it; without one a new region is made. */
  readonly region?: number;
  readonly offset?: number;
}

/** What a transaction holds at its commit. */
export interface TransactionContent {
  readonly added: readonly Section[];
  /** First guest addresses of the sections that go. */
  readonly removed: readonly number[];
  /** Regions that were made for what is added. */
  readonly regions: readonly MemoryRegion[];
}

export class MemoryTransaction {
  readonly #added: Section[] = [];
  readonly #removed: number[] = [];
  readonly #regions: MemoryRegion[] = [];
  readonly #commit: (content: TransactionContent) => Promise<void>;
  #ended = false;

  /** @param commit Carries the change out, whole, or throws and has changed nothing. */
  constructor(commit: (content: TransactionContent) => Promise<void>) {
    this.#commit = commit;
  }

  /**
   * Adds memory.
   * @throws UnsupportedError for memory that no device can be given; VdpaError ERR_VDPA_MEMORY when the system has none.
   */
  add({ name, kind = 'ram', gpa, size, region, offset = 0 }: NewMemory): Section {
    this.#requireOpen();
    const memory = memoryKind(name, kind);
    const made = region === undefined ? MemoryRegion.create(name, offset + size) : undefined;
    if (made) this.#regions.push(made);
    const section = { name, kind: memory, gpa, size, region: region ?? made!.id, offset };
    this.#added.push(section);
    return section;
  }

  /** Removes the section that starts at this guest address. */
  remove(gpa: number): void {
    this.#requireOpen();
    this.#removed.push(gpa);
  }

  /**
   * Makes the change: every device that has the memory mapped follows.
   * @throws AddressError when sections would overlap, or one to remove is not there, or a device cannot map it; nothing has
   *   changed then.
   */
  async commit(): Promise<void> {
    this.#requireOpen();
    this.#ended = true;
    try {
      await this.#commit({ added: this.#added, removed: this.#removed, regions: this.#regions });
    } catch (error) {
      // Should a device hold one of them all the same, the addon keeps it in memory (native/device_file.h).
      for (const region of this.#regions) region.close();
      throw error;
    }
  }

  /** Gives it up, unless it has ended. */
  abort(): void {
    if (this.#ended) return;
    this.#ended = true;
    for (const region of this.#regions) region.close();
  }

  #requireOpen(): void {
    if (this.#ended) throw new VdpaError('ERR_VDPA_INVALID_ARGUMENT', 'This memory transaction has ended.');
  }
}

/** Sections after a change, by address, and those that went. @throws AddressError when it cannot be. */
export function changeSections(
  sections: readonly Section[],
  added: readonly Section[],
  removed: readonly number[],
): { sections: Section[]; removed: Section[] } {
  const going = new Set(removed);
  const kept = sections.filter(section => !going.has(section.gpa));
  const gone = sections.filter(section => going.has(section.gpa));
  if (gone.length !== removed.length) {
    const starts = new Set(sections.map(section => section.gpa));
    const missing = removed.find(gpa => !starts.has(gpa)) ?? removed[0]!;
    throw new AddressError(`No section to remove starts at guest address ${hex(missing)}, or it was removed twice.`, {
      details: { gpa: missing },
    });
  }
  const changed = [...kept, ...added].sort((a, b) => a.gpa - b.gpa);
  refuseOverlap(changed);
  return { sections: changed, removed: gone };
}

function refuseOverlap(sections: readonly Section[]): void {
  sections.forEach((section, index) => {
    const { gpa, size } = section;
    if (!(Number.isSafeInteger(gpa) && gpa >= 0 && size > 0 && Number.isSafeInteger(gpa + size))) {
      throw new AddressError(`Section ${section.name} (${size} bytes at ${gpa}) is not within 53 bits of addresses.`, {
        details: { gpa, size },
      });
    }
    const next = sections[index + 1];
    if (!next || gpa + size <= next.gpa) return;
    throw new AddressError(
      `${describeSection(next)} overlaps ${describeSection(section)}: guest memory is flat, so remove one in the same transaction.`,
      { details: { gpa: next.gpa, other: gpa } },
    );
  });
}

function memoryKind(name: string, kind: SectionKind): MemoryKind {
  if (kind === 'ram' || kind === 'rom' || kind === 'ram-device') return kind;
  throw new UnsupportedError(`Section ${name} is ${kind}, which has no memory that a device could be given.`, {
    details: { name, kind },
  });
}
