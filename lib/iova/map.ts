/** What a device's address space holds: ranges of I/O virtual addresses and the memory behind them. */
import { hex } from '../errors.js';
import type { Permission } from '../uapi/operation.js';

/** A range of I/O virtual addresses, in bytes. */
export interface AddressRange {
  readonly iova: number;
  readonly size: number;
}

/** One mapping, as an IOTLB UPDATE makes it. Addresses and sizes in bytes. */
export interface IovaMap extends AddressRange {
  /** Id of the memory region, and where in it the mapping starts. */
  readonly region: number;
  readonly offset: number;
  readonly perm: Permission;
}

/** Whether two mappings are the same message to the kernel. */
export function sameMap(a: IovaMap, b: IovaMap): boolean {
  return a.iova === b.iova && a.size === b.size && agree(a, b);
}

/** Whether two mappings give the same memory and permission to an address that both hold, or would hold if they were longer. */
export function agree(a: IovaMap, b: IovaMap): boolean {
  return a.region === b.region && a.perm === b.perm && a.offset - a.iova === b.offset - b.iova;
}

/** The first address behind a range. */
export function endOf({ iova, size }: AddressRange): number {
  return iova + size;
}

/** Whether two ranges have a byte in common. */
export function touch(a: AddressRange, b: AddressRange): boolean {
  return a.iova < endOf(b) && b.iova < endOf(a);
}

/** The part [from, to) of a mapping. */
export function partOf({ iova, region, offset, perm }: IovaMap, from: number, to: number): IovaMap {
  return { iova: from, size: to - from, region, offset: offset + (from - iova), perm };
}

/** Sorted by address, as every list of maps in this folder is. */
export function sortMaps<Range extends AddressRange>(maps: Iterable<Range>): Range[] {
  return [...maps].sort((a, b) => a.iova - b.iova);
}

/** Bytes that ranges cover. */
export function sizeOf(ranges: readonly AddressRange[]): number {
  return ranges.reduce((sum, range) => sum + range.size, 0);
}

/** `0x1000-0x2fff`. */
export function describeRange({ iova, size }: AddressRange): string {
  return `${hex(iova)}-${hex(iova + size - 1)}`;
}
