/** What a hostile or broken peer can do to a virtqueue, each by its stable `details.kind`. */
import { hex, RingError } from '../errors.js';

/** The driver's faults, which the device side finds (virtio 1.3 §2.7). */
const DRIVER_FAULTS = {
  'avail-jump': 'avail.idx moved further than the queue has entries',
  'head-range': 'an avail entry names a head beyond the descriptor table',
  'in-flight': 'an avail entry names a head that is still in flight',
  'next-range': 'a descriptor goes on beyond the descriptor table',
  loop: 'a chain has more descriptors than the queue, so it loops',
  indirect: 'a descriptor is indirect, though VIRTIO_F_INDIRECT_DESC was not negotiated',
  order: 'a chain has a readable descriptor after a writable one',
  address: 'a descriptor names an address above 2^53 - 1, which no mapping can hold',
  bytes: 'a chain is longer than 2^32 bytes in total',
} as const;

/** The device's faults, which the driver side finds (virtio 1.3 §2.7.8). */
const DEVICE_FAULTS = {
  'used-jump': 'used.idx moved further than chains were made available',
  'id-range': 'a used element names a head beyond the descriptor table',
  'not-in-flight': 'a used element names a head that is not in flight',
  'used-length': 'a used element claims more bytes than its chain has writable',
} as const;

export type DriverFault = keyof typeof DRIVER_FAULTS;
export type DeviceFault = keyof typeof DEVICE_FAULTS;

/** The numbers that belong to a fault: `index` is always the free-running ring index it was found at. */
export type FaultValues = Readonly<Record<string, number>> & { readonly index: number };

/** The error for a driver that broke the contract. */
export function driverFault(kind: DriverFault, values: FaultValues): RingError {
  const message = `The driver broke the virtqueue contract: ${DRIVER_FAULTS[kind]} (${list(values)}).`;
  const advice = 'Nothing after this entry can be trusted: stop the queue and have the driver reset the device.';
  return new RingError(`${message} ${advice}`, { details: { kind, ...values } });
}

/** The error for a device that broke the contract. */
export function deviceFault(kind: DeviceFault, values: FaultValues): RingError {
  const message = `The device broke the virtqueue contract: ${DEVICE_FAULTS[kind]} (${list(values)}).`;
  const advice = 'Its memory accesses cannot be trusted either: reset the device.';
  return new RingError(`${message} ${advice}`, { details: { kind, ...values } });
}

function list(values: FaultValues): string {
  return Object.entries(values)
    .map(([name, value]) => `${name} ${hex(value)}`)
    .join(', ');
}
