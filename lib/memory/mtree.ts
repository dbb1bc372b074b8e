/**
 * The memory of a running machine in QEMU's own words: the text of its monitor's `info mtree -f`. That command prints flat views,
 * one for each set of address spaces that look alike; the CPUs' is the machine's memory, and the others tell whether its devices
 * are behind an IOMMU. Format: QEMU 2.10 to 10.2, system/memory.c (docs/memory-topology.md).
 */
import { VdpaError } from '../errors.js';
import { formatSize } from '../units.js';
import { checkTopology } from './check-topology.js';
import type { Backend, SectionKind, Topology, TopologySection } from './topology.js';

/** A machine with hundreds of devices prints some thousand lines for each of its address spaces. */
const MOST_CHARACTERS = 2 ** 24;
const MOST_LINES = 100_000;

/** By whose name the machine's memory goes, best first: older captures may lack the first. */
const MEMORY_SPACES = ['memory', 'cpu-memory-0'];

/**
 * The first four are memory of the host. A `romd` executes as ROM, but what a device writes to it goes to registers; a container
 * has no memory of its own.
 */
const KINDS: Readonly<Record<string, SectionKind>> = {
  ram: 'ram',
  rom: 'rom',
  ramd: 'ram-device',
  romd: 'io',
  'i/o': 'io',
  container: 'io',
};

/** What QEMU calls the regions in which its IOMMUs translate (VT-d, AMD-Vi, SMMU, virtio, RISC-V, s390, POWER). */
const IOMMU_NAME = /-dmar$|^tce-iommu-|iommu|smmu/i;
/** Their registers have such names too, and are smaller; what they translate is a large part of an address space. */
const LEAST_TRANSLATED = 2 ** 24;

const ACCELERATORS = ['kvm', 'mshv', 'hvf', 'nvmm', 'whpx'];

const HEADER = /^\s*FlatView #\d+$/;
const SPACE = /^\s*AS "(.*)", root: /;
const RANGE_START = /^\s*[0-9a-f]{8,16}-[0-9a-f]{8,16}\b/;
const RANGE = /^\s*([0-9a-f]{16})-([0-9a-f]{16}) \(prio -?\d+, (?:nv-)?([a-z/]+)\):(?: (.*))?$/;
/** Fewer, and the line was cut: the section would be at another place of its backend. */
const OFFSET_DIGITS = 16;
const OFFSET = /^(.*) @([0-9a-f]+)$/;

interface Range {
  readonly line: number;
  readonly name: string;
  readonly kind: SectionKind;
  readonly gpa: number;
  /** Exact below 2^53; above, near enough to tell that it is above. */
  readonly size: number;
  readonly offset: number;
}

interface FlatView {
  readonly spaces: string[];
  readonly ranges: Range[];
  /** Whether it ends where it should: the lines that are missing from one that does not would be missing memory. */
  ended: boolean;
}

/** Whether this is what the parser is for, so that files are told apart by what is in them. */
export function isMtree(text: string): boolean {
  return /^[ \t]*(?:FlatView #|address-space)/m.test(text);
}

/**
 * The memory that `info mtree -f` shows. Backends are the regions with memory, by name; each is as large as the last byte shown.
 * @throws VdpaError ERR_VDPA_INVALID_ARGUMENT when it is something else, or cut off, or has no memory in it.
 */
export function parseMtree(text: string): Topology {
  if (text.length > MOST_CHARACTERS) {
    throw invalid(
      `it has ${text.length} characters, and ${formatSize(MOST_CHARACTERS)} is the limit: keep the FlatView with AS "memory"`,
    );
  }
  const lines = text.split('\n');
  // What follows the last line end is no line, above all not the empty one that ends a view.
  if (lines.at(-1) === '') lines.pop();
  if (lines.length > MOST_LINES) {
    throw invalid(`it has ${lines.length} lines, and ${MOST_LINES} is the limit: keep the FlatView with AS "memory"`);
  }
  const views = readViews(lines);
  const { ranges: shown, ended } = memoryView(views);
  if (!ended) {
    throw invalid(
      `its last line (${lines.length}) is in the middle of the machine's memory, and a FlatView ends with an empty line. It looks cut off: capture it again`,
    );
  }
  const ranges = shown.filter(range => !isTranslated(range) && isAddressable(range));
  const iommus = [...new Set(views.flatMap(view => view.ranges.filter(isTranslated).map(({ name }) => name)))];
  const topology = { backends: backendsOf(ranges), sections: ranges.map(toSection) };
  return checkTopology(iommus.length > 0 ? { ...topology, iommus } : topology, (list, index) =>
    list === 'sections' ? `line ${ranges[index]!.line}` : `${list}[${index}]`,
  );
}

/** Nothing is skipped in silence: a line that is lost would be memory that is lost, or is somewhere else. */
function readViews(lines: readonly string[]): FlatView[] {
  const views: FlatView[] = [];
  let view: FlatView | undefined;
  lines.forEach((text, index) => {
    const line = text.trimEnd();
    if (HEADER.test(line)) {
      if (view) view.ended = true;
      view = { spaces: [], ranges: [], ended: false };
      views.push(view);
    } else if (view) {
      view = readLine(view, line, index + 1);
    } else if (RANGE_START.test(line) && views.length > 0) {
      throw invalid(`line ${index + 1} is outside a FlatView: "${shorten(line)}". Is a part missing before it?`);
    }
  });
  return views;
}

/** The view that goes on after this line, if one does. */
function readLine(view: FlatView, line: string, number: number): FlatView | undefined {
  if (RANGE_START.test(line)) {
    view.ranges.push(readRange(line, number));
    return view;
  }
  const space = SPACE.exec(line);
  if (space) {
    view.spaces.push(space[1]!);
    return view;
  }
  if (/^\s*(?:Root memory region: |No rendered FlatView$)/.test(line)) return view;
  if (line === '' || /^\s*(?:Dispatch$|\(qemu\))/.test(line)) {
    view.ended = true;
    return undefined;
  }
  throw invalid(`line ${number} is not understood: "${shorten(line)}". Is it wrapped, or cut off?`);
}

function readRange(line: string, number: number): Range {
  const match = RANGE.exec(line);
  const kind = match && Object.hasOwn(KINDS, match[3]!) ? KINDS[match[3]!] : undefined;
  const label = readLabel(match?.[4] ?? '');
  if (!match || !kind || !label) {
    const kinds = Object.keys(KINDS).join(', ');
    throw invalid(
      `line ${number} is not understood: "${shorten(line)}". Kinds of memory are ${kinds}. Is it wrapped, or cut off?`,
    );
  }
  const gpa = Number(`0x${match[1]}`);
  const last = Number(`0x${match[2]}`);
  if (last < gpa) throw invalid(`line ${number} ends before it starts: "${shorten(line)}"`);
  return { line: number, kind, gpa, size: last - gpa + 1, ...label };
}

/** `pc.ram @00000000000c0000 owner:{obj path=/machine} KVM`: name, offset, with -o the owner, and who else has it. */
function readLabel(text: string): { name: string; offset: number } | undefined {
  let label = text;
  for (;;) {
    const space = label.lastIndexOf(' ');
    if (space < 0 || !ACCELERATORS.includes(label.slice(space + 1, space + 8).toLowerCase())) break;
    label = label.slice(0, space);
  }
  const owner = label.search(/ (?:owner|parent):\{| orphan$/);
  if (owner >= 0) label = label.slice(0, owner);
  const [, name = label, offset = '0'.repeat(OFFSET_DIGITS)] = OFFSET.exec(label) ?? [];
  if (offset.length !== OFFSET_DIGITS) return undefined;
  return { name: name || '(unnamed)', offset: Number(`0x${offset}`) };
}

function memoryView(views: readonly FlatView[]): FlatView {
  if (views.length === 0) {
    throw invalid('it has no FlatView: capture it with "info mtree -f", where -f asks for flat views');
  }
  for (const space of MEMORY_SPACES) {
    const view = views.find(({ spaces }) => spaces.includes(space));
    if (view) return view;
  }
  const names = [...new Set(views.flatMap(({ spaces }) => spaces))];
  const first = names.slice(0, 10).join(', ');
  throw invalid(
    `no FlatView has the address space ${MEMORY_SPACES.join(' or ')}; there is ${first}${names.length > 10 ? ', ...' : ''}`,
  );
}

function isTranslated({ kind, name, size }: Range): boolean {
  return kind === 'io' && size >= LEAST_TRANSLATED && IOMMU_NAME.test(name);
}

/** What traps at the very top of the address space is nothing a device is given, and has no number here. */
function isAddressable({ line, kind, name, gpa, size }: Range): boolean {
  if (Number.isSafeInteger(gpa + size)) return true;
  if (kind === 'io') return false;
  throw invalid(`line ${line} (${name}) has memory above 2^53-1, where no machine has any`);
}

function backendsOf(ranges: readonly Range[]): Backend[] {
  const sizes = new Map<string, number>();
  for (const { kind, name, size, offset } of ranges) {
    if (kind !== 'io') sizes.set(name, Math.max(sizes.get(name) ?? 0, offset + size));
  }
  return Array.from(sizes, ([name, size]) => ({ name, size }));
}

function toSection({ kind, name, gpa, size, offset }: Range): TopologySection {
  return kind === 'io' ? { name, kind, gpa, size, offset: 0 } : { name, kind, gpa, size, backend: name, offset };
}

function shorten(line: string): string {
  const text = line.trim();
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

function invalid(message: string): VdpaError {
  const end = /[?.]$/.test(message) ? '' : '.';
  return new VdpaError('ERR_VDPA_INVALID_ARGUMENT', `This is not the text of QEMU's "info mtree -f": ${message}${end}`);
}
