/** The map plan of a machine on a device, as a document: `svq.iova-plan/1`. */
import type { DeviceMemory } from '../iova/device-memory.js';
import type { IovaLimits } from '../iova/limits.js';
import { pageCoverage } from '../iova/page-coverage.js';
import type { Placement } from '../iova/placement.js';
import { type MemoryRegion, regionAddress } from '../memory/region.js';
import { memoryBytes, type Topology } from '../memory/topology.js';
import type { Operation, OperationResult } from '../uapi/operation.js';

export interface PlanFacts {
  readonly device: string;
  readonly machine: Topology;
  /** How the machine was named (`--topology`), if it was. */
  readonly machineName: string | undefined;
  readonly placement: Placement;
  readonly limits: IovaLimits;
  /** Whether the device pins what it maps. */
  readonly pins: boolean;
  readonly memory: DeviceMemory;
  readonly rings: MemoryRegion;
  readonly operations: readonly Operation[];
  /** Results of the operations, and of those that undo them, when they were carried out. */
  readonly measured:
    | { readonly map: readonly OperationResult[]; readonly unmap: readonly OperationResult[] }
    | undefined;
}

type Update = Extract<Operation, { op: 'iotlbUpdate' }>;

export function planDocument(facts: PlanFacts) {
  const { device, machine, machineName, placement, limits, memory, operations, measured, pins } = facts;
  const placed = byPlace(memory, placement);
  const maps = operations.flatMap((operation, i) =>
    operation.op === 'iotlbUpdate' ? [describeMap(facts.rings, placed, operation, measured?.map[i])] : [],
  );
  const mappedBytes = sum(maps, map => map.size);
  const pinnable = limits.pinnable();
  return {
    schema: 'svq.iova-plan/1',
    device,
    machine: machineName ?? null,
    memory_bytes: memoryBytes(machine),
    placement,
    granule: limits.granule,
    iova_range: { first: limits.first, last: limits.last },
    reserved: limits.reserved.map(({ first, last, type }) => ({ first: BigInt(first), last: BigInt(last), type })),
    hotplug: machine.hotplug
      ? { base: BigInt(machine.hotplug.base), size: machine.hotplug.size, slots: machine.hotplug.slots }
      : null,
    maps,
    skipped: [...memory.skipped, ...notMemory(machine)]
      .sort((a, b) => a.gpa - b.gpa)
      .map(({ gpa, ...range }) => ({ ...range, gpa: BigInt(gpa) })),
    cost: {
      operations: operations.length,
      maps: maps.length,
      // One entry a map: all of it is one mapping of this process. A device that pins takes one for each physical run instead.
      entries: pins ? null : maps.length,
      max_entries: limits.maxEntries ?? null,
      device_max_entries: limits.deviceMaxEntries ?? null,
      mapped_bytes: mappedBytes,
      pinned_bytes: pins ? mappedBytes : 0,
      pinnable_bytes: pins ? (pinnable ?? null) : null,
      bytes_in_1g_pages: sum(maps, map => map.bytes_in_1g_pages),
      bytes_in_2m_pages: sum(maps, map => map.bytes_in_2m_pages),
      map_us: measured ? rounded(sum(measured.map, duration)) : null,
      unmap_us: measured ? rounded(sum(measured.unmap, duration)) : null,
    },
    operations: operations.map((operation, i) => ({
      op: operation.op,
      ...('iova' in operation ? { iova: BigInt(operation.iova), size: operation.size } : {}),
      us: measured ? duration(measured.map[i]!) : null,
    })),
  };
}

export type IovaPlanDocument = ReturnType<typeof planDocument>;

interface PlacedRange {
  readonly at: number;
  readonly range: DeviceMemory['ranges'][number];
}

/** By region, sorted by where the device has them: a machine can have many thousands. */
function byPlace({ ranges }: DeviceMemory, placement: Placement): ReadonlyMap<number, readonly PlacedRange[]> {
  const shadowed = placement !== 'identity';
  const regions = new Map<number, PlacedRange[]>();
  for (const range of ranges) {
    const placed = { at: shadowed ? range.iova : range.gpa, range };
    const others = regions.get(range.region);
    if (others) others.push(placed);
    else regions.set(range.region, [placed]);
  }
  for (const placed of regions.values()) placed.sort((a, b) => a.at - b.at);
  return regions;
}

function rangesIn(placed: readonly PlacedRange[], start: number, end: number): DeviceMemory['ranges'][number][] {
  let [low, high] = [0, placed.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (placed[middle]!.at < start) low = middle + 1;
    else high = middle;
  }
  const inside = [];
  for (let i = low; i < placed.length && placed[i]!.at < end; i++) inside.push(placed[i]!.range);
  return inside;
}

function describeMap(
  rings: MemoryRegion,
  placed: ReadonlyMap<number, readonly PlacedRange[]>,
  update: Update,
  result: OperationResult | undefined,
) {
  const { iova, size, region, offset, perm } = update;
  const inside = rangesIn(placed.get(region) ?? [], iova, iova + size);
  const pages = pageCoverage(iova, regionAddress(region) + offset, size);
  return {
    iova: BigInt(iova),
    size,
    perm,
    memory: region === rings.id ? ['shadow rings'] : [...new Set(inside.map(range => range.name))],
    gpa: inside[0] ? BigInt(inside[0].gpa) : null,
    sections: inside.length,
    bytes_in_1g_pages: pages.huge,
    bytes_in_2m_pages: pages.large,
    us: result ? duration(result) : null,
  };
}

/** Sections that have no memory behind them, listed so that every section of the machine is accounted for. */
function notMemory({ sections }: Topology) {
  return sections
    .filter(section => section.kind === 'io')
    .map(({ name, kind, gpa, size }) => ({
      name,
      kind,
      gpa,
      size,
      reason: 'not-memory' as const,
      why: 'no memory is behind it',
    }));
}

function duration({ duration_ms }: OperationResult): number {
  return rounded(duration_ms * 1000);
}

/** Microseconds to the nanosecond, which is what the clock tells. */
function rounded(us: number): number {
  return Math.round(us * 1000) / 1000;
}

function sum<T>(items: readonly T[], value: (item: T) => number): number {
  return items.reduce((total, item) => total + value(item), 0);
}
