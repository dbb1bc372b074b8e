/**
 * The memory of a PC as QEMU's q35 machine lays it out: what is where is part of what a guest relies on, so it does not change
 * between versions (reference: QEMU 10.2, hw/i386/pc_q35.c, pc.c, hw/pci-host/q35.c; docs/memory-topology.md).
 */
import { VdpaError } from '../errors.js';
import { formatSize } from '../units.js';
import { checkTopology, MOST_SLOTS } from './check-topology.js';
import type { Backend, HotplugWindow, SectionKind, Topology, TopologySection } from './topology.js';

const KIB = 2 ** 10;
const MIB = 2 ** 20;
const GIB = 2 ** 30;

const RAM = 'pc.ram';
const BIOS = 'pc.bios';
const OPTION_ROM = 'pc.rom';

/** A PC has at least the first MiB and something above it. */
const LEAST_RAM = 2 * MIB;
const PAGE = 4 * KIB;
/** Physical addresses of x86-64 have at most 52 bits. */
const ADDRESS_LIMIT = 2 ** 52;

/** Below it RAM can reach; from it the chipset decodes PCI configuration space. */
const LOW_RAM_LIMIT = 0xb0000000;
/** Where RAM ends that does not fit below: at 2 GiB, so that guest and host addresses agree within 1 GiB pages. */
const LOW_RAM_SPLIT = 0x80000000;
const HIGH_RAM = 0x100000000;
/** AMD: addresses that HyperTransport takes for itself, up to 1 TiB. No IOMMU maps them. */
const AMD_HOLE = 0xfd00000000;
const AMD_HIGH_RAM = 0x10000000000;
/** What QEMU keeps for 64-bit PCI BARs above all memory. */
const PCI_HOLE64 = 32 * GIB;

/** The top of the first MiB: video memory and system management RAM share a window, then ROMs. */
const VGA_WINDOW = 0xa0000;
const ROMS = 0xc0000;
const FIRST_MIB = 0x100000;
const BIOS_SIZE = 256 * KIB;
const ISA_BIOS_SIZE = 128 * KIB;
const OPTION_ROM_SIZE = 128 * KIB;

/**
 * The chipset's PAM registers after SeaBIOS with option ROMs for video and one network card: RAM, write protected in steps of
 * 16 KiB where ROMs were copied to; KVM's virtual APIC page stays writable in between.
 */
const SHADOWED: readonly (readonly [start: number, end: number, kind: SectionKind])[] = [
  [0xc0000, 0xcb000, 'rom'],
  [0xcb000, 0xce000, 'ram'],
  [0xce000, 0xe4000, 'rom'],
  [0xe4000, 0xf0000, 'ram'],
  [0xf0000, 0x100000, 'rom'],
];

/** Registers at fixed addresses; the second list answers once firmware has switched it on. */
const REGISTERS: readonly (readonly [name: string, gpa: number, size: number])[] = [
  ['ioapic', 0xfec00000, 0x1000],
  ['hpet', 0xfed00000, 0x400],
  ['apic-msi', 0xfee00000, 0x100000],
];
const FIRMWARE_REGISTERS: typeof REGISTERS = [
  ['pcie-mmcfg', 0xb0000000, 0x10000000],
  ['lpc-rcrb', 0xfed1c000, 0x4000],
];

/** A PC; sizes in bytes. */
export interface Q35Options {
  /** Memory at the start: whole pages of 4 KiB, at least 2 MiB. */
  readonly ram: number;
  /** Memory with all that may be plugged in. */
  readonly maxmem?: number;
  /** How many memory devices may be plugged in, 1 to 256. */
  readonly slots?: number;
  /** The CPU is AMD's: memory keeps clear of the HyperTransport range below 1 TiB. */
  readonly amd?: boolean;
  /** How far firmware is: `booted` (default), or `reset`, with ROM where `booted` has RAM. */
  readonly firmware?: 'booted' | 'reset';
  /** System management RAM hidden at the top of low memory, in whole MiB; none unless given. */
  readonly tseg?: number;
  /** Frame buffer of a VGA card, a power of two from 1 MiB to 256 MiB; none unless given. */
  readonly vram?: number;
}

/**
 * The memory of a PC, as its CPU sees it.
 * @throws VdpaError ERR_VDPA_INVALID_ARGUMENT when QEMU would refuse the sizes, too.
 */
export function q35(options: Q35Options): Topology {
  checkRam(options);
  checkFirmware(options);
  const { ram, firmware = 'booted', vram } = options;
  const low = lowRam(ram);
  const start = highRam(options);
  const hotplug = hotplugWindow(options, start);
  if (Math.max(start + ram - low, hotplug ? hotplug.base + hotplug.size : 0) > ADDRESS_LIMIT) {
    throw invalid(
      `The machine's memory ends above 2^52, where x86 addresses end: ask for less memory or fewer slots.`,
      { ram },
    );
  }
  const backends: Backend[] = [
    { name: RAM, size: ram },
    { name: BIOS, size: BIOS_SIZE },
  ];
  const registers = firmware === 'booted' ? [...REGISTERS, ...FIRMWARE_REGISTERS] : REGISTERS;
  const sections = [
    ...firstMib(firmware),
    ...lowMemory(low, options.tseg),
    ...registers.map(([name, gpa, size]) => trapping(name, gpa, size)),
    memory(BIOS, 'rom', HIGH_RAM - BIOS_SIZE, BIOS_SIZE, BIOS, 0),
  ];
  if (firmware === 'reset') backends.push({ name: OPTION_ROM, size: OPTION_ROM_SIZE });
  if (vram !== undefined) {
    backends.push({ name: 'vga.vram', size: vram });
    sections.push(memory('vga.vram', 'ram', frameBuffer(vram), vram, 'vga.vram', 0));
  }
  if (ram > low) sections.push(memory(RAM, 'ram', start, ram - low, RAM, low));
  return checkTopology(hotplug ? { backends, sections, hotplug } : { backends, sections });
}

function firstMib(firmware: 'booted' | 'reset'): TopologySection[] {
  const below = [memory(RAM, 'ram', 0, VGA_WINDOW, RAM, 0), trapping('vga-lowmem', VGA_WINDOW, ROMS - VGA_WINDOW)];
  if (firmware === 'booted') {
    return [...below, ...SHADOWED.map(([start, end, kind]) => memory(RAM, kind, start, end - start, RAM, start))];
  }
  const isaBios = FIRST_MIB - ISA_BIOS_SIZE;
  return [
    ...below,
    memory(OPTION_ROM, 'rom', ROMS, OPTION_ROM_SIZE, OPTION_ROM, 0),
    // The end of the firmware, where real mode can reach it: the same memory as below 4 GiB.
    memory('isa-bios', 'rom', isaBios, ISA_BIOS_SIZE, BIOS, BIOS_SIZE - ISA_BIOS_SIZE),
  ];
}

function lowMemory(low: number, tseg = 0): TopologySection[] {
  const ram = memory(RAM, 'ram', FIRST_MIB, low - tseg - FIRST_MIB, RAM, FIRST_MIB);
  return tseg === 0 ? [ram] : [ram, trapping('tseg-blackhole', low - tseg, tseg)];
}

function lowRam(ram: number): number {
  return ram >= LOW_RAM_LIMIT ? LOW_RAM_SPLIT : ram;
}

/** Where the RAM goes that is not below 4 GiB. On AMD it moves when anything, 64-bit PCI BARs included, would reach the hole. */
function highRam(options: Q35Options): number {
  if (!options.amd) return HIGH_RAM;
  const window = hotplugWindow(options, HIGH_RAM);
  const end = window ? window.base + window.size : HIGH_RAM + options.ram - lowRam(options.ram);
  return end + PCI_HOLE64 > AMD_HOLE ? AMD_HIGH_RAM : HIGH_RAM;
}

/** QEMU reserves 1 GiB more for each slot, so that memory devices can be aligned to huge pages. */
function hotplugWindow({ ram, maxmem = ram, slots = 0 }: Q35Options, start: number): HotplugWindow | undefined {
  if (maxmem === ram) return undefined;
  return { base: roundUp(start + ram - lowRam(ram), GIB), size: maxmem - ram + slots * GIB, slots };
}

/** SeaBIOS hands out the addresses below the chipset's registers from the top, each to its own alignment. */
function frameBuffer(size: number): number {
  return Math.floor((0xfe000000 - size) / size) * size;
}

function checkRam({ ram, maxmem, slots }: Q35Options): void {
  if (!(Number.isSafeInteger(ram) && ram >= LEAST_RAM && ram % PAGE === 0)) {
    throw invalid(
      `A PC with ${ram} bytes of memory: it has at least ${formatSize(LEAST_RAM)}, in whole pages of 4 KiB.`,
      { ram },
    );
  }
  if (maxmem === undefined) {
    if (slots === undefined) return;
    throw invalid(`slots=${slots} without maxmem: also say how much memory there is with all slots taken (maxmem).`, {
      slots,
    });
  }
  if (!(Number.isSafeInteger(maxmem) && maxmem >= ram && maxmem % PAGE === 0)) {
    throw invalid(
      `maxmem is ${exactSize(maxmem)}, and the machine starts with ${exactSize(ram)}: maxmem includes that, in whole pages of 4 KiB.`,
      { ram, maxmem },
    );
  }
  checkSlots(ram, maxmem, slots);
}

function checkSlots(ram: number, maxmem: number, slots: number | undefined): void {
  if (slots !== undefined && !(Number.isSafeInteger(slots) && slots >= 1 && slots <= MOST_SLOTS)) {
    throw invalid(`slots=${slots}: there are 1 to ${MOST_SLOTS} slots.`, { slots });
  }
  if (maxmem > ram && slots === undefined) {
    throw invalid(
      `maxmem leaves room for ${formatSize(maxmem - ram)} more, and no slot to plug it into: say how many (slots=8).`,
      { ram, maxmem },
    );
  }
  if (maxmem === ram && slots !== undefined) {
    throw invalid(
      `slots=${slots}, and maxmem is no more than the ${formatSize(ram)} at the start: raise maxmem, or leave out both.`,
      {
        ram,
        maxmem,
        slots,
      },
    );
  }
}

function checkFirmware({ ram, firmware = 'booted', tseg, vram }: Q35Options): void {
  if (firmware === 'reset' && (tseg !== undefined || vram !== undefined)) {
    throw invalid(`${tseg === undefined ? 'vram' : 'tseg'} is set up by firmware: it goes with firmware=booted.`, {});
  }
  const room = lowRam(ram) - FIRST_MIB;
  if (tseg !== undefined && !(Number.isSafeInteger(tseg) && tseg > 0 && tseg % MIB === 0 && tseg < room)) {
    throw invalid(
      `tseg is ${exactSize(tseg)}: whole MiB, less than the ${formatSize(room)} of low memory above the first MiB.`,
      {
        tseg,
      },
    );
  }
  if (vram !== undefined && !(vram >= MIB && vram <= 256 * MIB && Number.isInteger(Math.log2(vram)))) {
    throw invalid(`vram is ${exactSize(vram)}: a power of two from 1 MiB to 256 MiB.`, { vram });
  }
}

function memory(
  name: string,
  kind: SectionKind,
  gpa: number,
  size: number,
  backend: string,
  offset: number,
): TopologySection {
  return { name, kind, gpa, size, backend, offset };
}

function trapping(name: string, gpa: number, size: number): TopologySection {
  return { name, kind: 'io', gpa, size, offset: 0 };
}

function roundUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}

/** As people write it, unless that would round away what is wrong with it. */
function exactSize(bytes: number): string {
  return bytes > 0 && bytes % MIB === 0 ? formatSize(bytes) : `${bytes} bytes`;
}

function invalid(message: string, details: Record<string, number>): VdpaError {
  return new VdpaError('ERR_VDPA_INVALID_ARGUMENT', message, { details });
}
