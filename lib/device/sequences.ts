/**
 * The sequences every parent accepts (drivers/vhost/vdpa.c; virtio 1.3 §3.1.1), as lists of operations. A start is one
 * submission; a switch or a stop is two: quiesce, then restart.
 */
import type { QueueAddresses } from '../ring/addresses.js';
import type { Operation } from '../uapi/operation.js';
import {
  VIRTIO_CONFIG_S_ACKNOWLEDGE,
  VIRTIO_CONFIG_S_DRIVER,
  VIRTIO_CONFIG_S_DRIVER_OK,
  VIRTIO_CONFIG_S_FEATURES_OK,
} from '../uapi/status.js';

/** Everything a queue is programmed with; addresses are IOVAs. */
export interface QueueProgram {
  readonly index: number;
  readonly addresses: QueueAddresses;
  /** Next avail index the device takes, free-running 16 bits. */
  readonly base: number;
  /** eventfds: the device watches one and signals the other. */
  readonly kickFd: number;
  readonly callFd: number;
}

/** Sets a status and reads it back: a parent refuses FEATURES_OK and DRIVER_OK silently. */
export function statusOperations(status: number): Operation[] {
  return [
    { op: 'setStatus', status },
    { op: 'getStatus', expect: { mask: 0xff, equals: status } },
  ];
}

/** Back to the state after open. What vhost holds (maps, owner, backend features, kick fds) stays. */
export function resetOperations(): Operation[] {
  return [
    { op: 'setStatus', status: 0, always: true },
    { op: 'getStatus', expect: { mask: 0xff, equals: 0 } },
  ];
}

/** From reset to DRIVER_OK: a reset forgets all of this, so all of it is sent again. */
export function startOperations(features: bigint, queues: readonly QueueProgram[]): Operation[] {
  const driver = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;
  const negotiated = driver | VIRTIO_CONFIG_S_FEATURES_OK;
  return [
    { op: 'setStatus', status: VIRTIO_CONFIG_S_ACKNOWLEDGE },
    { op: 'setStatus', status: driver },
    { op: 'setFeatures', features },
    ...statusOperations(negotiated),
    ...queues.flatMap(queueOperations),
    // Before DRIVER_OK: a VDUSE daemon, and any parent without ENABLE_AFTER_DRIVER_OK, reads it there.
    ...queues.map(({ index }): Operation => ({ op: 'setVringEnable', index, num: 1 })),
    ...statusOperations(negotiated | VIRTIO_CONFIG_S_DRIVER_OK),
  ];
}

/** Stops descriptor processing and reads where each queue stands. */
export function quiesceOperations(indices: readonly number[]): Operation[] {
  return [{ op: 'suspend' }, ...indices.map((index): Operation => ({ op: 'getVringBase', index }))];
}

function queueOperations({ index, addresses, base, kickFd, callFd }: QueueProgram): Operation[] {
  const { size, desc, driver, device } = addresses;
  return [
    { op: 'setVringNum', index, num: size },
    // After FEATURES_OK: vp_vdpa refuses a base earlier, and the encoding depends on the acknowledged ring format.
    { op: 'setVringBase', index, num: base },
    { op: 'setVringAddr', index, desc, avail: driver, used: device },
    { op: 'setVringCall', index, fd: callFd },
    { op: 'setVringKick', index, fd: kickFd },
  ];
}
