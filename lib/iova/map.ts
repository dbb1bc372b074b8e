/** What a device's address space holds: ranges of I/O virtual addresses and the memory behind them. */
import type { Permission } from '../uapi/operation.js';

/** One mapping, as an IOTLB UPDATE makes it. Addresses and sizes in bytes. */
export interface IovaMap {
  readonly iova: number;
  readonly size: number;
  /** Id of the memory region, and where in it the mapping starts. */
  readonly region: number;
  readonly offset: number;
  readonly perm: Permission;
}

/** Whether two mappings are the same message to the kernel. */
export function sameMap(a: IovaMap, b: IovaMap): boolean {
  return a.iova === b.iova && a.size === b.size && a.region === b.region && a.offset === b.offset && a.perm === b.perm;
}

/** Sorted by address, as every list of maps in this folder is. */
export function sortMaps(maps: readonly IovaMap[]): IovaMap[] {
  return [...maps].sort((a, b) => a.iova - b.iova);
}
