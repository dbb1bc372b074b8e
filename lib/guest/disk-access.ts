/**
 * Single blocks of a disk, one request at a time, before a workload starts: to look for a partition table, to prove that two
 * devices share their storage. Uses the device alone and leaves it reset.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { BlockDevice } from '../device/block.js';
import { run } from '../device/device.js';
import { resetOperations, startOperations } from '../device/sequences.js';
import { DirtyBitmap } from '../dirty/dirty-bitmap.js';
import { VdpaError } from '../errors.js';
import { closeFd, createEventFd, signalEventFd } from '../eventfd.js';
import { AddressSpace } from '../iova/address-space.js';
import type { IovaMap } from '../iova/map.js';
import { GuestMemory } from '../memory/guest-memory.js';
import type { QueueAddresses } from '../ring/addresses.js';
import { blkStatusName, VIRTIO_BLK_S_OK, VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT } from '../uapi/virtio-blk.js';
import { BlkDriver } from './blk-driver.js';
import { BLOCK_SIZE, layoutGuest } from './layout.js';

const MEMORY_BYTES = 2 * 2 ** 20;
const QUEUE_SIZE = 8;
const TIMEOUT_MS = 5000;
const POLL_MS = 1;

export class DiskAccess {
  readonly #block: BlockDevice;
  readonly #memory: GuestMemory;
  readonly #space: AddressSpace;
  readonly #driver: BlkDriver;
  readonly #kickFd = createEventFd();
  readonly #callFd = createEventFd();
  readonly #queue: QueueAddresses;

  private constructor(block: BlockDevice) {
    this.#block = block;
    this.#memory = GuestMemory.create(MEMORY_BYTES);
    this.#space = new AddressSpace(0, block.limits);
    const layout = layoutGuest(this.#memory, QUEUE_SIZE, 1);
    this.#driver = new BlkDriver(this.#memory, layout, new DirtyBitmap(this.#memory.end));
    this.#queue = layout.queue;
  }

  /** Calls back with access to the disk of an open device that nothing else uses, and leaves the device reset and unmapped. */
  static async use<T>(block: BlockDevice, callback: (access: DiskAccess) => Promise<T>): Promise<T> {
    const access = new DiskAccess(block);
    try {
      await access.#start();
      return await callback(access);
    } finally {
      await access.#stop();
    }
  }

  /** The 4 KiB at a block number. @throws VdpaError when the device answers with an error or not at all. */
  async read(block: number): Promise<Uint8Array> {
    this.#driver.prepare(0, false);
    await this.#request(VIRTIO_BLK_T_IN, block);
    const words = this.#driver.data(0);
    return new Uint8Array(words.buffer, words.byteOffset, BLOCK_SIZE).slice();
  }

  /** Writes 4 KiB at a block number. */
  async write(block: number, data: Uint8Array): Promise<void> {
    this.#driver.prepare(0, true);
    const words = this.#driver.data(0);
    new Uint8Array(words.buffer, words.byteOffset, BLOCK_SIZE).set(data);
    await this.#request(VIRTIO_BLK_T_OUT, block);
  }

  async #request(type: number, block: number): Promise<void> {
    const { path } = this.#block.device;
    this.#driver.submit(0, type, block);
    this.#driver.publish();
    signalEventFd(this.#kickFd);
    const deadline = performance.now() + TIMEOUT_MS;
    while (this.#driver.poll() < 0) {
      if (performance.now() > deadline) {
        throw new VdpaError(
          'ERR_VDPA_TIMEOUT',
          `${path} did not answer a request for block ${block} within ${TIMEOUT_MS} ms.`,
        );
      }
      await sleep(POLL_MS);
    }
    const status = this.#driver.status(0);
    if (status !== VIRTIO_BLK_S_OK) {
      throw new VdpaError(
        'ERR_VDPA_OPERATION',
        `${path} answered a request for block ${block} with ${blkStatusName(status)}.`,
        {
          details: { block, type, status },
        },
      );
    }
  }

  async #start(): Promise<void> {
    const { device, features, backendFeatures } = this.#block;
    const [section] = this.#memory.sections;
    const map: IovaMap = { iova: 0, size: section!.size, region: section!.region, offset: 0, perm: 'rw' };
    const maps = this.#space.plan([map]);
    const queue = { index: 0, base: 0, addresses: this.#queue, kickFd: this.#kickFd, callFd: this.#callFd };
    await run(device, [{ op: 'setBackendFeatures', features: backendFeatures }]);
    this.#space.apply(maps, await run(device, maps));
    await run(device, startOperations(features, [queue]));
  }

  async #stop(): Promise<void> {
    await this.#block.device.submit([
      ...resetOperations(),
      { op: 'setVringKick', index: 0, fd: -1, always: true },
      ...this.#space.plan([]),
    ]);
    this.#memory.close();
    closeFd(this.#kickFd);
    closeFd(this.#callFd);
  }
}
