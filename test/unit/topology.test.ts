/** What may be a machine's memory, and what is told about what may not. */
import { describe, expect, it } from 'vitest';
import { UnsupportedError, type VdpaError } from '../../lib/errors.js';
import { checkTopology } from '../../lib/memory/check-topology.js';
import {
  flatTopology,
  memoryBytes,
  refuseUnmappable,
  type Topology,
  type TopologySection,
} from '../../lib/memory/topology.js';

const DRAM = { name: 'dram', size: 0x10000 };
const LAST = 2 ** 53 - 1;

function section(change: Partial<TopologySection> = {}): TopologySection {
  return { name: 'low', kind: 'ram', gpa: 0, size: 0x1000, backend: 'dram', offset: 0, ...change };
}

function trap(change: Partial<TopologySection> = {}): TopologySection {
  return { name: 'uart', kind: 'io', gpa: 0x100000, size: 0x1000, offset: 0, ...change };
}

function machine(sections: TopologySection[], more: Partial<Topology> = {}): Topology {
  return { backends: [DRAM], sections, ...more };
}

describe('a flat machine', () => {
  it('is one section of RAM from address 0', () => {
    expect(flatTopology(2 ** 30)).toEqual({
      backends: [{ name: 'ram', size: 2 ** 30 }],
      sections: [{ name: 'ram', kind: 'ram', gpa: 0, size: 2 ** 30, backend: 'ram', offset: 0 }],
    });
  });

  it.each([0, -4096, 1.5, Number.NaN, 2 ** 53])('is not made of %d bytes', size => {
    expect(() => flatTopology(size)).toThrow(expect.objectContaining({ code: 'ERR_VDPA_INVALID_ARGUMENT' }));
  });
});

describe('a topology', () => {
  it('comes back sorted, and is otherwise what was given', () => {
    const high = section({ name: 'high', gpa: 0x200000, offset: 0x1000 });
    const given = machine([high, section(), trap()], { hotplug: { base: 0x1000000, size: 0x1000, slots: 1 } });
    const checked = checkTopology(given);
    expect(checked).toEqual({ ...given, sections: [section(), trap(), high] });
    expect(given.sections[0]).toBe(high);
  });

  it('may touch without overlap, and may end at 2^53-1', () => {
    const next = section({ name: 'next', gpa: 0x1000, offset: 0x1000 });
    const top = section({ name: 'top', gpa: LAST - 0x1000 });
    const hotplug = { base: 0x2000, size: 0x1000, slots: 1 };
    const after = section({ name: 'after', gpa: 0x3000 });
    expect(checkTopology(machine([section(), next, after, top], { hotplug })).sections).toHaveLength(4);
  });

  it('may have the same memory at several addresses', () => {
    expect(checkTopology(machine([section(), section({ gpa: 0x100000, kind: 'rom' })])).sections).toHaveLength(2);
  });

  it.each<[string, Topology, string]>([
    ['a backend without a name', { backends: [{ name: '', size: 1 }], sections: [] }, 'backends[0] has an empty name'],
    ['a backend of nothing', { backends: [{ name: 'a', size: 0 }], sections: [] }, 'backends[0] (a) has 0 bytes'],
    ['half a byte', { backends: [{ name: 'a', size: 0.5 }], sections: [] }, 'backends[0] (a) has 0.5 bytes'],
    ['two backends of one name', { backends: [DRAM, DRAM], sections: [] }, 'backends[1] has the name dram'],
    ['a section without a name', machine([section({ name: '' })]), 'sections[0] has an empty name'],
    ['a section of nothing', machine([section({ size: 0 })]), 'sections[0] (low) has 0 bytes at guest address 0'],
    ['a negative address', machine([section({ gpa: -4096 })]), 'has 4096 bytes at guest address -4096'],
    ['half an address', machine([section({ gpa: 0.5 })]), 'at guest address 0.5'],
    [
      'the end above 2^53-1',
      machine([section({ gpa: LAST - 0xfff })]),
      'sections[0] (low) ends above 2^53-1: 0x1000 bytes at 0x1ffffffffff000',
    ],
    [
      'RAM without a backend',
      machine([{ name: 'low', kind: 'ram', gpa: 0, size: 0x1000, offset: 0 }]),
      'sections[0] (low at 0x0-0xfff) is ram and has no backend: name the memory behind it (there is dram)',
    ],
    [
      'an unknown backend',
      machine([section({ kind: 'rom', backend: 'dream' })]),
      'sections[0] (low at 0x0-0xfff) is in backend dream, which does not exist: there is dram',
    ],
    ['registers with a backend', machine([trap({ backend: 'dram' })]), 'is io and has a backend'],
    ['registers with an offset', machine([trap({ kind: 'iommu', offset: 4 })]), 'is iommu and has a backend'],
    [
      'more than its backend has',
      machine([section({ offset: 0xf001 })]),
      'takes 0x1000 bytes at offset 0xf001 of backend dram, which has 0x10000',
    ],
    ['a negative offset', machine([section({ offset: -1 })]), 'at offset -1 of backend dram'],
    [
      'an overlap of one byte',
      machine([trap(), section({ name: 'high', gpa: 0xff001, size: 0x1000 })]),
      'sections[0] (uart at 0x100000-0x100fff) overlaps sections[1] (high at 0xff001-0x100000)',
    ],
    [
      'one section inside another',
      machine([section({ size: 0x4000 }), section({ name: 'in', gpa: 0x1000 })]),
      'sections[1] (in at 0x1000-0x1fff) overlaps sections[0] (low at 0x0-0x3fff)',
    ],
    ['no RAM', machine([section({ kind: 'rom' }), trap()]), 'The machine has no RAM'],
    [
      'a section in the hotplug window',
      machine([section({ size: 0x1001 })], { hotplug: { base: 0x1000, size: 0x1000, slots: 1 } }),
      'low at 0x0-0x1000 is in the hotplug window 0x1000-0x1fff',
    ],
    ['an empty hotplug window', machine([section()], { hotplug: { base: 4096, size: 0, slots: 1 } }), 'has 0 bytes'],
    ['a window above 2^53', machine([section()], { hotplug: { base: LAST, size: 1, slots: 1 } }), 'ends below 2^53'],
    [
      'a window within a page',
      machine([section()], { hotplug: { base: 0x2001, size: 0x1000, slots: 1 } }),
      'starts at 0x2001: it starts at a whole page of 4 KiB',
    ],
    [
      'too many slots',
      machine([section()], { hotplug: { base: 4096, size: 4096, slots: 257 } }),
      'has 257 slots: each section that is plugged in takes one, and there are 1 to 256',
    ],
    ['no slots', machine([section()], { hotplug: { base: 4096, size: 4096, slots: 0 } }), 'has 0 slots'],
  ])('is refused with %s', (_, topology, message) => {
    expect(() => checkTopology(topology)).toThrow(expect.objectContaining({ code: 'ERR_VDPA_INVALID_ARGUMENT' }));
    expect(() => checkTopology(topology)).toThrow(message);
  });

  it('is refused in the words of its source', () => {
    const bad = machine([section(), section({ offset: -1, gpa: 0x1000 })]);
    expect(() => checkTopology(bad, (_, index) => `line ${index + 10}`)).toThrow(/^line 11 \(low at 0x1000-0x1fff\)/);
  });
});

describe('bytes of memory', () => {
  it('are those of RAM and ROM, without other devices and registers', () => {
    const device = section({ kind: 'ram-device', gpa: 0x20000, offset: 0x8000 });
    expect(
      memoryBytes(machine([section(), section({ kind: 'rom', gpa: 0x10000, offset: 0x4000 }), device, trap()])),
    ).toBe(0x2000);
    expect(memoryBytes(4096)).toBe(4096);
  });

  it('count aliases once, also where they overlap, contain each other or are in other backends', () => {
    const places: [string, number, number][] = [
      ['dram', 0, 0x4000],
      ['other', 0x1000, 0x1000],
      ['dram', 0x1000, 0x1000],
      ['dram', 0x3000, 0x2000],
      ['dram', 0x8000, 0x1000],
      ['other', 0, 0x1000],
    ];
    const sections = places.map(([backend, offset, size], index) =>
      section({ backend, offset, size, gpa: index * 0x10000 }),
    );
    expect(memoryBytes({ backends: [DRAM, { name: 'other', size: 0x2000 }], sections })).toBe(0x5000 + 0x1000 + 0x2000);
  });
});

describe('memory that no device can be given', () => {
  const guarded = trap({ name: 'private', kind: 'protected' });

  function refusal(topology: Topology): VdpaError {
    try {
      refuseUnmappable(topology);
    } catch (error) {
      if (error instanceof UnsupportedError) return error;
    }
    throw new Error('not refused');
  }

  it('is not in a machine with memory, registers and other devices', () => {
    refuseUnmappable(machine([section(), trap(), section({ kind: 'ram-device', gpa: 0x20000 })], { iommus: [] }));
  });

  it('is what the guest translates, wherever it is said', () => {
    const { code, message, details } = refusal(machine([section(), trap({ name: 'smmu', kind: 'iommu' })]));
    expect(code).toBe('ERR_VDPA_UNSUPPORTED');
    expect(message).toContain("guest IOMMU: smmu at 0x100000-0x100fff. Its mappings come from the guest's page tables");
    expect(details).toEqual({ name: 'smmu', kind: 'iommu', sections: 1 });
    const iommus = ['vtd-00.0-dmar', 'vtd-01.0-dmar', 'vtd-02.0-dmar', 'vtd-03.0-dmar'];
    expect(refusal(machine([section()], { iommus })).message).toContain(
      'vtd-00.0-dmar, vtd-01.0-dmar, vtd-02.0-dmar and 1 more.',
    );
  });

  it('is what the guest protects', () => {
    const { code, message, details } = refusal(machine([section(), guarded]));
    expect(code).toBe('ERR_VDPA_UNSUPPORTED');
    expect(message).toContain('protected memory: private at 0x100000-0x100fff. A device can neither read nor write it');
    expect(details).toEqual({ name: 'private', kind: 'protected', sections: 1 });
  });

  it('is known as such in a machine that has nothing else', () => {
    expect(checkTopology(machine([guarded])).sections).toEqual([guarded]);
  });
});
