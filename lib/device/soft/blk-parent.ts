/** The parent driver of a soft block device: what stands behind vhost-vdpa's requests, and the queue that does the work. */
import { RingError } from '../../errors.js';
import type { IovaMap } from '../../iova/map.js';
import { MemoryRegion } from '../../memory/region.js';
import { native } from '../../native.js';
import { VIRTIO_ID_BLOCK } from '../../uapi/devices.js';
import {
  VIRTIO_BLK_F_BLK_SIZE,
  VIRTIO_BLK_F_FLUSH,
  VIRTIO_BLK_F_SEG_MAX,
  VIRTIO_BLK_F_SIZE_MAX,
  VIRTIO_F_ACCESS_PLATFORM,
  VIRTIO_F_VERSION_1,
} from '../../uapi/features.js';
import { VIRTIO_BLK_SECTOR_SIZE } from '../../uapi/virtio-blk.js';
import { BlkBackend } from './blk.js';
import { Dma } from './dma.js';
import { SoftQueue } from './queue.js';
import type { SoftSetup } from './soft-device.js';

/** vdpa_sim's largest ring. */
const VRING_NUM_MAX = 256;
/** sizeof(struct virtio_blk_config) in the kernels vdpa_sim_blk reports it for. */
const CONFIG_BYTES = 96;

/** What a queue was programmed with. */
interface VringState {
  num: number;
  desc: number;
  avail: number;
  used: number;
  base: number;
  kickFd: number;
  callFd: number;
  enabled: boolean;
}

const FRESH: VringState = { num: 0, desc: 0, avail: 0, used: 0, base: 0, kickFd: -1, callFd: -1, enabled: false };

export class BlkParent {
  readonly deviceId = VIRTIO_ID_BLOCK;
  readonly vqs = 1;
  readonly vringNumMax = VRING_NUM_MAX;
  readonly features =
    VIRTIO_BLK_F_SIZE_MAX |
    VIRTIO_BLK_F_SEG_MAX |
    VIRTIO_BLK_F_BLK_SIZE |
    VIRTIO_BLK_F_FLUSH |
    VIRTIO_F_VERSION_1 |
    VIRTIO_F_ACCESS_PLATFORM;
  readonly config: Uint8Array;
  readonly #dma = new Dma();
  readonly #backend: BlkBackend;
  readonly #latencyNs: number;
  readonly #timer: number;
  readonly #timerWatch: number;
  #vring: VringState = { ...FRESH };
  #kickWatch = -1;
  #queue: SoftQueue | undefined;
  #driverOk = false;
  #suspended = false;

  constructor({ options, disk }: SoftSetup) {
    const region = MemoryRegion.open(disk);
    this.#backend = new BlkBackend(new Uint8Array(region.view(0, options.capacity)), this.#dma);
    this.#latencyNs = options.latencyNs;
    this.config = blkConfig(options.capacity);
    this.#timer = native().timerfdCreate();
    this.#timerWatch = native().watchStart(this.#timer, () => this.#step());
    native().watchUnref(this.#timerWatch);
  }

  /** Like the simulator: ACCESS_PLATFORM is mandatory, unknown bits are dropped silently. */
  setFeatures(features: bigint): boolean {
    return (features & VIRTIO_F_ACCESS_PLATFORM) !== 0n;
  }

  setNum(_index: number, num: number): void {
    this.#vring.num = num;
  }

  setAddresses({ desc, avail, used }: { desc: number; avail: number; used: number }): void {
    Object.assign(this.#vring, { desc, avail, used });
  }

  setBase(_index: number, base: number): void {
    this.#vring.base = base;
  }

  base(_index: number): number {
    return this.#queue?.base ?? this.#vring.base;
  }

  /** vhost keeps polling a kick fd through resets; a counter that is already up kicks at once. */
  setKick(_index: number, fd: number): void {
    this.#vring.kickFd = fd;
    if (this.#kickWatch >= 0) native().watchStop(this.#kickWatch);
    this.#kickWatch = fd >= 0 ? native().watchStart(fd, () => this.#step()) : -1;
    if (this.#kickWatch >= 0) native().watchUnref(this.#kickWatch);
  }

  setCall(_index: number, fd: number): void {
    this.#vring.callFd = fd;
  }

  setEnable(_index: number, enabled: boolean): void {
    this.#vring.enabled = enabled;
  }

  setDriverOk(driverOk: boolean): void {
    this.#driverOk = driverOk;
  }

  /** Kicks while suspended are remembered: the ring is looked at on resume. */
  setSuspended(suspended: boolean): void {
    this.#suspended = suspended;
    if (!suspended) this.#step();
  }

  setMaps(maps: readonly IovaMap[]): void {
    this.#dma.setMaps(maps);
  }

  /** Forgets what the driver programmed; the kick fd is vhost's and stays. */
  reset(): void {
    this.#vring = { ...FRESH, kickFd: this.#vring.kickFd };
    this.#queue = undefined;
    this.#driverOk = this.#suspended = false;
    native().timerfdSet(this.#timer, 0);
  }

  /** Gives up file descriptors and memory. */
  close(): void {
    this.setKick(0, -1);
    this.#dma.close();
  }

  #step(): void {
    const { enabled, num, callFd } = this.#vring;
    if (!this.#driverOk || this.#suspended || !enabled || num === 0) return;
    try {
      this.#queue ??= this.#makeQueue();
      const wait = this.#queue.step(Number(process.hrtime.bigint()), callFd);
      if (wait === 0) setImmediate(() => this.#step());
      else native().timerfdSet(this.#timer, Number.isFinite(wait) ? Math.ceil(wait) : 0);
    } catch (error) {
      if (!(error instanceof RingError)) throw error;
      // Like the simulator: the queue just stops, and the status says nothing.
      this.#vring.enabled = false;
      process.emitWarning(`Soft device: queue 0 stopped. ${error.message}`, { code: 'VDPA_SOFT_FAULT' });
    }
  }

  #makeQueue(): SoftQueue {
    const { num, desc, avail, used, base } = this.#vring;
    return new SoftQueue(
      { size: num, desc, driver: avail, device: used },
      base,
      this.#dma,
      this.#backend,
      this.#latencyNs,
    );
  }
}

/** struct virtio_blk_config: capacity in sectors, size_max, seg_max, blk_size, one queue. */
function blkConfig(capacity: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(CONFIG_BYTES));
  view.setBigUint64(0, BigInt(capacity / VIRTIO_BLK_SECTOR_SIZE), true);
  view.setUint32(8, 0x1000, true);
  view.setUint32(12, 32, true);
  view.setUint32(20, VIRTIO_BLK_SECTOR_SIZE, true);
  view.setUint16(34, 1, true);
  return new Uint8Array(view.buffer);
}
