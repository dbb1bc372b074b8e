/**
 * Bulk copy and comparison of guest memory through the memfds, off the JavaScript thread. Never through windows: reading a
 * hole through a mapping allocates it.
 */
import { VdpaError } from '../errors.js';
import { type NativeTransfer, native } from '../native.js';
import { errnoName } from '../uapi/errno.js';
import type { GuestMemory } from './guest-memory.js';
import { isGuestMemory, type Section } from './section.js';

/** What a copy did, in bytes. */
export interface CopyTotals {
  data: number;
  holes: number;
}

/** What a comparison saw. A page that is a hole on both sides counts as compared, and is told apart. */
export interface CompareTotals {
  pagesCompared: number;
  holePages: number;
  mismatches: number;
  /** Guest addresses of the first differing pages, at most 16 per section. */
  first: number[];
}

const PAGE = 4096;

/** All of the guest's own memory, as runs of (guest address, length). */
export function allOf(memory: GuestMemory): Float64Array {
  return Float64Array.from(memory.sections.filter(isGuestMemory).flatMap(section => [section.gpa, section.size]));
}

/**
 * Copies runs of (guest address, length) from one memory into another of the same shape.
 * @throws VdpaError ERR_VDPA_MEMORY when reading or writing fails.
 */
export async function copyMemory(from: GuestMemory, to: GuestMemory, runs: Float64Array): Promise<CopyTotals> {
  const totals = { data: 0, holes: 0 };
  for (const [source, target] of sectionPairs(from, to)) {
    const ranges = clip(runs, source);
    if (ranges.length === 0) continue;
    const result = check('copied', await native().regionCopy(source.region, target.region, ranges));
    totals.data += result.data;
    totals.holes += result.holes;
  }
  return totals;
}

/** Compares two memories of the same shape page by page, over runs of (guest address, length). */
export async function compareMemory(a: GuestMemory, b: GuestMemory, runs: Float64Array): Promise<CompareTotals> {
  const totals: CompareTotals = { pagesCompared: 0, holePages: 0, mismatches: 0, first: [] };
  for (const [left, right] of sectionPairs(a, b)) {
    const ranges = clip(runs, left);
    if (ranges.length === 0) continue;
    const result = check('compared', await native().regionCompare(left.region, right.region, ranges));
    totals.holePages += result.holes / PAGE;
    totals.pagesCompared += (result.data + result.holes) / PAGE;
    totals.mismatches += result.mismatches;
    for (const offset of result.first) totals.first.push(offset - left.offset + left.gpa);
  }
  return totals;
}

function sectionPairs(from: GuestMemory, to: GuestMemory): [Section, Section][] {
  const different = new VdpaError('ERR_VDPA_INVALID_ARGUMENT', 'The two guest memories do not have the same sections.');
  if (from.sections.length !== to.sections.length) throw different;
  const pairs = from.sections.map((section, index): [Section, Section] => {
    const other = to.sections[index]!;
    if (other.gpa !== section.gpa || other.size !== section.size || other.offset !== section.offset) throw different;
    return [section, other];
  });
  // Another device's memory is not the guest's to take along.
  return pairs.filter(([section]) => isGuestMemory(section));
}

/** The parts of the runs inside a section, as offsets into its region. */
function clip(runs: Float64Array, section: Section): Float64Array {
  const ranges: number[] = [];
  for (let i = 0; i < runs.length; i += 2) {
    const start = Math.max(runs[i]!, section.gpa);
    const end = Math.min(runs[i]! + runs[i + 1]!, section.gpa + section.size);
    if (start < end) ranges.push(start - section.gpa + section.offset, end - start);
  }
  return Float64Array.from(ranges);
}

function check(verb: string, result: NativeTransfer): NativeTransfer {
  if (result.errno === 0) return result;
  throw new VdpaError(
    'ERR_VDPA_MEMORY',
    `Guest memory could not be ${verb}: ${errnoName(result.errno)} after ${result.data} bytes. Is there room in memory and in /dev/shm?`,
    { details: { errno: result.errno, bytes: result.data } },
  );
}
