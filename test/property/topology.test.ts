/** Topologies against a table of single cells, through their file and through what QEMU would print of them. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { VdpaError } from '../../lib/errors.js';
import { checkTopology } from '../../lib/memory/check-topology.js';
import { formatMachineFile, parseMachineFile } from '../../lib/memory/machine-file.js';
import { parseMtree } from '../../lib/memory/mtree.js';
import { q35 } from '../../lib/memory/q35.js';
import { memoryBytes, SECTION_KINDS, type Topology, type TopologySection } from '../../lib/memory/topology.js';

const G = 2 ** 30;
const CELLS = 12;
const MEMORY_KINDS = ['ram', 'rom', 'ram-device'];

/** What may be a topology, of cells of one byte, or not: few cells, so that all that can be wrong is. */
const smallTopology = fc
  .record({
    backends: fc.array(fc.record({ name: fc.constantFrom('a', 'b'), size: fc.integer({ min: 1, max: 4 }) }), {
      maxLength: 2,
    }),
    sections: fc.array(
      fc.record({
        name: fc.constant('s'),
        kind: fc.constantFrom(...SECTION_KINDS, 'ram', 'ram'),
        gpa: fc.integer({ min: 0, max: CELLS - 4 }),
        size: fc.integer({ min: 1, max: 3 }),
        backend: fc.option(fc.constantFrom('a', 'b'), { nil: undefined, freq: 4 }),
        offset: fc.constantFrom(0, 0, 1, 2),
      }),
      { maxLength: 4 },
    ),
    hotplug: fc.option(
      fc.record({ base: fc.integer({ min: 0, max: 11 }), size: fc.constant(2), slots: fc.constant(1) }),
      {
        nil: undefined,
      },
    ),
  })
  .map(({ backends, sections, hotplug }): Topology => {
    const places = sections.map(({ backend, ...section }): TopologySection => {
      if (!MEMORY_KINDS.includes(section.kind)) return { ...section, offset: 0 };
      return { ...section, ...(backend && { backend }) };
    });
    return { backends, sections: places, ...(hotplug && { hotplug }) };
  });

/** A cell is a page: where memory is plugged in starts at one. */
function inPages({ backends, sections, hotplug }: Topology): Topology {
  const page = 4096;
  return {
    backends: backends.map(backend => ({ ...backend, size: backend.size * page })),
    sections: sections.map(section => ({
      ...section,
      gpa: section.gpa * page,
      size: section.size * page,
      offset: section.offset * page,
    })),
    ...(hotplug && { hotplug: { ...hotplug, base: hotplug.base * page, size: hotplug.size * page } }),
  };
}

/** Cell by cell, whether it may be; nothing here is sorted or searched. */
function mayBe({ backends, sections, hotplug }: Topology): boolean {
  const names = backends.map(({ name }) => name);
  if (new Set(names).size < names.length) return false;
  const cells = new Map<number, number>();
  const count = (first: number, size: number) => {
    for (let cell = first; cell < first + size; cell++) cells.set(cell, (cells.get(cell) ?? 0) + 1);
  };
  for (const { kind, gpa, size, backend, offset } of sections) {
    count(gpa, size);
    if (!MEMORY_KINDS.includes(kind)) continue;
    const home = backends.find(({ name }) => name === backend);
    if (!home || offset + size > home.size) return false;
  }
  if (hotplug) count(hotplug.base, hotplug.size);
  const hasRam = sections.some(({ kind }) => kind === 'ram' || kind === 'protected');
  return hasRam && [...cells.values()].every(times => times === 1);
}

/** Sections without overlap, anywhere below 2^53, in the regions a machine has; aliases are likely. */
const machines = fc
  .array(
    fc.record({
      gap: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 2 ** 20 }), fc.integer({ min: 0, max: 2 ** 45 })),
      size: fc.oneof(fc.constantFrom(4096, 65536, G), fc.integer({ min: 1, max: 2 ** 45 })),
      name: fc.constantFrom('pc.ram', 'mem1', '0000:0c:00.0 BAR 0 mmaps[0]', 'vga ioports remapped', 'a@b', '/rom@x/y'),
      kind: fc.constantFrom('ram', 'rom', 'ram-device', 'io'),
      offset: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 2 ** 45 })),
    }),
    { minLength: 1, maxLength: 40 },
  )
  .map((parts): Topology => {
    const sizes = new Map<string, number>();
    let gpa = 0;
    const sections = parts.map(({ gap, size, name, kind, offset }, index): TopologySection => {
      gpa += gap + size;
      const section = { name, kind: index === 0 ? 'ram' : kind, gpa: gpa - size, size } as const;
      if (section.kind === 'io') return { ...section, offset: 0 };
      sizes.set(name, Math.max(sizes.get(name) ?? 0, offset + size));
      return { ...section, backend: name, offset };
    });
    return { backends: Array.from(sizes, ([name, size]) => ({ name, size })), sections };
  });

const QEMU_KINDS: Readonly<Record<string, readonly string[]>> = {
  ram: ['ram', 'nv-ram'],
  rom: ['rom', 'nv-rom'],
  'ram-device': ['ramd'],
  io: ['i/o', 'romd', 'container'],
};
const DECORATIONS = [
  '',
  ' KVM',
  ' KVM KVM',
  ' owner:{dev id=nic 1} KVM',
  ' owner:{obj path=/m} parent:{obj type=x}',
  ' orphan',
];
const NOISE = [
  'FlatView #0\n AS "I/O", root: io\n Root memory region: io\n  0000000000000000-000000000000ffff (prio 0, i/o): io\n\n',
  'FlatView #3\n AS "nic", root: x\n Root memory region: (none)\n  No rendered FlatView\n\n',
  'FlatView #4\n AS "cpu-memory-0", root: x\n Root memory region: x\n  0000000000000000-0000000000000fff (prio 0, ram): smm\n\n',
  '',
];

const digits = (value: number) => value.toString(16).padStart(16, '0');

/** What QEMU might print of a machine; `choices` decide where it may be said in several ways. */
function printMtree({ sections }: Topology, choices: readonly number[], lineEnd: string): string {
  const choose = <T>(from: readonly T[], index: number): T =>
    from[(choices[index % choices.length] ?? 0) % from.length]!;
  const lines = sections.map(({ name, kind, gpa, size, offset }, index) => {
    const at = offset === 0 ? '' : ` @${digits(offset)}`;
    const type = choose(QEMU_KINDS[kind]!, index);
    return `  ${digits(gpa)}-${digits(gpa + size - 1)} (prio ${index - 3}, ${type}): ${name}${at}${choose(DECORATIONS, index + 1)}`;
  });
  const head =
    'FlatView #1\n AS "memory", root: system\n AS "cpu-memory-0", root: system\n Root memory region: system\n';
  const text = `${choose(NOISE, 0)}${head}${lines.join('\n')}\n\n${choose(NOISE, 1)}`;
  return text.replaceAll('\n', lineEnd);
}

describe('a topology', () => {
  it('is accepted exactly when every address has at most one section, and all memory is somewhere', () => {
    let accepted = 0;
    fc.assert(
      fc.property(smallTopology, topology => {
        const machine = inPages(topology);
        let sorted: Topology | undefined;
        try {
          sorted = checkTopology(machine);
        } catch (error) {
          expect(error).toMatchObject({ code: 'ERR_VDPA_INVALID_ARGUMENT' });
        }
        expect(sorted !== undefined).toBe(mayBe(topology));
        if (!sorted) return;
        accepted++;
        expect(new Set(sorted.sections)).toEqual(new Set(machine.sections));
        const starts = sorted.sections.map(({ gpa }) => gpa);
        expect(starts).toEqual([...starts].sort((a, b) => a - b));
      }),
      { numRuns: 20_000 },
    );
    expect(accepted).toBeGreaterThan(500);
  });

  it('has as many bytes of memory as single bytes of its backends are reached', () => {
    const places = fc.array(fc.record({ gpa: fc.nat(20), size: fc.integer({ min: 1, max: 6 }), home: fc.nat(1) }));
    fc.assert(
      fc.property(places, parts => {
        const reached = new Set<string>();
        const sections = parts.map(({ gpa, size, home }, index): TopologySection => {
          for (let byte = 0; byte < size; byte++) reached.add(`${home} ${gpa + byte}`);
          return { name: 's', kind: index % 2 ? 'ram' : 'rom', gpa: index * 10, size, backend: `${home}`, offset: gpa };
        });
        expect(memoryBytes({ backends: [], sections })).toBe(reached.size);
      }),
      { numRuns: 1000 },
    );
  });

  it('comes back from its file as it was, whatever the order of its sections', () => {
    const shuffled = machines.chain(machine =>
      fc.record({
        machine: fc.constant(machine),
        sections: fc.shuffledSubarray([...machine.sections], { minLength: machine.sections.length }),
      }),
    );
    fc.assert(
      fc.property(shuffled, fc.boolean(), ({ machine, sections }, more) => {
        const top = machine.sections.at(-1)!;
        const hotplug = { base: Math.ceil((top.gpa + top.size) / 4096) * 4096, size: G, slots: 3 };
        const whole = more ? { ...machine, hotplug, iommus: ['x'] } : machine;
        expect(parseMachineFile(formatMachineFile({ ...whole, sections }))).toEqual(whole);
      }),
      { numRuns: 500 },
    );
  });

  it('comes back from what QEMU prints of it, in all the ways it may print it', () => {
    fc.assert(
      fc.property(
        machines,
        fc.array(fc.nat(59), { minLength: 7, maxLength: 7 }),
        fc.constantFrom('\n', '\r\n'),
        (machine, choices, lineEnd) => {
          expect(parseMtree(printMtree(machine, choices, lineEnd))).toEqual(machine);
        },
      ),
      { numRuns: 1000 },
    );
  });

  it('is not found in a text with a line that is not understood, and nothing but an explained error comes of it', () => {
    const junk = fc.oneof(
      fc.string({ minLength: 1, maxLength: 40 }),
      fc.constantFrom(
        '  0000000000000000-',
        ' AS "',
        '@00000000000c0000',
        '  0000000000000000-0000000000000000 (prio 0, ram):',
      ),
    );
    fc.assert(
      fc.property(machines, junk, fc.nat(), (machine, line, place) => {
        const lines = printMtree(machine, [0], '\n').split('\n');
        lines.splice(place % (lines.length + 1), 0, line);
        try {
          expect(parseMtree(lines.join('\n')).sections.length).toBeGreaterThan(0);
        } catch (error) {
          expect(error).toBeInstanceOf(VdpaError);
          expect(error).toMatchObject({ code: 'ERR_VDPA_INVALID_ARGUMENT' });
        }
      }),
      { numRuns: 2000 },
    );
  });
});

describe('a PC of any size', () => {
  const pages = (most: number) => fc.integer({ min: 512, max: most }).map(count => count * 4096);
  const sizes = fc.oneof(pages(2 ** 20), pages(2 ** 29), fc.constantFrom(0xb0000000, 0xaffff000, 978 * G));

  it('has all its RAM but the video window, and room for what may be plugged in, clear of HyperTransport', () => {
    fc.assert(
      fc.property(
        sizes,
        fc.option(pages(2 ** 30)),
        fc.integer({ min: 1, max: 256 }),
        fc.boolean(),
        (ram, more, slots, amd) => {
          const { sections, hotplug } = q35(more === null ? { ram, amd } : { ram, amd, maxmem: ram + more, slots });
          const own = sections.filter(({ backend }) => backend === 'pc.ram');
          expect(own.reduce((sum, { size }) => sum + size, 0)).toBe(ram - 0x20000);
          // In order of their addresses, offsets only grow: no byte has two addresses.
          own.reduce((end, { offset, size }) => {
            expect(offset).toBeGreaterThanOrEqual(end);
            return offset + size;
          }, 0);
          const top = own.at(-1)!;
          const windows = [
            ...own.filter(({ gpa }) => gpa >= 4 * G),
            ...(hotplug ? [{ gpa: hotplug.base, size: hotplug.size }] : []),
          ];
          expect(hotplug?.size).toBe(more === null ? undefined : more + slots * G);
          if (hotplug) expect(hotplug.base % G).toBe(0);
          if (hotplug) expect(hotplug.base).toBeGreaterThanOrEqual(Math.max(top.gpa + top.size, 4 * G));
          if (!amd) return;
          for (const { gpa, size } of windows) expect(gpa >= 2 ** 40 || gpa + size <= 0xfd00000000).toBe(true);
        },
      ),
      { numRuns: 1000 },
    );
  });
});
