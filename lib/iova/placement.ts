/**
 * Where guest memory and the shadow rings stand in a device's address space.
 *
 * In passthrough the descriptors hold guest addresses, so IOVA = GPA by nature. While shadowed, memory may stay there
 * (identity) or stand elsewhere (relocated), which proves that every address was translated.
 */
import type { GuestMemory, Section } from '../memory/guest-memory.js';
import type { MemoryRegion } from '../memory/region.js';
import type { IovaMap } from './map.js';
import type { TranslationEntry } from './translation.js';

export type Placement = 'identity' | 'relocated';

/** Distance between a guest address and its IOVA while relocated. */
export const RELOCATION = 2 ** 40;

/** The shadow rings stand at a multiple of this, above guest memory, so that they never share a large IOMMU page with it. */
const SHADOW_ALIGN = 2 ** 21;

/** Address of the shadow rings: in the hole above guest memory, the same whether shadowed or not. */
export function shadowRingsIova(memory: GuestMemory, placement: Placement): number {
  const above = Math.ceil(memory.end / SHADOW_ALIGN) * SHADOW_ALIGN + SHADOW_ALIGN;
  return placement === 'relocated' ? above + 2 * RELOCATION : above;
}

/**
 * The maps of a device in passthrough, or shadowed. The shadow rings are in both: they are mapped once, with memory, so that a
 * switch in identity placement sends no IOTLB message.
 */
export function wantedMaps(
  memory: GuestMemory,
  rings: MemoryRegion,
  placement: Placement,
  shadowed: boolean,
): IovaMap[] {
  const distance = shadowed && placement === 'relocated' ? RELOCATION : 0;
  return [
    ...memory.sections.map(section => sectionMap(section, distance)),
    { iova: shadowRingsIova(memory, placement), size: rings.size, region: rings.id, offset: 0, perm: 'rw' },
  ];
}

/** Guest address to IOVA while shadowed. */
export function guestTranslation(memory: GuestMemory, placement: Placement): TranslationEntry[] {
  const distance = placement === 'relocated' ? RELOCATION : 0;
  return memory.sections.map(({ gpa, size }) => ({ from: gpa, size, to: gpa + distance, writable: true }));
}

function sectionMap({ gpa, size, region, offset }: Section, distance: number): IovaMap {
  return { iova: gpa + distance, size, region, offset, perm: 'rw' };
}
