/** A virtqueue by the addresses of its areas, and the windows behind them. */
import { splitAvailSize, splitDescSize, splitUsedSize } from '../uapi/virtio-ring.js';
import type { RingAreas } from './areas.js';

/** Where a virtqueue's three areas are, in whatever address space its user works in (GPA or IOVA). */
export interface QueueAddresses {
  /** Entries in the queue. */
  readonly size: number;
  readonly desc: number;
  /** Driver area (avail ring). */
  readonly driver: number;
  /** Device area (used ring). */
  readonly device: number;
}

/** Windows on a queue's three areas; `view` gives the memory behind an address range or throws. */
export function ringAreas(
  addresses: QueueAddresses,
  view: (address: number, length: number) => ArrayBuffer,
): RingAreas {
  const { size, desc, driver, device } = addresses;
  return {
    desc: view(desc, splitDescSize(size)),
    descOffset: 0,
    driver: view(driver, splitAvailSize(size)),
    driverOffset: 0,
    device: view(device, splitUsedSize(size)),
    deviceOffset: 0,
  };
}
