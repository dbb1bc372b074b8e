/** What a device can do, found out by asking it, never by kernel version. */
import { ERRNO } from '../uapi/errno.js';
import type { GetterOp, IovaRange, Operation, OperationValue, VringGetterOp } from '../uapi/operation.js';
import { type Device, run, throwFailure } from './device.js';

/** Answers of a device and its kernel; `undefined` where the kernel or the device does not know the request. */
export interface Capabilities {
  readonly deviceId: number;
  readonly features: bigint;
  readonly backendFeatures: bigint;
  readonly vqs: number;
  /** Largest ring over the device. */
  readonly vringNumMax: number;
  readonly iovaRange: IovaRange;
  readonly asids: number;
  readonly groups: number;
  readonly config: Uint8Array;
  readonly queues: readonly QueueCapabilities[];
}

export interface QueueCapabilities {
  readonly group: number | undefined;
  readonly descGroup: number | undefined;
  /** Largest ring of this queue. */
  readonly size: number | undefined;
}

/** Config reads until two are equal: vhost-vdpa has no config generation. */
const CONFIG_TRIES = 8;

/** Asks an opened and owned device. Changes nothing. */
export async function readCapabilities(device: Device): Promise<Capabilities> {
  const read = async (op: GetterOp) => (await run(device, [{ op }]))[0]!.value;
  const vqs = Number(await read('getVqsCount'));
  return {
    deviceId: Number(await read('getDeviceId')),
    features: BigInt((await read('getFeatures')) as bigint),
    backendFeatures: BigInt((await read('getBackendFeatures')) as bigint),
    vqs,
    vringNumMax: Number(await read('getVringNum')),
    iovaRange: (await run(device, [{ op: 'getIovaRange' }]))[0]!.value as IovaRange,
    asids: Number((await optional(device, { op: 'getAsNum' })) ?? 1),
    groups: Number((await optional(device, { op: 'getGroupNum' })) ?? 1),
    config: await readConfig(device, Number(await read('getConfigSize'))),
    queues: await readQueues(device, vqs),
  };
}

async function readQueues(device: Device, vqs: number): Promise<QueueCapabilities[]> {
  const queues: QueueCapabilities[] = [];
  for (let index = 0; index < vqs; index++) {
    const ask = async (op: VringGetterOp) => (await optional(device, { op, index })) as number | undefined;
    queues.push({
      group: await ask('getVringGroup'),
      descGroup: await ask('getVringDescGroup'),
      size: await ask('getVringSize'),
    });
  }
  return queues;
}

/** Who answers like this does not know the request: an old kernel, a parent, a kernel that lets its internal number out. */
const NOT_KNOWN: readonly number[] = [ERRNO.ENOTTY, ERRNO.EOPNOTSUPP, ERRNO.ENOTSUPP];

/** The value, or undefined where the request is not known. */
async function optional(device: Device, operation: Operation): Promise<OperationValue> {
  const results = await device.submit([operation]);
  if (NOT_KNOWN.includes(results[0]!.errno)) return undefined;
  throwFailure(device, [operation], results);
  return results[0]!.value;
}

async function readConfig(device: Device, length: number): Promise<Uint8Array> {
  let previous: Uint8Array | undefined;
  for (let i = 0; i < CONFIG_TRIES; i++) {
    const [result] = await run(device, [{ op: 'getConfig', offset: 0, length }]);
    const bytes = result!.value as Uint8Array;
    if (previous && Buffer.compare(bytes, previous) === 0) break;
    previous = bytes;
  }
  return previous ?? new Uint8Array(0);
}
