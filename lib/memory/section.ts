/** A part of a machine's memory, as devices come to see it. */
import type { SectionKind } from './topology.js';

/** Kinds of section that have memory behind them. */
export type MemoryKind = Extract<SectionKind, 'ram' | 'rom' | 'ram-device'>;

/** Contiguous guest memory in one region. Plain data: it goes to workers as it is. */
export interface Section {
  /** The memory's name, for messages. */
  readonly name: string;
  /** `rom` is read only; `ram-device` is another device's memory. */
  readonly kind: MemoryKind;
  /** First guest physical address. */
  readonly gpa: number;
  readonly size: number;
  /** Id of the memory region, and where in it the section starts. */
  readonly region: number;
  readonly offset: number;
}

/** A memory as another thread needs it to open the same. */
export interface MemoryShape {
  readonly sections: readonly Section[];
  /** The first guest address above all memory that is there or may be plugged in. */
  readonly end: number;
}

/** Whether it is the guest's own memory, which moves with the guest. */
export function isGuestMemory(section: Section): boolean {
  return section.kind !== 'ram-device';
}

/** Index of the section that holds the address, or -1; sections sorted by address. */
export function findSection(sections: readonly Section[], gpa: number): number {
  let low = 0;
  let high = sections.length - 1;
  while (low <= high) {
    const middle = (low + high) >>> 1;
    const section = sections[middle]!;
    if (gpa < section.gpa) high = middle - 1;
    else if (gpa >= section.gpa + section.size) low = middle + 1;
    else return middle;
  }
  return -1;
}

/** `pc.ram at 0x0-0x9ffff`. */
export function describeSection({ name, gpa, size }: { name: string; gpa: number; size: number }): string {
  return `${name} at 0x${gpa.toString(16)}-0x${(gpa + size - 1).toString(16)}`;
}
