/** A queue of a guest: where it is in guest memory, and how guest and device notify each other. */
import type { QueueAddresses } from '../ring/addresses.js';

export interface GuestQueue {
  readonly index: number;
  /** By guest physical address. */
  readonly addresses: QueueAddresses;
  /** eventfds: the guest kicks one and is called through the other. */
  readonly kickFd: number;
  readonly callFd: number;
}
