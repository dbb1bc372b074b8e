/**
 * What IOTLB messages cost on a device: the time inside their system calls, as the operations' own stamps tell it, taken in native
 * code around each call (on a soft device, around its model). Nothing is subtracted; encoding, decoding and threads are outside.
 *
 * - `map`, `unmap` (us per map): so many maps of one granule each, with gaps between them, one message after the other. A parent that
 *   takes whole tables (.set_map) takes one for each message, so this grows with their number.
 * - `map_batched`, `unmap_batched` (us per map): the same in one batch, its BEGIN and END included, shared out among the maps.
 * - `map`, `unmap` with `bytes` of 1 GiB and more (us/GiB): one map of sparse memory. A device that pins would have to fill it, so it
 *   has no such case.
 *
 * Every run maps into an empty address space and empties it again. Addresses ascend, as a planner sends them.
 */
import { readCapabilities } from '../device/capabilities.js';
import { type Device, run } from '../device/device.js';
import { readLimits } from '../device/host-limits.js';
import { pinsMemory } from '../device/kernel/sysfs.js';
import { openDevice } from '../device/open.js';
import { isSoft } from '../device/reference.js';
import { resetOperations } from '../device/sequences.js';
import { entryCap, type IovaLimits, validateMaps } from '../iova/limits.js';
import type { IovaMap } from '../iova/map.js';
import { MemoryRegion } from '../memory/region.js';
import {
  VHOST_BACKEND_F_IOTLB_ASID,
  VHOST_BACKEND_F_IOTLB_BATCH,
  VHOST_BACKEND_F_IOTLB_MSG_V2,
} from '../uapi/backend-features.js';
import type { Operation, OperationResult } from '../uapi/operation.js';
import type { BenchCase } from './measure.js';

const COUNTS = [16, 256, 1024];
const GIB = 2 ** 30;
const LARGE = [GIB, 64 * GIB];

/** Above what x86 reserves, where the device's range allows. */
const BASE = 4 * GIB;

const ASID = 0;
const BEGIN: Operation = { op: 'iotlbBatchBegin', asid: ASID };
const END: Operation = { op: 'iotlbBatchEnd', asid: ASID, always: true };
const FEATURES = VHOST_BACKEND_F_IOTLB_MSG_V2 | VHOST_BACKEND_F_IOTLB_BATCH | VHOST_BACKEND_F_IOTLB_ASID;

export interface IotlbBench {
  readonly cases: BenchCase[];
  /** Leaves the device reset and without maps. */
  close(): Promise<void>;
}

/**
 * Opens a device, which resets it, and prepares the cases its limits allow.
 * @throws what `openDevice` throws.
 */
export async function openIotlbBench(reference: string): Promise<IotlbBench> {
  const device = await openDevice(reference);
  let memory: MemoryRegion | undefined;
  try {
    const capabilities = await readCapabilities(device);
    const features = capabilities.backendFeatures & FEATURES;
    await run(device, [{ op: 'setBackendFeatures', features }]);
    const limits = readLimits(device.path, capabilities);
    const pins = !isSoft(device.path) && pinsMemory(device.path);
    const most = mostMaps(limits);
    const counts = [...new Set(COUNTS.map(count => Math.min(count, most)))];
    const sizes = pins ? [] : LARGE;
    memory = MemoryRegion.create('bench-iotlb', Math.max(...counts.map(count => count * limits.granule), ...sizes));
    const bench = { device, memory, limits };
    const batched = (features & VHOST_BACKEND_F_IOTLB_BATCH) !== 0n;
    return {
      cases: [
        ...counts.flatMap(count => manyCases(bench, count, batched)),
        ...sizes.flatMap(size => largeCases(bench, size)),
      ],
      close: () => close(bench),
    };
  } catch (error) {
    memory?.close();
    await device.close();
    throw error;
  }
}

interface Bench {
  readonly device: Device;
  readonly memory: MemoryRegion;
  readonly limits: IovaLimits;
}

/** Maps of one granule that the limits allow, at least one: then the device says why not. */
function mostMaps(limits: IovaLimits): number {
  const pinnable = limits.pinnable() ?? Number.POSITIVE_INFINITY;
  return Math.max(1, Math.min(entryCap(limits), Math.floor(pinnable / limits.granule)));
}

function manyCases(bench: Bench, count: number, batched: boolean): BenchCase[] {
  const { granule } = bench.limits;
  const maps = Array.from({ length: count }, (_, i) => makeMap(bench, 2 * i * granule, i * granule, granule));
  const params = { maps: count, bytes: granule };
  const figure = (part: 'map' | 'unmap', inBatch: boolean) => async () =>
    (await mapAndUnmap(bench, maps, inBatch))[part] / count;
  return [false, ...(batched ? [true] : [])].flatMap(inBatch =>
    (['map', 'unmap'] as const).map(part => ({
      name: inBatch ? `${part}_batched` : part,
      params,
      unit: 'us',
      run: figure(part, inBatch),
    })),
  );
}

/** None where the device's range is too small. */
function largeCases(bench: Bench, size: number): BenchCase[] {
  if (BigInt(baseOf(bench.limits) + size - 1) > bench.limits.last) return [];
  const maps = [makeMap(bench, 0, 0, size)];
  return (['map', 'unmap'] as const).map(part => ({
    name: part,
    params: { maps: 1, bytes: size },
    unit: 'us/GiB',
    run: async () => (await mapAndUnmap(bench, maps, false))[part] / (size / GIB),
  }));
}

function makeMap({ limits, memory }: Bench, distance: number, offset: number, size: number): IovaMap {
  return { iova: baseOf(limits) + distance, size, region: memory.id, offset, perm: 'rw' };
}

function baseOf({ first, last, granule }: IovaLimits): number {
  if (first <= BigInt(BASE) && BigInt(BASE) < last) return BASE;
  return Math.ceil(Number(first) / granule) * granule;
}

/** Microseconds that the messages took. */
async function mapAndUnmap({ device, limits }: Bench, maps: readonly IovaMap[], batched: boolean) {
  validateMaps(ASID, maps, limits);
  const updates = maps.map((map): Operation => ({ op: 'iotlbUpdate', asid: ASID, ...map }));
  const unmaps = maps.map(({ iova, size }): Operation => ({ op: 'iotlbInvalidate', asid: ASID, iova, size }));
  const list = (messages: readonly Operation[]) => (batched ? [BEGIN, ...messages, END] : messages);
  const map = microseconds(await run(device, list(updates)));
  return { map, unmap: microseconds(await run(device, list(unmaps))) };
}

function microseconds(results: readonly OperationResult[]): number {
  return results.reduce((sum, result) => sum + result.duration_ms, 0) * 1000;
}

/** A run that failed may have left maps, which end with the file. */
async function close({ device, memory }: Bench): Promise<void> {
  try {
    await device.submit(resetOperations());
  } finally {
    await device.close();
    memory.close();
  }
}
