/** The map plan for people. */
import { hex } from '../errors.js';
import { formatSize } from '../units.js';
import type { IovaPlanDocument } from './iova-plan-document.js';
import { facts, print, table } from './output.js';

export function printIovaPlan(document: IovaPlanDocument): void {
  const { device, machine, memory_bytes, placement, iova_range, granule, reserved, hotplug, cost } = document;
  print(
    facts([
      ['device', device],
      ['machine', `${machine ?? 'one section of RAM'}, ${formatSize(memory_bytes)}`],
      ['IOVA range', `${hex(iova_range.first)} to ${hex(iova_range.last)}, in pages of ${formatSize(granule)}`],
      ...reserved.map(({ first, last, type }): [string, string] => [
        'reserved',
        `${hex(first)} to ${hex(last)} (${type})`,
      ]),
      ['placement', placement],
      ...(hotplug
        ? [['hotplug', `${range(hotplug.base, hotplug.size)} kept free for ${hotplug.slots} slots`] as [string, string]]
        : []),
    ]),
  );
  printMaps(document);
  printSkipped(document);
  print('');
  print(facts(costRows(cost)));
}

function printMaps({ maps, cost }: IovaPlanDocument): void {
  const timed = cost.map_us !== null;
  const rows = maps.map(map => [
    range(map.iova, map.size),
    map.gpa === null ? '-' : hex(map.gpa),
    formatSize(map.size),
    map.perm,
    largest(map),
    ...(timed ? [map.us!.toFixed(1)] : []),
    map.memory.join(', ') + (map.sections > 1 ? ` (${map.sections} sections)` : ''),
  ]);
  print('');
  print(
    table(
      ['IOVA', 'GUEST ADDRESS', 'SIZE', 'PERM', 'LARGE PAGES', ...(timed ? ['µs'] : []), 'MEMORY'],
      rows,
      timed ? [2, 5] : [2],
    ),
  );
}

/** How much of a map can stand in large IOMMU pages. */
function largest({ size, bytes_in_1g_pages, bytes_in_2m_pages }: IovaPlanDocument['maps'][number]): string {
  const parts = [
    bytes_in_1g_pages > 0 ? `${percent(bytes_in_1g_pages, size)} 1G` : '',
    bytes_in_2m_pages > 0 ? `${percent(bytes_in_2m_pages, size)} 2M` : '',
  ].filter(part => part !== '');
  return parts.join(' ') || '-';
}

function printSkipped({ skipped }: IovaPlanDocument): void {
  if (skipped.length === 0) return;
  const rows = skipped.map(({ gpa, size, kind, name, why }) => [range(gpa, size), formatSize(size), kind, name, why]);
  print('');
  print(table(['NOT MAPPED', 'SIZE', 'KIND', 'MEMORY', 'WHY'], rows, [1]));
}

function costRows(cost: IovaPlanDocument['cost']): [string, string][] {
  const { operations, maps, entries, max_entries, device_max_entries, mapped_bytes, pinned_bytes, pinnable_bytes } =
    cost;
  const cap = Math.min(max_entries ?? Number.POSITIVE_INFINITY, device_max_entries ?? Number.POSITIVE_INFINITY);
  const rows: [string, string][] = [
    ['operations', `${operations}, ${maps} of them maps`],
    [
      'entries',
      `${entries ?? 'one for each physically contiguous run'}, ${Number.isFinite(cap) ? `at most ${cap}` : 'no limit known'}`,
    ],
    ['mapped', formatSize(mapped_bytes)],
    ['pinned', pinned_bytes === 0 ? 'nothing' : `${formatSize(pinned_bytes)}, ${limit(pinnable_bytes)}`],
    [
      'large pages',
      `${percent(cost.bytes_in_1g_pages, mapped_bytes)} in 1 GiB pages, ${percent(cost.bytes_in_2m_pages, mapped_bytes)} in 2 MiB pages`,
    ],
  ];
  if (cost.map_us !== null)
    rows.push(['measured', `${cost.map_us.toFixed(1)} µs to map, ${cost.unmap_us!.toFixed(1)} µs to unmap`]);
  return rows;
}

function limit(bytes: number | null): string {
  return bytes === null ? 'no limit on pinning' : `at most ${formatSize(bytes)}`;
}

function range(start: bigint, size: number): string {
  return `${hex(start)}-${hex(start + BigInt(size) - 1n)}`;
}

function percent(part: number, whole: number): string {
  return `${Math.floor((100 * part) / whole)} %`;
}
