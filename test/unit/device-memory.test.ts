/** A machine's memory in a device's address space: where everything stands, and what is left out. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DeviceMemory, type DeviceMemoryOptions } from '../../lib/iova/device-memory.js';
import type { IovaLimits } from '../../lib/iova/limits.js';
import { type Placement, RELOCATION } from '../../lib/iova/placement.js';
import { Translation } from '../../lib/iova/translation.js';
import { MemoryRegion, regionAddress } from '../../lib/memory/region.js';
import type { Section } from '../../lib/memory/section.js';
import { Chain } from '../../lib/ring/chain.js';
import { NO_LIMITS, randoms } from './iova-support.js';
import { ramSection } from './memory-support.js';

const PAGE = 4096;
const MIB = 2 ** 20;
const GIB = 2 ** 30;

let big: MemoryRegion;
let small: MemoryRegion;
let rings: MemoryRegion;
beforeAll(() => {
  big = MemoryRegion.create('big', 2 * GIB);
  small = MemoryRegion.create('small', 16 * MIB);
  rings = MemoryRegion.create('rings', 16 * PAGE);
});
afterAll(() => {
  for (const region of [big, small, rings]) region.close();
});

const ram = (gpa: number, size: number, region: MemoryRegion, offset = 0, more: Partial<Section> = {}) =>
  ramSection({ gpa, size, region: region.id, offset, ...more });

function describeMemory(
  sections: readonly Section[],
  placement: Placement,
  { limits = {}, ...more }: Partial<Omit<DeviceMemoryOptions, 'limits'>> & { limits?: Partial<IovaLimits> } = {},
  previous?: DeviceMemory,
  refused?: ReadonlySet<number>,
): DeviceMemory {
  const end = Math.max(...sections.map(({ gpa, size }) => gpa + size));
  const options = { placement, end, rings: { region: rings.id, size: rings.size }, ...more };
  return new DeviceMemory(sections, { ...options, limits: { ...NO_LIMITS, ...limits } }, previous, refused);
}

/** Guest address to IOVA, byte by byte or not at all. */
function translate(memory: DeviceMemory, gpa: number, write = false): number | undefined {
  const out = new Chain(1);
  return new Translation(memory.translation()).translate(gpa, 1, write, out) ? out.addr[0] : undefined;
}

describe('a machine on a device', () => {
  const sections = () => [ram(0, MIB, big), ram(GIB, GIB, big, GIB), ram(3 * GIB, MIB, small, 0, { kind: 'rom' })];

  it.each<[Placement, number]>([
    ['identity', 0],
    ['relocated', RELOCATION],
  ])('stands at its guest addresses in passthrough; while shadowed at a fixed distance: %s', (placement, distance) => {
    const memory = describeMemory(sections(), placement);
    const own = (shadowed: boolean) => memory.maps(shadowed).filter(map => map.region !== rings.id);
    expect(own(false).map(map => [map.iova, map.perm])).toEqual([
      [0, 'rw'],
      [GIB, 'rw'],
      [3 * GIB, 'ro'],
    ]);
    expect(own(true).map(map => map.iova)).toEqual([distance, GIB + distance, 3 * GIB + distance]);
    expect(translate(memory, GIB + 5)).toBe(GIB + 5 + distance);
    expect(translate(memory, 3 * GIB, true)).toBeUndefined();
    expect(translate(memory, 2 * GIB)).toBeUndefined();
  });

  it('stands anywhere in a small window when it is allocated, in large pages where it can', () => {
    const window = { first: BigInt(4 * PAGE), last: BigInt(4 * GIB - 1) };
    const far = [ram(2 ** 40, GIB, big, GIB), ram(2 ** 41, 2 * MIB, small, 4 * MIB)];
    const memory = describeMemory(far, 'allocated', { limits: window });
    for (const { iova, size } of memory.maps(true)) {
      expect(iova).toBeGreaterThanOrEqual(4 * PAGE);
      expect(iova + size).toBeLessThanOrEqual(4 * GIB);
    }
    expect(translate(memory, 2 ** 40)! % GIB).toBe(regionAddress(big.id) % GIB);
    expect(translate(memory, 2 ** 41)! % (2 * MIB)).toBe((regionAddress(small.id) + 4 * MIB) % (2 * MIB));
    expect(memory.coverage()).toMatchObject({ in1GiB: GIB, in2MiB: 2 * MIB });
  });

  it('has its shadow rings at one address, shadowed or not, that guest memory never has', () => {
    for (const placement of ['identity', 'relocated', 'allocated'] as const) {
      const hotplug = { base: 8 * GIB, size: 8 * GIB };
      const memory = describeMemory(sections(), placement, { hotplug, end: 16 * GIB });
      const at = (shadowed: boolean) => memory.maps(shadowed).find(map => map.region === rings.id);
      expect(at(true)).toEqual(at(false));
      expect(at(true)!.iova).toBe(memory.ringsIova);
      expect(memory.ringsIova).toBeGreaterThanOrEqual(16 * GIB);
    }
  });

  it('keeps every place through a change, and a new one finds its own', () => {
    const before = describeMemory(sections(), 'allocated');
    const after = describeMemory([...sections().slice(1), ram(0, 2 * MIB, small)], 'allocated', {}, before);
    expect(translate(after, GIB)).toBe(translate(before, GIB));
    expect(after.ringsIova).toBe(before.ringsIova);
    // The other memory at guest address 0 is not the old one's heir.
    const ends = after.maps(true).map(({ iova, size }) => [iova, iova + size] as const);
    ends.sort(([a], [b]) => a - b);
    ends.slice(1).forEach(([start], i) => {
      expect(start).toBeGreaterThanOrEqual(ends[i]![1]);
    });
  });

  it('shows the same memory at several addresses, each with a map of its own', () => {
    const memory = describeMemory([ram(0, 2 * MIB, small), ram(GIB, MIB, small, MIB, { kind: 'rom' })], 'allocated');
    const original = translate(memory, MIB)!;
    const alias = translate(memory, GIB)!;
    expect(alias).not.toBe(original);
    const behind = (iova: number) => memory.maps(true).find(map => iova >= map.iova && iova < map.iova + map.size)!;
    for (const iova of [original, alias]) {
      const map = behind(iova);
      expect(map.offset + iova - map.iova).toBe(MIB);
    }
    expect(behind(alias).perm).toBe('ro');
  });

  it('that reaches out of the device is refused, with the section and the range', () => {
    const message = expect.stringMatching(/ram at 0x40000000-0x7fffffff \(ram\) cannot be mapped.*0x3fffffff/);
    const refused = expect.objectContaining({ code: 'ERR_VDPA_ADDRESS', message });
    expect(() => describeMemory(sections(), 'identity', { limits: { last: BigInt(GIB - 1) } })).toThrow(refused);
  });

  it('on a window the IOMMU keeps is refused, with the window; allocated it goes around', () => {
    const limits = { reserved: [{ first: GIB + MIB, last: GIB + 2 * MIB - 1, type: 'msi' }] };
    const refused = expect.objectContaining({
      code: 'ERR_VDPA_ADDRESS',
      message: expect.stringMatching(/ram.*0x40100000/),
    });
    expect(() => describeMemory(sections(), 'identity', { limits })).toThrow(refused);
    const memory = describeMemory(sections(), 'allocated', { limits });
    for (const { iova, size } of memory.maps(true)) {
      expect(iova >= GIB + 2 * MIB || iova + size <= GIB + MIB).toBe(true);
    }
  });

  it("goes without another device's memory that is out of reach or that the kernel refused", () => {
    const bar = ram(2 ** 41, MIB, small, 0, { name: 'bar', kind: 'ram-device' });
    const limits = { last: 2n ** 40n };
    expect(describeMemory([...sections(), bar], 'identity', { limits, end: 4 * GIB }).skipped).toMatchObject([
      { name: 'bar', reason: 'out-of-range' },
    ]);
    const refused = describeMemory([...sections(), bar], 'identity', {}, undefined, new Set([bar.region]));
    expect(refused.skipped).toMatchObject([{ name: 'bar', reason: 'refused' }]);
    expect(refused.optional(false)).toEqual(new Set());
    // That is said of devices' memory only.
    const own = ram(2 ** 41, MIB, small);
    expect(describeMemory([own], 'identity', {}, undefined, new Set([own.region])).skipped).toEqual([]);
    const whole = describeMemory([...sections(), bar], 'relocated');
    expect(whole.optional(false)).toEqual(new Set([2 ** 41]));
    expect(whole.optional(true)).toEqual(new Set([2 ** 41 + RELOCATION]));
  });
});

describe('random machines', () => {
  it.each([PAGE, 4 * PAGE, 16 * PAGE])(
    'every byte at the edges of every granule of %d is where its memory is, or nowhere',
    { timeout: 60_000 },
    granule => {
      const random = randoms(granule);
      for (let round = 0; round < 150; round++) {
        const placement = (['identity', 'relocated', 'allocated'] as const)[round % 3]!;
        const sections: Section[] = [];
        for (let gpa = 0, i = 0; i < 12; i++) {
          gpa += random(3) * PAGE;
          const size = (1 + random(40)) * PAGE;
          // Aliases, fragments out of order; the offset fits the address within a granule.
          const offset = random(100) * granule + (gpa % granule);
          const kind = random(4) === 0 ? 'rom' : 'ram';
          sections.push(ram(gpa, size, random(2) ? big : small, offset, { kind }));
          gpa += size;
        }
        const memory = describeMemory(sections, placement, { limits: { granule } });
        const translation = new Translation(memory.translation());
        const maps = memory.maps(true);
        const out = new Chain(1);
        for (const { gpa, size, region, offset, kind } of sections) {
          for (let at = gpa; at < gpa + size; at += PAGE) {
            const whole = Math.floor(at / granule) * granule;
            const inside = whole >= gpa && whole + granule <= gpa + size;
            for (const byte of [at, at + PAGE - 1]) {
              out.reset();
              const found = translation.translate(byte, 1, false, out);
              expect(found).toBe(inside);
              if (!found) continue;
              const iova = out.addr[0]!;
              const map = maps.find(m => iova >= m.iova && iova < m.iova + m.size)!;
              expect([map.region, map.offset + iova - map.iova]).toEqual([region, offset + byte - gpa]);
              expect(map.perm).toBe(kind === 'rom' ? 'ro' : 'rw');
            }
          }
        }
      }
    },
  );
});
