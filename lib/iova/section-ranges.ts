/**
 * What of a machine's memory a device can be given. The kernel maps whole pages only, and a device that works on virtual
 * addresses skips some kinds of memory and answers success, so both are decided here, before anything is sent.
 */
import { AddressError, hex } from '../errors.js';
import { regionAddress } from '../memory/region.js';
import { describeSection, type MemoryKind, type Section } from '../memory/section.js';
import { readVmas, type Vma, whySkipped } from '../memory/vma.js';
import type { Permission } from '../uapi/operation.js';

/** A range of guest memory that is mapped as a whole: a section, rounded to granules. */
export interface SectionRange extends Section {
  readonly perm: Permission;
  /** Where the process has it. */
  readonly hva: number;
}

/** Guest memory that a device is not given. */
export interface SkippedRange {
  readonly name: string;
  readonly kind: MemoryKind;
  readonly gpa: number;
  readonly size: number;
  readonly reason: 'unaligned' | 'unmappable' | 'out-of-range' | 'refused';
  /** For people. */
  readonly why: string;
}

export interface SectionRanges {
  readonly ranges: readonly SectionRange[];
  readonly skipped: readonly SkippedRange[];
}

/**
 * The ranges to map, by guest address. RAM and ROM are rounded inwards to granules; another device's memory is mapped whole or
 * skipped, because a part of a register block is of no use.
 * @param granule Bytes of the smallest unit that is mapped: the host's page, or what the IOMMU is known to need.
 * @throws AddressError when RAM or ROM cannot be mapped, with the section and the reason.
 */
export function sectionRanges(sections: readonly Section[], granule: number): SectionRanges {
  const ranges: SectionRange[] = [];
  const skipped: SkippedRange[] = [];
  const vmas = readVmas(sections.some(section => section.kind === 'ram-device'));
  for (const section of sections) {
    const range = roundedRange(section, granule, skipped);
    if (range && isMappable(section, range, vmas, skipped)) ranges.push(range);
  }
  return { ranges, skipped };
}

function roundedRange(section: Section, granule: number, skipped: SkippedRange[]): SectionRange | undefined {
  const { name, kind, gpa, size, region, offset } = section;
  const aligned = gpa % granule === 0 && size % granule === 0;
  const congruent = (gpa - offset) % granule === 0;
  if (kind === 'ram-device' ? !aligned || !congruent : !congruent) {
    const why = congruent
      ? `its address and size are not multiples of ${hex(granule)}`
      : `guest address ${hex(gpa)} and offset ${hex(offset)} of its memory differ within a page of ${hex(granule)}`;
    if (kind !== 'ram-device') throw unmappable(section, why);
    skipped.push(skip(section, 'unaligned', why));
    return undefined;
  }
  const start = Math.ceil(gpa / granule) * granule;
  const end = Math.floor((gpa + size) / granule) * granule;
  for (const [from, to] of start < end
    ? [
        [gpa, start],
        [end, gpa + size],
      ]
    : [[gpa, gpa + size]]) {
    if (from! < to!)
      skipped.push(
        skip({ name, kind, gpa: from!, size: to! - from! }, 'unaligned', `less than a page of ${hex(granule)}`),
      );
  }
  if (start >= end) return undefined;
  const inner = offset + (start - gpa);
  const perm = kind === 'rom' ? 'ro' : 'rw';
  return { name, kind, gpa: start, size: end - start, region, offset: inner, perm, hva: regionAddress(region) + inner };
}

function isMappable(
  section: Section,
  { hva, size }: SectionRange,
  vmas: readonly Vma[],
  skipped: SkippedRange[],
): boolean {
  const why = whySkipped(vmas, hva, size);
  if (why === undefined) return true;
  if (section.kind !== 'ram-device') throw unmappable(section, `${why}, and the kernel would leave it out silently`);
  skipped.push(skip(section, 'unmappable', why));
  return false;
}

/** Why a section, or a part of it, is left out. */
export function skip(
  { name, kind, gpa, size }: Pick<SkippedRange, 'name' | 'kind' | 'gpa' | 'size'>,
  reason: SkippedRange['reason'],
  why: string,
): SkippedRange {
  return { name, kind, gpa, size, reason, why };
}

/** The error for memory that the guest cannot do without. */
export function unmappable(
  section: Pick<SkippedRange, 'name' | 'kind' | 'gpa' | 'size'>,
  why: string,
  options: { code?: 'ERR_VDPA_ADDRESS' | 'ERR_VDPA_MEMLOCK'; cause?: unknown } = {},
): AddressError {
  const { name, kind, gpa, size } = section;
  return new AddressError(`Guest memory ${describeSection(section)} (${kind}) cannot be mapped: ${why}.`, {
    ...options,
    details: { name, kind, gpa, size },
  });
}
