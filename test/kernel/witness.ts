/** Watches a rehearsal's operations and the rings behind them: what the device was really given. */
import { type Device, MemoryRegion, type Operation, observe } from 'vhost-vdpa';

/** Addresses a device was told to work with, in order. */
export interface Given {
  /** desc, avail, used of each SET_VRING_ADDR. */
  readonly rings: { desc: number; avail: number; used: number }[];
  /** Addresses in the descriptor table of the ring in use, read at each suspend. */
  readonly buffers: number[][];
}

const DESC_BYTES = 16;

export function witness(device: Device, given: Given, size: number): Device {
  const maps = new Map<number, Extract<Operation, { op: 'iotlbUpdate' }>>();
  return observe(device, (operations, results) => {
    operations.forEach((operation, i) => {
      if (!results[i]!.ran || results[i]!.errno !== 0) return;
      if (operation.op === 'iotlbUpdate') maps.set(operation.iova, operation);
      if (operation.op === 'iotlbInvalidate') maps.delete(operation.iova);
      if (operation.op === 'setVringAddr') given.rings.push(operation);
      if (operation.op === 'suspend') given.buffers.push(readTable(given.rings.at(-1)!.desc, size, [...maps.values()]));
    });
  });
}

/** Addresses of all descriptors that were ever written in a table. */
function readTable(iova: number, size: number, maps: Extract<Operation, { op: 'iotlbUpdate' }>[]): number[] {
  const map = maps.find(m => iova >= m.iova && iova < m.iova + m.size)!;
  const region = MemoryRegion.open(map.region);
  const words = new Uint32Array(region.view(map.offset + iova - map.iova, size * DESC_BYTES));
  const addresses: number[] = [];
  for (let i = 0; i < size; i++) {
    const length = words[i * 4 + 2]!;
    if (length > 0) addresses.push(words[i * 4]! + words[i * 4 + 1]! * 2 ** 32);
  }
  return addresses;
}
