/** Where memory and the shadow rings stand, shadowed and not, in both placements. */
import { afterEach, describe, expect, it } from 'vitest';
import type { IovaMap } from '../../lib/iova/map.js';
import { guestTranslation, type Placement, RELOCATION, shadowRingsIova, wantedMaps } from '../../lib/iova/placement.js';
import { GuestMemory } from '../../lib/memory/guest-memory.js';
import { MemoryRegion } from '../../lib/memory/region.js';

const MIB = 2 ** 20;
const PLACEMENTS: Placement[] = ['identity', 'relocated'];

const open: { close(): void }[] = [];
const closing = <T extends { close(): void }>(thing: T): T => {
  open.push(thing);
  return thing;
};
afterEach(() => {
  for (const thing of open.splice(0)) thing.close();
});

/** Memory with a hole, of which the last section is not the highest; 3 MiB in all, and ends at 9 MiB. */
function memoryWithHole(): { memory: GuestMemory; region: MemoryRegion } {
  const region = closing(MemoryRegion.create('placement', 3 * MIB));
  const memory = GuestMemory.open([
    { gpa: 0, size: MIB, region: region.id, offset: 0 },
    { gpa: 8 * MIB, size: MIB, region: region.id, offset: MIB },
    { gpa: 4 * MIB, size: MIB, region: region.id, offset: 2 * MIB },
  ]);
  return { memory: closing(memory), region };
}

const lastOf = ({ iova, size }: IovaMap) => iova + size - 1;

it('relocates by 2^40', () => {
  expect(RELOCATION).toBe(2 ** 40);
});

describe.each(PLACEMENTS)('%s', placement => {
  const setup = () => {
    const { memory, region } = memoryWithHole();
    const rings = closing(MemoryRegion.create('rings', 3 * 4096));
    return { memory, region, rings, mapsOf: (shadowed: boolean) => wantedMaps(memory, rings, placement, shadowed) };
  };

  it('puts memory at guest addresses in passthrough', () => {
    const { mapsOf, region } = setup();
    const memoryMaps = mapsOf(false).filter(map => map.region === region.id);
    expect(memoryMaps).toEqual([
      { iova: 0, size: MIB, region: region.id, offset: 0, perm: 'rw' },
      { iova: 8 * MIB, size: MIB, region: region.id, offset: MIB, perm: 'rw' },
      { iova: 4 * MIB, size: MIB, region: region.id, offset: 2 * MIB, perm: 'rw' },
    ]);
  });

  it('has memory where guest addresses translate to while shadowed', () => {
    const { mapsOf, memory, region } = setup();
    const distance = placement === 'relocated' ? 2 ** 40 : 0;
    const memoryMaps = mapsOf(true).filter(map => map.region === region.id);
    expect(memoryMaps.map(map => map.iova)).toEqual([distance, 8 * MIB + distance, 4 * MIB + distance]);
    const entries = guestTranslation(memory, placement);
    expect(entries).toEqual(
      memory.sections.map(({ gpa, size }) => ({ from: gpa, size, to: gpa + distance, writable: true })),
    );
  });

  it('maps the shadow rings once, at one place, shadowed or not', () => {
    const { mapsOf, memory, rings } = setup();
    const [before, after] = [false, true].map(shadowed => mapsOf(shadowed).filter(map => map.region === rings.id));
    expect(before).toEqual([
      { iova: shadowRingsIova(memory, placement), size: 3 * 4096, region: rings.id, offset: 0, perm: 'rw' },
    ]);
    expect(after).toEqual(before);
  });

  it('keeps the shadow rings outside all guest addresses, and off their 2 MiB pages', () => {
    const { mapsOf, memory } = setup();
    expect(shadowRingsIova(memory, placement)).toBeGreaterThanOrEqual(memory.end + 2 * MIB);
    expect(shadowRingsIova(memory, placement) % (2 * MIB)).toBe(0);
    for (const shadowed of [false, true]) {
      const maps = mapsOf(shadowed).sort((a, b) => a.iova - b.iova);
      for (const [i, map] of maps.slice(1).entries()) expect(map.iova).toBeGreaterThan(lastOf(maps[i]));
    }
  });

  it('keeps them apart for memory larger than the distance', () => {
    const huge = GuestMemory.open([]);
    Object.assign(huge, { sections: [{ gpa: 0, size: 3 * RELOCATION, region: 1, offset: 0 }] });
    const rings = closing(MemoryRegion.create('rings', 4096));
    for (const shadowed of [false, true]) {
      const [memory, shadow] = wantedMaps(huge, rings, placement, shadowed);
      expect(shadow.iova).toBeGreaterThan(lastOf(memory));
    }
  });
});

it('leaves no shadowed address inside guest memory when relocated', () => {
  const { memory } = memoryWithHole();
  const rings = closing(MemoryRegion.create('rings', 4096));
  for (const { iova } of wantedMaps(memory, rings, 'relocated', true)) expect(iova).toBeGreaterThanOrEqual(memory.end);
});
