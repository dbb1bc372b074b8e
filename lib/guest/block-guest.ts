/** A block guest as a whole: its memory's layout, its queue's eventfds, and the thread that plays it. */
import type { GuestQueue } from '../device/guest-queue.js';
import { closeFd, createEventFd } from '../eventfd.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import type { WorkloadOptions } from './blk-workload.js';
import { type GuestThread, startGuestThread } from './guest.js';
import { type GuestLayout, layoutGuest } from './layout.js';

/** Requests beyond the depth that a guest may add while its device is held or dark. */
const SURGE = 2;
/** Descriptors of one request: header, data, status. */
const DESCRIPTORS = 3;

/** Entries of our queue, where the device allows so many. */
const QUEUE_SIZE = 256;

/** Most requests our queue carries on a device that allows so many entries. */
export function maxDepth(vringNumMax: number): number {
  return Math.floor(queueSize(vringNumMax) / DESCRIPTORS / SURGE);
}

/** A split queue's size is a power of two, what a device allows need not be. */
function queueSize(vringNumMax: number): number {
  return 2 ** Math.floor(Math.log2(Math.min(QUEUE_SIZE, vringNumMax)));
}

export class BlockGuest {
  readonly thread: GuestThread;
  readonly queue: GuestQueue;
  readonly #layout: GuestLayout;
  readonly #workload: WorkloadOptions;
  #closing: Promise<void> | undefined;

  /**
   * @param vringNumMax Entries the device allows.
   * @throws VdpaError ERR_VDPA_INVALID_ARGUMENT when the memory is too small for the workload's depth.
   */
  constructor(memory: GuestMemory, vringNumMax: number, workload: WorkloadOptions) {
    this.#layout = layoutGuest(memory, queueSize(vringNumMax), workload.depth * SURGE);
    this.#workload = workload;
    this.queue = { index: 0, addresses: this.#layout.queue, kickFd: createEventFd(), callFd: createEventFd() };
    this.thread = startGuestThread();
  }

  /** Starts making requests in that memory. */
  async start(memory: GuestMemory): Promise<void> {
    const { kickFd, callFd } = this.queue;
    await this.thread.call('start', {
      memory: memory.shape,
      layout: this.#layout,
      workload: this.#workload,
      kickFd,
      callFd,
    });
  }

  /** Ends the thread. Only after the device no longer uses the queue. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.thread.end();
    closeFd(this.queue.kickFd);
    closeFd(this.queue.callFd);
  }
}
