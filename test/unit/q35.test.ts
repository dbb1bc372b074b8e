/** The memory of a PC against what QEMU's machine has where. */
import { describe, expect, it } from 'vitest';
import { type Q35Options, q35 } from '../../lib/memory/q35.js';
import { memoryBytes, type Topology } from '../../lib/memory/topology.js';

const K = 2 ** 10;
const M = 2 ** 20;
const G = 2 ** 30;
const T = 2 ** 40;

/** `0-9ffff ram pc.ram`, with an offset where it is not the address. */
function lines({ sections }: Topology): string[] {
  return sections.map(({ name, kind, gpa, size, backend, offset }) => {
    const range = `${gpa.toString(16)}-${(gpa + size - 1).toString(16)}`;
    return `${range} ${kind} ${name}${backend === undefined ? '' : ` ${backend}@${offset.toString(16)}`}`;
  });
}

function highRam(options: Q35Options): number | undefined {
  const { sections } = q35(options);
  return sections.find(({ gpa, name }) => name === 'pc.ram' && gpa >= 4 * G)?.gpa;
}

describe('a PC', () => {
  it('with 128 GiB has 2 GiB below 4 GiB and the rest above', () => {
    const machine = q35({ ram: 128 * G });
    expect(lines(machine)).toEqual([
      '0-9ffff ram pc.ram pc.ram@0',
      'a0000-bffff io vga-lowmem',
      'c0000-cafff rom pc.ram pc.ram@c0000',
      'cb000-cdfff ram pc.ram pc.ram@cb000',
      'ce000-e3fff rom pc.ram pc.ram@ce000',
      'e4000-effff ram pc.ram pc.ram@e4000',
      'f0000-fffff rom pc.ram pc.ram@f0000',
      '100000-7fffffff ram pc.ram pc.ram@100000',
      'b0000000-bfffffff io pcie-mmcfg',
      'fec00000-fec00fff io ioapic',
      'fed00000-fed003ff io hpet',
      'fed1c000-fed1ffff io lpc-rcrb',
      'fee00000-feefffff io apic-msi',
      'fffc0000-ffffffff rom pc.bios pc.bios@0',
      '100000000-207fffffff ram pc.ram pc.ram@80000000',
    ]);
    expect(machine.backends).toEqual([
      { name: 'pc.ram', size: 128 * G },
      { name: 'pc.bios', size: 256 * K },
    ]);
    expect(machine.hotplug).toBeUndefined();
  });

  it('at reset has ROM in the first MiB, the end of the firmware at two addresses, and no configuration window', () => {
    const machine = q35({ ram: G, firmware: 'reset' });
    expect(lines(machine)).toEqual([
      '0-9ffff ram pc.ram pc.ram@0',
      'a0000-bffff io vga-lowmem',
      'c0000-dffff rom pc.rom pc.rom@0',
      'e0000-fffff rom isa-bios pc.bios@20000',
      '100000-3fffffff ram pc.ram pc.ram@100000',
      'fec00000-fec00fff io ioapic',
      'fed00000-fed003ff io hpet',
      'fee00000-feefffff io apic-msi',
      'fffc0000-ffffffff rom pc.bios pc.bios@0',
    ]);
    expect(machine.backends.find(({ name }) => name === 'pc.rom')?.size).toBe(128 * K);
  });

  it.each([
    [2 * M, '100000-1fffff', undefined],
    [0xb0000000 - 4 * K, '100000-afffefff', undefined],
    [0xb0000000, '100000-7fffffff', '100000000-12fffffff'],
    [4 * G, '100000-7fffffff', '100000000-17fffffff'],
  ])('with %d bytes splits RAM where QEMU does', (ram, low, high) => {
    const ranges = lines(q35({ ram })).map(line => line.split(' ')[0]);
    expect(ranges).toContain(low);
    if (high !== undefined) expect(ranges.at(-1)).toBe(high);
    else expect(ranges.at(-1)).toBe('fffc0000-ffffffff');
  });

  it('hides system management RAM at the top of low memory', () => {
    const found = lines(q35({ ram: 8 * G, tseg: 16 * M }));
    expect(found).toContain('100000-7effffff ram pc.ram pc.ram@100000');
    expect(found).toContain('7f000000-7fffffff io tseg-blackhole');
    expect(found.at(-1)).toBe('100000000-27fffffff ram pc.ram pc.ram@80000000');
    expect(lines(q35({ ram: G, tseg: 8 * M }))).toContain('3f800000-3fffffff io tseg-blackhole');
  });

  it.each([
    [16 * M, 'fd000000-fdffffff'],
    [64 * M, 'f8000000-fbffffff'],
    [M, 'fdf00000-fdffffff'],
    [256 * M, 'e0000000-efffffff'],
  ])('has a frame buffer of %d bytes in memory of its own', (vram, range) => {
    const machine = q35({ ram: G, vram });
    expect(lines(machine)).toContain(`${range} ram vga.vram vga.vram@0`);
    expect(machine.backends.at(-1)).toEqual({ name: 'vga.vram', size: vram });
  });

  it('reaches all its RAM but what the chipset hides', () => {
    const own = (options: Q35Options) => memoryBytes(q35(options)) - 256 * K;
    expect(own({ ram: 8 * G })).toBe(8 * G - 128 * K);
    expect(own({ ram: 8 * G, tseg: 16 * M })).toBe(8 * G - 128 * K - 16 * M);
    expect(own({ ram: 8 * G, vram: 16 * M })).toBe(8 * G - 128 * K + 16 * M);
    expect(own({ ram: 2 ** 52 - 2 * G })).toBe(2 ** 52 - 2 * G - 128 * K);
    expect(own({ ram: 8 * G, firmware: 'reset' })).toBe(8 * G - 384 * K + 128 * K);
  });
});

describe('the room for memory that is plugged in', () => {
  it.each<[Q35Options, object]>([
    [
      { ram: 128 * G, maxmem: 256 * G, slots: 8 },
      { base: 130 * G, size: 136 * G, slots: 8 },
    ],
    [
      { ram: G, maxmem: 3 * G, slots: 2 },
      { base: 4 * G, size: 4 * G, slots: 2 },
    ],
    // 2 GiB below 4 GiB, 1.25 GiB above: the window starts at the next GiB.
    [
      { ram: 3.25 * G, maxmem: 8 * G, slots: 256 },
      { base: 6 * G, size: 260.75 * G, slots: 256 },
    ],
    [
      { ram: 128 * G, maxmem: 2 * T, slots: 8, amd: true },
      { base: T + 126 * G, size: 2 * T - 128 * G + 8 * G, slots: 8 },
    ],
  ])('of %j is %j', (options, window) => {
    expect(q35(options).hotplug).toEqual(window);
  });

  it('is not there when maxmem is what the machine starts with', () => {
    expect(q35({ ram: G, maxmem: G }).hotplug).toBeUndefined();
  });
});

describe('on AMD', () => {
  // From 4 GiB to the hole at 0xfd00000000 there are 1008 GiB, of which QEMU keeps 32 for PCI; 2 more are below 4 GiB.
  it.each<[string, Q35Options, number]>([
    ['the most RAM that leaves room below the hole', { ram: 978 * G, amd: true }, 4 * G],
    ['a page more', { ram: 978 * G + 4 * K, amd: true }, T],
    ['the same on another CPU', { ram: 978 * G + 4 * K }, 4 * G],
    ['a window that just fits', { ram: 8 * G, maxmem: 977 * G, slots: 1, amd: true }, 4 * G],
    ['a window that reaches the hole', { ram: 8 * G, maxmem: 977 * G + 4 * K, slots: 1, amd: true }, T],
    ['slots that need too much', { ram: 8 * G, maxmem: 977 * G, slots: 2, amd: true }, T],
    ['far more than that', { ram: 4 * T, amd: true }, T],
  ])('%s has high memory where it is clear of HyperTransport', (_, options, start) => {
    expect(highRam(options)).toBe(start);
  });

  it('a small machine with a large window has the window above the hole', () => {
    expect(q35({ ram: G, maxmem: 2 * T, slots: 1, amd: true }).hotplug?.base).toBe(T);
  });
});

describe('a PC is refused', () => {
  it.each<[Q35Options, string]>([
    [{ ram: M }, 'A PC with 1048576 bytes of memory: it has at least 2 MiB'],
    [{ ram: 2 * M + 1 }, 'whole pages of 4 KiB'],
    [{ ram: Number.NaN }, 'A PC with NaN bytes'],
    [{ ram: G, slots: 8 }, 'slots=8 without maxmem'],
    [{ ram: G, maxmem: 512 * M, slots: 1 }, 'maxmem is 512 MiB, and the machine starts with 1 GiB: maxmem'],
    [
      { ram: G, maxmem: 2 * G + 1, slots: 1 },
      'maxmem is 2147483649 bytes, and the machine starts with 1 GiB: maxmem includes that, in whole pages of 4 KiB',
    ],
    [{ ram: G, maxmem: 2 * G }, 'maxmem leaves room for 1 GiB more, and no slot'],
    [{ ram: G, maxmem: G, slots: 1 }, 'slots=1, and maxmem is no more than the 1 GiB at the start'],
    [{ ram: G, maxmem: 2 * G, slots: 257 }, 'slots=257: there are 1 to 256 slots'],
    [{ ram: G, maxmem: 2 * G, slots: 0 }, 'slots=0: there are 1 to 256 slots'],
    [{ ram: G, tseg: M + 1 }, 'tseg is 1048577 bytes: whole MiB, less than the 1023 MiB'],
    [{ ram: G, tseg: G - M }, 'tseg is 1023 MiB: whole'],
    [{ ram: G, vram: 3 * M }, 'vram is 3 MiB: a power of two'],
    [{ ram: G, vram: 512 * M }, 'from 1 MiB to 256 MiB'],
    [{ ram: G, vram: -1 }, 'vram is -1 bytes'],
    [{ ram: G, firmware: 'reset', tseg: M }, 'tseg is set up by firmware'],
    [{ ram: G, firmware: 'reset', vram: M }, 'vram is set up by firmware'],
    [{ ram: 2 ** 52 - 2 * G + 4 * K }, 'ends above 2^52'],
    [{ ram: G, maxmem: 2 ** 52, slots: 1 }, 'ends above 2^52'],
  ])('%j: %s', (options, message) => {
    expect(() => q35(options)).toThrow(expect.objectContaining({ code: 'ERR_VDPA_INVALID_ARGUMENT' }));
    expect(() => q35(options)).toThrow(message);
  });
});
