/**
 * A machine's memory in one address space of a device: which maps it needs in passthrough and while shadowed, where every
 * guest address stands, and what the device is not given. A value: a change of memory makes a new one, so that a change that is
 * refused leaves nothing behind.
 */
import { AddressError, hex } from '../errors.js';
import { regionAddress } from '../memory/region.js';
import type { Section } from '../memory/section.js';
import { IovaTree } from './iova-tree.js';
import type { IovaLimits } from './limits.js';
import type { IovaMap } from './map.js';
import { type GuestWindow, type Placement, RELOCATION, shadowRingsIova } from './placement.js';
import { type SectionRange, type SkippedRange, sectionRanges, skip, unmappable } from './section-ranges.js';
import type { TranslationEntry } from './translation.js';

/** Memory of ours that a device works on: the shadow rings. */
export interface HostMemory {
  readonly region: number;
  readonly size: number;
}

export interface DeviceMemoryOptions {
  readonly placement: Placement;
  readonly limits: IovaLimits;
  readonly rings?: HostMemory | undefined;
  /** Guest addresses kept free for memory that may be plugged in. */
  readonly hotplug?: { readonly base: number; readonly size: number } | undefined;
  /** First guest address above all memory that is there or may come. */
  readonly end: number;
}

/** A range of guest memory at its place while shadowed. */
export interface PlacedRange extends SectionRange {
  readonly iova: number;
}

export class DeviceMemory {
  readonly ranges: readonly PlacedRange[];
  readonly skipped: readonly SkippedRange[];
  /** Address of the shadow rings, in passthrough and while shadowed. */
  readonly ringsIova: number;
  readonly #sections: readonly Section[];
  readonly #options: DeviceMemoryOptions;
  readonly #tree: IovaTree;

  /**
   * @param previous The same memory before a change: what stays keeps its place.
   * @param refused Regions of other devices' memory that the kernel did not take.
   * @throws AddressError when RAM or ROM cannot be mapped, with the section and the reason.
   */
  constructor(
    sections: readonly Section[],
    options: DeviceMemoryOptions,
    previous?: DeviceMemory,
    refused: ReadonlySet<number> = new Set(),
  ) {
    const { limits, rings } = options;
    const found = sectionRanges(sections, limits.granule);
    const skipped = [...found.skipped];
    this.#sections = sections;
    this.#options = options;
    this.#tree = new IovaTree(limits);
    this.ringsIova = previous?.ringsIova ?? placeRings(found.ranges, options);
    if (rings) this.#tree.map({ hva: regionAddress(rings.region), size: rings.size, writable: true }, this.ringsIova);
    const places = new Map(previous?.ranges.map(range => [keyOf(range), range.iova]));
    // What has a place keeps it: only then is it known what is free for the rest.
    const staying = found.ranges.filter(range => places.has(keyOf(range)));
    const coming = found.ranges.filter(range => !places.has(keyOf(range)));
    const placed = [...staying, ...coming].flatMap(range => {
      if (range.kind === 'ram-device' && refused.has(range.region))
        skipped.push(skip(range, 'refused', 'the kernel refused the map'));
      else return this.#place(range, places.get(keyOf(range)), skipped);
      return [];
    });
    this.ranges = placed.sort((a, b) => a.gpa - b.gpa);
    this.skipped = skipped.sort((a, b) => a.gpa - b.gpa);
  }

  /** The same without other devices' memory in these regions. */
  without(refused: ReadonlySet<number>): DeviceMemory {
    return new DeviceMemory(this.#sections, this.#options, this, refused);
  }

  /** The maps the device needs. In passthrough IOVA = GPA, whatever the placement. */
  maps(shadowed: boolean): IovaMap[] {
    const { rings } = this.#options;
    const maps = this.ranges.map(
      ({ gpa, iova, size, region, offset, perm }): IovaMap => ({
        iova: shadowed ? iova : gpa,
        size,
        region,
        offset,
        perm,
      }),
    );
    if (rings) maps.push({ iova: this.ringsIova, size: rings.size, region: rings.region, offset: 0, perm: 'rw' });
    return maps;
  }

  /** Addresses of the maps that the guest can do without: memory of other devices. */
  optional(shadowed: boolean): Set<number> {
    const devices = this.ranges.filter(range => range.kind === 'ram-device');
    return new Set(devices.map(range => (shadowed ? range.iova : range.gpa)));
  }

  /** Guest address to IOVA while shadowed. */
  translation(): TranslationEntry[] {
    return this.ranges.map(({ gpa, size, iova, perm }) => ({ from: gpa, size, to: iova, writable: perm === 'rw' }));
  }

  /** How much of the memory can stand in large IOMMU pages while shadowed. */
  coverage(): ReturnType<IovaTree['coverage']> {
    return this.#tree.coverage();
  }

  #place(range: SectionRange, iova: number | undefined, skipped: SkippedRange[]): PlacedRange[] {
    const { gpa, hva, size, perm } = range;
    const { placement } = this.#options;
    const fixed = placement === 'allocated' ? iova : gpa + (placement === 'relocated' ? RELOCATION : 0);
    try {
      return [{ ...range, iova: this.#tree.map({ gpa, hva, size, writable: perm === 'rw' }, fixed) }];
    } catch (error) {
      if (!(error instanceof AddressError)) throw error;
      if (range.kind !== 'ram-device') throw unmappable(range, withoutStop(error), { cause: error });
      skipped.push(skip(range, 'out-of-range', withoutStop(error)));
      return [];
    }
  }
}

/** A range of memory is the same as long as it is the same memory at the same guest address. */
function keyOf({ gpa, size, region, offset }: SectionRange): string {
  return `${hex(gpa)}:${size}:${region}:${offset}`;
}

function placeRings(ranges: readonly SectionRange[], options: DeviceMemoryOptions): number {
  const { rings, hotplug, end, placement, limits } = options;
  if (!rings) return 0;
  const guest: GuestWindow[] = ranges.filter(
    ({ gpa }) => !hotplug || gpa < hotplug.base || gpa >= hotplug.base + hotplug.size,
  );
  if (hotplug) guest.push({ gpa: hotplug.base, size: hotplug.size });
  return shadowRingsIova(guest, end, rings.size, placement, limits);
}

/** A sentence as a part of another. */
function withoutStop(error: Error): string {
  return error.message.replace(/\.$/, '');
}
