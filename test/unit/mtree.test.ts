/** The text of QEMU's `info mtree -f`, as its versions, accelerators and options print it. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parseMtree } from '../../lib/memory/mtree.js';
import { q35 } from '../../lib/memory/q35.js';
import { memoryBytes, refuseUnmappable } from '../../lib/memory/topology.js';

const EXAMPLE = readFileSync(new URL('../../examples/qemu-q35.mtree.txt', import.meta.url), 'utf8');
const G = 2 ** 30;

/** A text with these lines in the machine's memory. */
function memory(...lines: string[]): string {
  return `FlatView #0\n AS "memory", root: system\n Root memory region: system\n${lines.join('\n')}\n\n`;
}

const RAM = '  0000000000000000-000000000009ffff (prio 0, ram): pc.ram';
const view = (number: number, spaces: string[], ...lines: string[]) =>
  [
    `FlatView #${number}`,
    ...spaces.map(name => ` AS "${name}", root: x`),
    ' Root memory region: x',
    ...lines,
    '',
    '',
  ].join('\n');

describe('the example', () => {
  const machine = parseMtree(EXAMPLE);

  it('has the RAM where the q35 machine has it', () => {
    const ram = (sections: typeof machine.sections) => sections.filter(({ backend }) => backend === 'pc.ram');
    expect(ram(machine.sections)).toEqual(ram(q35({ ram: 8 * G }).sections));
  });

  it('has a backend for each region, as large as what is seen of it', () => {
    expect(machine.backends).toEqual([
      { name: 'pc.ram', size: 8 * G },
      { name: 'vga.vram', size: 2 ** 24 },
      { name: '0000:3b:00.2 BAR 0 mmaps[0]', size: 2 ** 20 },
      { name: 'pc.bios', size: 2 ** 18 },
      { name: 'mem1', size: 2 * G },
    ]);
    expect(memoryBytes(machine)).toBe(8 * G - 2 ** 17 + 2 ** 24 + 2 ** 18 + 2 * G);
  });

  it('has the memory of the passed-through device around its interrupt table', () => {
    const name = '0000:3b:00.2 BAR 0 mmaps[0]';
    expect(machine.sections.filter(section => section.kind === 'ram-device')).toEqual([
      { name, kind: 'ram-device', gpa: 0xfe200000, size: 0xfe000, backend: name, offset: 0 },
      { name, kind: 'ram-device', gpa: 0xfe2fe080, size: 0x1f80, backend: name, offset: 0xfe080 },
    ]);
  });

  it('has memory that was plugged in like all other, and no IOMMU', () => {
    expect(machine.sections.at(-1)).toMatchObject({ name: 'mem1', kind: 'ram', gpa: 10 * G, size: 2 * G });
    expect(machine.iommus).toBeUndefined();
    refuseUnmappable(machine);
  });
});

describe('a line', () => {
  it.each<[string, object]>([
    ['(prio 0, ram): pc.ram', { name: 'pc.ram', kind: 'ram', backend: 'pc.ram' }],
    ['(prio 0, nv-ram): nvdimm1', { name: 'nvdimm1', kind: 'ram' }],
    ['(prio -1, rom): pc.rom KVM', { name: 'pc.rom', kind: 'rom' }],
    [
      '(prio 0, ramd): 0000:0c:00.0 BAR 0 mmaps[0] KVM KVM',
      { name: '0000:0c:00.0 BAR 0 mmaps[0]', kind: 'ram-device' },
    ],
    ['(prio 0, ram): ppc_spapr.ram kvm', { name: 'ppc_spapr.ram' }],
    ['(prio 0, ram): pc.ram @0000000000100000 KVM', { name: 'pc.ram', offset: 0x100000 }],
    ['(prio 0, ram): mem @home', { name: 'mem @home', offset: 0 }],
    ['(prio 0, ram): /rom@etc/acpi/tables', { name: '/rom@etc/acpi/tables' }],
    ['(prio 0, ram): m owner:{obj path=/objects/mem 1}', { name: 'm', backend: 'm' }],
    ['(prio 0, ram): m @0000000000001000 parent:{dev id=x} KVM', { name: 'm', offset: 0x1000 }],
    ['(prio 0, ram): m owner:{dev id=x} parent:{obj path=/y} KVM', { name: 'm' }],
    ['(prio 0, ram): m orphan KVM', { name: 'm' }],
    ['(prio 0, ram): 8-byte KVM page', { name: '8-byte KVM page' }],
    ['(prio 0, ram):', { name: '(unnamed)' }],
    ['(prio 0, ram): ', { name: '(unnamed)' }],
    ['(prio 0, romd): virt.flash0', { name: 'virt.flash0', kind: 'io', offset: 0 }],
    ['(prio 4096, i/o): io @0000000000000cfa', { name: 'io', kind: 'io', offset: 0 }],
    ['(prio 0, container): gpex_mmio_window @0000000040000000', { name: 'gpex_mmio_window', kind: 'io', offset: 0 }],
  ])('%s', (text, expected) => {
    const { sections } = parseMtree(memory(RAM, `  0000000040000000-000000004000ffff ${text}`));
    expect(sections[1]).toMatchObject({ gpa: 0x40000000, size: 0x10000, ...expected });
    expect('backend' in sections[1]!).toBe(sections[1]!.kind !== 'io');
  });

  it.each([
    [`${RAM} KVM\n @00000000000c0000`, 'line 5 is not understood: "@00000000000c0000". Is it wrapped, or cut off?'],
    ['  0000000000000000-00000000000', 'line 4 is not understood: "0000000000000000-00000000000"'],
    ['  0000000000000000-000000000009ffff (prio 0, ram', 'line 4 is not understood'],
    [
      '  0000000000000000-000000000009ffff (prio 0, tape): x',
      'Kinds of memory are ram, rom, ramd, romd, i/o, container',
    ],
    ['  0000000000000000-000000000009ffff (prio 0, constructor): x', 'line 4 is not understood'],
    [`${RAM} @00000000000c000`, 'line 4 is not understood'],
    [`${RAM} @00000000000c00000 KVM`, 'line 4 is not understood'],
    ['  000000000000ffff-0000000000000000 (prio 0, ram): x', 'line 4 ends before it starts'],
    [`${RAM}\n\n  0000000100000000-000000013fffffff (prio 0, ram): pc.ram`, 'line 6 is outside a FlatView'],
    ['  0000000000000000-ffffffffffffffff (prio 0, ram): x', 'line 4 (x) has memory above 2^53-1'],
    ['  001fffffffff0000-001fffffffffffff (prio 0, ramd): x', 'line 4 (x) has memory above 2^53-1'],
    [
      `${RAM}\n  0000000000001000-0000000000001fff (prio 0, ram): x`,
      'line 5 (x at 0x1000-0x1fff) overlaps line 4 (pc.ram at',
    ],
    ['  0000000000000000-000000000009ffff (prio 0, i/o): io', 'The machine has no RAM'],
    ['  No rendered FlatView', 'The machine has no RAM'],
    ['  xyz', 'Is it wrapped, or cut off?'],
  ])('%j is told, and not skipped', (lines, message) => {
    expect(() => parseMtree(memory(lines))).toThrow(expect.objectContaining({ code: 'ERR_VDPA_INVALID_ARGUMENT' }));
    expect(() => parseMtree(memory(lines))).toThrow(message);
    expect(() => parseMtree(memory(lines))).not.toThrow(/[?.]\.$/);
  });

  it('of registers at the very top of the address space is left out', () => {
    const top = [
      '  fffffffffff00000-ffffffffffffffff (prio 0, i/o): a',
      '  001fffffffff0000-001fffffffffffff (prio 0, i/o): b',
    ];
    const below = '  001fffffffff0000-001ffffffffffffe (prio 0, i/o): c';
    expect(parseMtree(memory(RAM, ...top)).sections).toHaveLength(1);
    expect(parseMtree(memory(RAM, below)).sections[1]).toMatchObject({ gpa: 2 ** 53 - 2 ** 16, size: 2 ** 16 - 1 });
  });
});

describe('the machine', () => {
  const other = '  0000000000000000-0000000000000fff (prio 0, ram): other';

  it('is the view of the address space memory, wherever it stands', () => {
    const text = view(0, ['I/O'], other) + view(1, ['cpu-memory-0', 'nic'], other) + view(2, ['nic', 'memory'], RAM);
    expect(parseMtree(text).sections.map(({ name }) => name)).toEqual(['pc.ram']);
  });

  it('is not disturbed by what other views have', () => {
    const odd = '  0000000000000000-ffffffffffffffff (prio 0, ram): odd';
    expect(parseMtree(view(0, ['gpu'], odd, RAM) + view(1, ['memory'], RAM)).sections).toHaveLength(1);
  });

  it('is what the first CPU sees when there is no such view', () => {
    expect(parseMtree(view(0, ['I/O'], other) + view(1, ['cpu-memory-0'], RAM)).sections[0]?.name).toBe('pc.ram');
  });

  it('is not guessed: what there is is listed', () => {
    const spaces = Array.from({ length: 12 }, (_, index) => `nic-${index}`);
    expect(() => parseMtree(view(0, ['I/O', ...spaces], RAM))).toThrow(
      'no FlatView has the address space memory or cpu-memory-0; there is I/O, nic-0, nic-1, nic-2, nic-3, nic-4, nic-5, nic-6, nic-7, nic-8, ...',
    );
  });

  it('may stand between prompts and dispatch trees, with the line ends of a terminal', () => {
    const dispatch =
      '  Dispatch\n    Physical sections\n      #0 @0000000000000000..ffffffffffffffff (noname) [unassigned]\n';
    const text = `QEMU 10.2.0 monitor\n(qemu) info mtree -f -d\n${memory(RAM).trimEnd()}\n${dispatch}\n(qemu) quit\n`;
    expect(parseMtree(text.replaceAll('\n', '\r\n')).sections).toHaveLength(1);
    expect(parseMtree(`(qemu) info mtree -f\n${memory(RAM).trimEnd()}\n(qemu)`).sections).toHaveLength(1);
  });

  it('is not in the tree that info mtree prints without -f, nor in anything else', () => {
    expect(() => parseMtree(`address-space: memory\n${RAM}\n`)).toThrow('capture it with "info mtree -f"');
    expect(() => parseMtree('')).toThrow('it has no FlatView');
  });
});

describe('a text that is cut off', () => {
  const lines = EXAMPLE.split('\n');
  const start = lines.findIndex(line => line.includes('AS "memory"'));
  const end = lines.indexOf('', start);

  it.each([
    ['after the header', start + 1],
    ['after a line of the machine', start + 6],
    ['after the last of them', end],
  ])('%s is refused, with and without a line end', (_, count) => {
    const text = lines.slice(0, count).join('\n');
    for (const cut of [text, `${text}\n`, `${text}\r\n`]) {
      expect(() => parseMtree(cut)).toThrow(
        expect.objectContaining({
          code: 'ERR_VDPA_INVALID_ARGUMENT',
          message: expect.stringContaining('capture it again'),
        }),
      );
    }
  });

  it('after the machine has all of it', () => {
    const { sections } = parseMtree(EXAMPLE);
    const text = lines.slice(0, end + 1).join('\n');
    expect(parseMtree(`${text}\n`).sections).toEqual(sections);
    expect(parseMtree(`${text}(qemu) `).sections).toEqual(sections);
    expect(parseMtree(`${text}\nFlatView #9\n AS "nic", root: x`).sections).toEqual(sections);
  });

  it('is not one in which another view follows at once', () => {
    expect(parseMtree(`${memory(RAM).trimEnd()}\nFlatView #1\n AS "nic", root: x\n`).sections).toHaveLength(1);
  });
});

describe('an IOMMU of the guest', () => {
  const VTD =
    '  0000000000000000-00000000fedfffff (prio 0, i/o): vtd-00.0-dmar\n  00000000fef00000-ffffffffffffffff (prio 0, i/o): vtd-00.0-dmar @00000000fef00000';

  it.each([
    ['vtd-00.0-dmar', VTD],
    ['amd_iommu', '  0000000000000000-00000000fedfffff (prio 0, i/o): amd_iommu'],
    [
      'smmuv3-iommu-memory-region-8-0',
      '  0000000000000000-fffffffffffffffe (prio 0, i/o): smmuv3-iommu-memory-region-8-0',
    ],
    [
      'virtio-iommu-memory-region-0-16',
      '  0000000000000000-fffffffffffffffe (prio 0, i/o): virtio-iommu-memory-region-0-16',
    ],
    ['tce-iommu-80000000', '  0000000000000000-000000003fffffff (prio 0, i/o): tce-iommu-80000000'],
    ['iommu-s390-0001', '  0000000000000000-000001ffffffffff (prio 0, i/o): iommu-s390-0001'],
    ['riscv_iommu', '  0000000000000000-fffffffffffffffe (prio 0, i/o): riscv_iommu'],
  ])('%s is recognised in the view of the devices behind it', (name, lines) => {
    const machine = parseMtree(memory(RAM) + view(1, ['vtd-root'], lines));
    expect(machine.iommus).toEqual([name]);
    expect(machine.sections).toHaveLength(1);
    expect(() => refuseUnmappable(machine)).toThrow(`guest IOMMU: ${name}.`);
  });

  it('in the view of the memory is no section', () => {
    const machine = parseMtree(memory(RAM, '  0000000040000000-00000000ffffffff (prio 0, i/o): arm-smmuv3-iommu'));
    expect(machine).toMatchObject({ iommus: ['arm-smmuv3-iommu'], sections: [{ name: 'pc.ram' }] });
  });

  it('is told once for each of its regions', () => {
    const second = VTD.replaceAll('vtd-00.0', 'vtd-01.0');
    expect(parseMtree(memory(RAM) + view(1, ['a'], VTD) + view(2, ['b'], second)).iommus).toEqual([
      'vtd-00.0-dmar',
      'vtd-01.0-dmar',
    ]);
  });

  it('that translates nothing, as its registers show, is none', () => {
    const registers = [
      '  00000000fed90000-00000000fed90fff (prio 0, i/o): intel_iommu',
      '  00000000feb00000-00000000feb00fff (prio 0, i/o): virtio-pci-common-virtio-iommu',
      '  0000000009050000-000000000906ffff (prio 0, i/o): arm-smmuv3',
    ];
    const off = [RAM, '  00000000fee00000-00000000feefffff (prio 1, i/o): vtd-ir'];
    const machine = parseMtree(memory(RAM, ...registers) + view(1, ['vtd-root'], ...off));
    expect(machine.iommus).toBeUndefined();
    expect(machine.sections).toHaveLength(4);
    refuseUnmappable(machine);
  });
});

describe('a text that is too large', () => {
  it('is refused by its characters and by its lines, before it is read', () => {
    expect(() => parseMtree(' '.repeat(2 ** 24 + 1))).toThrow('it has 16777217 characters, and 16 MiB is the limit');
    expect(() => parseMtree(memory(RAM) + '\n'.repeat(100_000))).toThrow(
      /it has 10000\d lines, and 100000 is the limit/,
    );
  });

  it('is read in time when it is as large as it may be', () => {
    const spaces = ' '.repeat(2 ** 22);
    expect(() => parseMtree(memory(`${RAM}${' KVM'.repeat(2 ** 20)}x`) + spaces)).not.toThrow();
    expect(() => parseMtree(memory(`${RAM}${' @0000'.repeat(2 ** 20)}`))).toThrow('line 4 is not understood');
    expect(() => parseMtree(memory(`${RAM}${' KVM'.repeat(2 ** 20)}`))).not.toThrow();
  });
});
