/** The rings the device works on while shadowed: one region, a layout, an address, and two eventfds per queue. */

import type { GuestQueue } from '../device/guest-queue.js';
import type { QueueProgram } from '../device/sequences.js';
import { closeFd, createEventFd, signalEventFd } from '../eventfd.js';
import { MemoryRegion } from '../memory/region.js';
import type { QueueAddresses } from '../ring/addresses.js';
import { ringLayout } from '../ring/areas.js';

interface ShadowRing {
  readonly index: number;
  /** By offset in the region. */
  readonly addresses: QueueAddresses;
  readonly kickFd: number;
  readonly callFd: number;
}

export class ShadowRings {
  readonly region: MemoryRegion;
  readonly #rings: ShadowRing[] = [];

  /** Shadow rings as large as the guest's, one after another, in whole granules, so that they can be mapped. */
  constructor(queues: readonly GuestQueue[], granule: number) {
    let bytes = 0;
    for (const { index, addresses } of queues) {
      const { size } = addresses;
      const layout = ringLayout(size);
      this.#rings.push({
        index,
        addresses: {
          size,
          desc: bytes + layout.descOffset,
          driver: bytes + layout.driverOffset,
          device: bytes + layout.deviceOffset,
        },
        kickFd: createEventFd(),
        callFd: createEventFd(),
      });
      bytes += layout.bytes;
    }
    this.region = MemoryRegion.create('shadow-rings', Math.ceil(bytes / granule) * granule);
  }

  /** What the device is programmed with for queue `i`, when it finds the rings at `iova`. */
  program(i: number, base: number, iova: number): QueueProgram {
    const { index, addresses, kickFd, callFd } = this.#rings[i]!;
    const { size, desc, driver, device } = addresses;
    return {
      index,
      base,
      kickFd,
      callFd,
      addresses: { size, desc: iova + desc, driver: iova + driver, device: iova + device },
    };
  }

  /** What the forwarding thread of queue `i` needs. */
  config(i: number) {
    const { addresses, kickFd, callFd } = this.#rings[i]!;
    return { rings: { region: this.region.id, addresses }, kickFd, callFd };
  }

  /** Tells the device to look at every queue: after DRIVER_OK it does not by itself. */
  kick(): void {
    for (const { kickFd } of this.#rings) signalEventFd(kickFd);
  }

  close(): void {
    this.region.close();
    for (const { kickFd, callFd } of this.#rings) {
      closeFd(kickFd);
      closeFd(callFd);
    }
    this.#rings.length = 0;
  }
}
