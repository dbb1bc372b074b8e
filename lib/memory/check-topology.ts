/** Whether a topology can be one: what the format of a file cannot say. */
import { hex, VdpaError } from '../errors.js';
import { describeSection } from './section.js';
import type { Backend, HotplugWindow, Topology, TopologySection } from './topology.js';

/** ACPI's tables name no more memory devices, and a list of more is a mistake. */
export const MOST_SLOTS = 256;
/** The smallest page of any guest: memory is plugged in where one starts. */
const LEAST_PAGE = 4096;

/** Tells people which entry of their input is meant. */
export type EntryName = (list: 'backends' | 'sections', index: number) => string;

/**
 * The same topology with its sections in order, if it can be one: sections do not overlap, are inside their backends and below
 * 2^53, and keep out of the hotplug window; what is memory has a backend, what is not has none; there is RAM.
 * @throws VdpaError ERR_VDPA_INVALID_ARGUMENT with the entry, its values and what to change.
 */
export function checkTopology(
  topology: Topology,
  entryName: EntryName = (list, index) => `${list}[${index}]`,
): Topology {
  const backends = checkBackends(topology.backends, entryName);
  const named = topology.sections.map((section, index) => {
    const entry = entryName('sections', index);
    checkSection(section, entry, backends);
    return { section, entry };
  });
  named.sort((a, b) => a.section.gpa - b.section.gpa);
  named.forEach((later, index) => {
    const earlier = named[index - 1];
    if (earlier) refuseOverlap(earlier, later);
  });
  const sections = named.map(({ section }) => section);
  if (!sections.some(({ kind }) => kind === 'ram' || kind === 'protected')) {
    throw invalid('The machine has no RAM: give it at least one section of kind ram.', {});
  }
  if (topology.hotplug) checkHotplug(topology.hotplug, sections);
  return { ...topology, sections };
}

function checkBackends(backends: readonly Backend[], entryName: EntryName): Map<string, Backend> {
  const byName = new Map<string, Backend>();
  backends.forEach((backend, index) => {
    const { name, size } = backend;
    const entry = entryName('backends', index);
    if (name === '') throw invalid(`${entry} has an empty name: sections refer to it by name.`, { entry });
    if (!(Number.isSafeInteger(size) && size > 0)) {
      throw invalid(`${entry} (${name}) has ${size} bytes: a backend has a whole number of bytes, from 1 to 2^53-1.`, {
        entry,
        size,
      });
    }
    if (byName.has(name)) {
      throw invalid(`${entry} has the name ${name}, as another backend has: each needs a name of its own.`, {
        entry,
        name,
      });
    }
    byName.set(name, backend);
  });
  return byName;
}

function checkSection(section: TopologySection, entry: string, backends: ReadonlyMap<string, Backend>): void {
  const { name, kind, gpa, size, backend, offset } = section;
  if (name === '') throw invalid(`${entry} has an empty name: messages need one.`, { entry });
  if (!(Number.isSafeInteger(gpa) && gpa >= 0 && Number.isSafeInteger(size) && size > 0)) {
    throw invalid(
      `${entry} (${name}) has ${size} bytes at guest address ${gpa}: both are whole numbers below 2^53, and a section has at least one byte.`,
      { entry, gpa, size },
    );
  }
  if (!Number.isSafeInteger(gpa + size)) {
    throw invalid(
      `${entry} (${name}) ends above 2^53-1: ${hex(size)} bytes at ${hex(gpa)}. No machine has such addresses.`,
      {
        entry,
        gpa,
        size,
      },
    );
  }
  const label = `${entry} (${describeSection(section)})`;
  if (kind === 'ram' || kind === 'rom' || kind === 'ram-device') {
    checkPlace(label, section, backend === undefined ? undefined : backends.get(backend), backends);
  } else if (backend !== undefined || offset !== 0) {
    throw invalid(
      `${label} is ${kind} and has a backend: there is no memory behind it. Remove backend and offset, or make it ram.`,
      {
        entry,
        kind,
      },
    );
  }
}

function checkPlace(
  label: string,
  { kind, size, backend: wanted, offset }: TopologySection,
  backend: Backend | undefined,
  backends: ReadonlyMap<string, Backend>,
): void {
  if (!backend) {
    const known = [...backends.keys()].slice(0, 8).join(', ') || 'none';
    throw invalid(
      wanted === undefined
        ? `${label} is ${kind} and has no backend: name the memory behind it (there is ${known}).`
        : `${label} is in backend ${wanted}, which does not exist: there is ${known}.`,
      { kind, backend: wanted },
    );
  }
  if (Number.isSafeInteger(offset) && offset >= 0 && offset + size <= backend.size) return;
  throw invalid(
    `${label} takes ${hex(size)} bytes at offset ${offset >= 0 ? hex(offset) : offset} of backend ${backend.name}, which has ${hex(backend.size)}: ` +
      'make the backend larger or the section smaller.',
    { size, offset, backend: backend.name, backend_size: backend.size },
  );
}

interface NamedSection {
  readonly section: TopologySection;
  readonly entry: string;
}

function refuseOverlap(earlier: NamedSection, later: NamedSection): void {
  if (earlier.section.gpa + earlier.section.size <= later.section.gpa) return;
  throw invalid(
    `${later.entry} (${describeSection(later.section)}) overlaps ${earlier.entry} (${describeSection(earlier.section)}): ` +
      'an address has one thing behind it, so cut one of them where the other wins.',
    { gpa: later.section.gpa, other: earlier.section.gpa },
  );
}

function checkHotplug({ base, size, slots }: HotplugWindow, sections: readonly TopologySection[]): void {
  if (!isRange(base, size)) {
    throw invalid(`The hotplug window has ${size} bytes at ${base}: it has at least one byte and ends below 2^53.`, {
      base,
      size,
    });
  }
  if (base % LEAST_PAGE !== 0) {
    throw invalid(`The hotplug window starts at ${hex(base)}: it starts at a whole page of 4 KiB.`, { base });
  }
  if (!(Number.isSafeInteger(slots) && slots > 0 && slots <= MOST_SLOTS)) {
    throw invalid(
      `The hotplug window has ${slots} slots: each section that is plugged in takes one, and there are 1 to ${MOST_SLOTS}.`,
      { slots },
    );
  }
  const inside = sections.find(section => section.gpa < base + size && section.gpa + section.size > base);
  if (!inside) return;
  throw invalid(
    `${describeSection(inside)} is in the hotplug window ${hex(base)}-${hex(base + size - 1)}: the window is free when the machine starts, so move one of them.`,
    { gpa: inside.gpa, base, size },
  );
}

function isRange(start: number, size: number): boolean {
  return start >= 0 && size > 0 && [start, size, start + size].every(Number.isSafeInteger);
}

function invalid(message: string, details: Record<string, string | number | undefined>): VdpaError {
  return new VdpaError('ERR_VDPA_INVALID_ARGUMENT', message, { details });
}
