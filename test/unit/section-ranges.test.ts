/** What of a machine's memory a device is given, on hosts of every page size. */
import { afterEach, describe, expect, it } from 'vitest';
import { sectionRanges } from '../../lib/iova/section-ranges.js';
import { MemoryRegion, regionAddress } from '../../lib/memory/region.js';
import type { Section } from '../../lib/memory/section.js';
import { ramSection } from './memory-support.js';

const K = 1024;
const region = () => {
  const made = MemoryRegion.create('sections', 2 ** 20);
  open.push(made);
  return made.id;
};
const open: MemoryRegion[] = [];
afterEach(() => {
  for (const made of open.splice(0)) made.close();
});

const device = (place: Partial<Section>): Section =>
  ramSection({ name: 'bar', kind: 'ram-device', gpa: 0, size: 4096, region: region(), offset: 0, ...place });

describe('sections of guest memory', () => {
  it('are mapped where they are: RAM for reading and writing, ROM for reading', () => {
    const id = region();
    const sections = [
      ramSection({ gpa: 0, size: 16 * K, region: id, offset: 0 }),
      ramSection({ name: 'bios', kind: 'rom', gpa: 64 * K, size: 8 * K, region: id, offset: 32 * K }),
    ];
    const { ranges, skipped } = sectionRanges(sections, 4096);
    const hva = regionAddress(id);
    expect(ranges).toEqual([
      { name: 'ram', kind: 'ram', gpa: 0, size: 16 * K, region: id, offset: 0, perm: 'rw', hva },
      {
        name: 'bios',
        kind: 'rom',
        gpa: 64 * K,
        size: 8 * K,
        region: id,
        offset: 32 * K,
        perm: 'ro',
        hva: hva + 32 * K,
      },
    ]);
    expect(skipped).toEqual([]);
  });

  it.each([4 * K, 16 * K, 64 * K])('are rounded inwards to pages of %d, the address and the memory alike', granule => {
    const [gpa, size, offset] = [granule + 512, 4 * granule, 512];
    const { ranges, skipped } = sectionRanges([ramSection({ gpa, size, region: region(), offset })], granule);
    // The first whole page of guest addresses is a page further into the memory too.
    expect(ranges).toMatchObject([{ gpa: 2 * granule, size: 3 * granule, offset: granule }]);
    expect(skipped).toMatchObject([
      { gpa: granule + 512, size: granule - 512, reason: 'unaligned' },
      { gpa: 5 * granule, size: 512, reason: 'unaligned' },
    ]);
  });

  it('smaller than a page are left out and told', () => {
    const { ranges, skipped } = sectionRanges(
      [ramSection({ gpa: 4 * K, size: 12 * K, region: region(), offset: 4 * K })],
      64 * K,
    );
    expect(ranges).toEqual([]);
    expect(skipped).toMatchObject([
      { name: 'ram', gpa: 4 * K, size: 12 * K, reason: 'unaligned', why: expect.stringContaining('0x10000') },
    ]);
  });

  it('whose address and memory differ within a page cannot be mapped: fatal for RAM', () => {
    const section = ramSection({ gpa: 512, size: 64 * K, region: region(), offset: 0 });
    const refused = (text: RegExp) =>
      expect.objectContaining({ code: 'ERR_VDPA_ADDRESS', message: expect.stringMatching(text) });
    expect(() => sectionRanges([section], 4096)).toThrow(refused(/ram at 0x200-0x101ff \(ram\) cannot be mapped/));
    expect(sectionRanges([{ ...section, gpa: 16 * K }], 16 * K).ranges).toHaveLength(1);
    expect(() => sectionRanges([{ ...section, gpa: 16 * K }], 64 * K)).toThrow(refused(/ram at 0x4000-0x13fff/));
  });

  it.each<[string, Partial<Section>, number]>([
    ['starts', { gpa: 512, offset: 512 }, 4096],
    ['ends', { size: 4096 + 512 }, 4096],
    ['is aligned for another page size only', { gpa: 4096, offset: 4096 }, 64 * K],
    ['has its memory', { gpa: 4096, offset: 512 }, 4096],
  ])("another device's memory that %s unaligned is skipped whole, and nothing fails", (_, place, granule) => {
    const { ranges, skipped } = sectionRanges([device(place)], granule);
    expect(ranges).toEqual([]);
    expect(skipped).toMatchObject([
      { name: 'bar', kind: 'ram-device', reason: 'unaligned', gpa: place.gpa ?? 0, size: place.size ?? 4096 },
    ]);
  });

  it("another device's memory that is aligned is mapped", () => {
    const { ranges } = sectionRanges([device({ gpa: 64 * K })], 4096);
    expect(ranges).toMatchObject([{ kind: 'ram-device', gpa: 64 * K, perm: 'rw' }]);
  });

  it('beyond their memory would be something else, so they are refused', () => {
    // 1 MiB of memory and a page more: what follows in the address space of this process is not this memory.
    const section = ramSection({ gpa: 0, size: 2 ** 20 + 2 ** 30, region: region(), offset: 0 });
    const refused = expect.objectContaining({
      code: 'ERR_VDPA_ADDRESS',
      message: expect.stringMatching(/cannot be mapped/),
    });
    expect(() => sectionRanges([section], 4096)).toThrow(refused);
    expect(sectionRanges([{ ...section, kind: 'ram-device' }], 4096).skipped).toMatchObject([{ reason: 'unmappable' }]);
  });
});
