/**
 * What a machine's memory consists of, before any of it is made: memory behind guest addresses as the guest's CPU sees it, flat.
 * It comes from a size, from the PC-like q35 (q35.ts), from a file (machine-file.ts) or from QEMU's own words (mtree.ts).
 */
import { UnsupportedError } from '../errors.js';
import { checkTopology } from './check-topology.js';
import { describeSection } from './section.js';

/**
 * What stands behind a section. `ram`, `rom` (read only) and `ram-device` (another device's memory, such as a PCI BAR) have a
 * backend. `io` traps, so a device cannot be given it; `iommu` is translated by the guest; `protected` is closed to devices.
 */
export type SectionKind = 'ram' | 'rom' | 'ram-device' | 'io' | 'iommu' | 'protected';

export const SECTION_KINDS = ['ram', 'rom', 'ram-device', 'io', 'iommu', 'protected'] as const satisfies SectionKind[];

/** Contiguous memory of the host. Sections of one backend that share offsets are aliases: the same bytes at several addresses. */
export interface Backend {
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** What holds it; without one it is made, and empty. */
  readonly file?: string;
}

/** Guest addresses with one thing behind them. */
export interface TopologySection {
  /** The memory region's name, as messages show it. */
  readonly name: string;
  readonly kind: SectionKind;
  /** First guest physical address. */
  readonly gpa: number;
  /** Bytes. */
  readonly size: number;
  readonly backend?: string;
  /** Where in the backend the section starts. */
  readonly offset: number;
}

/** Guest addresses kept free for memory that may be plugged in, one section a slot. */
export interface HotplugWindow {
  readonly base: number;
  readonly size: number;
  readonly slots: number;
}

export interface Topology {
  readonly backends: readonly Backend[];
  /** Sorted by address, without overlap. */
  readonly sections: readonly TopologySection[];
  readonly hotplug?: HotplugWindow;
  /** IOMMUs of the guest that translate what its devices access, each by the name of its memory region. */
  readonly iommus?: readonly string[];
}

/** A machine with nothing but `size` bytes of memory from guest address 0. @throws VdpaError ERR_VDPA_INVALID_ARGUMENT */
export function flatTopology(size: number): Topology {
  return checkTopology({
    backends: [{ name: 'ram', size }],
    sections: [{ name: 'ram', kind: 'ram', gpa: 0, size, backend: 'ram', offset: 0 }],
  });
}

/** Bytes of the guest's own memory, RAM and ROM, each counted once however many addresses it has. */
export function memoryBytes(machine: number | Topology): number {
  if (typeof machine === 'number') return machine;
  const places = machine.sections
    .filter(({ kind }) => kind === 'ram' || kind === 'rom')
    .map(({ backend = '', offset, size }) => ({ backend, offset, end: offset + size }))
    .sort((a, b) => (a.backend === b.backend ? a.offset - b.offset : a.backend < b.backend ? -1 : 1));
  let bytes = 0;
  let reached = { backend: '', end: 0 };
  for (const { backend, offset, end } of places) {
    const from = backend === reached.backend ? Math.max(offset, reached.end) : offset;
    if (end > from) {
      bytes += end - from;
      reached = { backend, end };
    }
  }
  return bytes;
}

/**
 * @throws UnsupportedError when no device can be given this machine's memory: the guest translates addresses with an IOMMU of its
 *   own, or protects memory.
 */
export function refuseUnmappable({ sections, iommus = [] }: Topology): void {
  const translated = [
    ...iommus.map(name => ({ name, where: name })),
    ...sections.filter(({ kind }) => kind === 'iommu').map(named),
  ];
  const guarded = sections.filter(({ kind }) => kind === 'protected').map(named);
  if (translated.length > 0) {
    throw new UnsupportedError(
      `This machine has a guest IOMMU: ${listed(translated)}. Its mappings come from the guest's page tables, which this tool does not follow, ` +
        'so a device would reach the wrong memory. Describe the machine without it: let the guest leave it off (iommu=pt), or leave it out if your device bypasses it.',
      { details: { name: translated[0]!.name, kind: 'iommu', sections: translated.length } },
    );
  }
  if (guarded.length > 0) {
    throw new UnsupportedError(
      `This machine has protected memory: ${listed(guarded)}. A device can neither read nor write it unless its owner shares it. ` +
        'Describe what the guest shares (its bounce buffers) as ram, and leave the rest out.',
      { details: { name: guarded[0]!.name, kind: 'protected', sections: guarded.length } },
    );
  }
}

function named(section: TopologySection): { name: string; where: string } {
  return { name: section.name, where: describeSection(section) };
}

/** The first three, and how many more. */
function listed(items: readonly { readonly where: string }[]): string {
  const first = items.slice(0, 3).map(({ where }) => where);
  return `${first.join(', ')}${items.length > first.length ? ` and ${items.length - first.length} more` : ''}`;
}
