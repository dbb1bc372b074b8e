/** The parent driver of a soft block device: what stands behind vhost-vdpa's requests, and the queue that does the work. */
import { VdpaError } from '../../errors.js';
import { closeFd, unwatchFd, watchFd } from '../../eventfd.js';
import { MemoryRegion } from '../../memory/region.js';
import { native } from '../../native.js';
import type { QueueAddresses } from '../../ring/addresses.js';
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
import type { MapTree } from './map-tree.js';
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
  callFd: number;
  enabled: boolean;
}

const FRESH: VringState = { num: 0, desc: 0, avail: 0, used: 0, base: 0, callFd: -1, enabled: false };

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
  /** A timerfd while the file is open: a file descriptor outlives the thread that made it. */
  #timer = -1;
  #timerWatch = -1;
  #vring: VringState = { ...FRESH };
  #kickWatch = -1;
  /** What the queue was programmed with when it was enabled; undefined while it never was. */
  #program: QueueAddresses | undefined;
  #queue: SoftQueue | undefined;
  #driverOk = false;
  #running = false;
  #pendingKick = false;
  #warned = false;

  constructor({ options, disk }: SoftSetup) {
    const region = MemoryRegion.open(disk);
    this.#backend = new BlkBackend(new Uint8Array(region.view(0, options.capacity)), this.#dma);
    this.#latencyNs = options.latencyNs;
    this.config = blkConfig(options.capacity);
  }

  /** The file was opened. */
  open(): void {
    this.#timer = native().timerfdCreate();
    this.#timerWatch = watchFd(this.#timer, () => this.#step());
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
    this.#queue = undefined;
  }

  base(_index: number): number {
    return this.#queue?.base ?? this.#vring.base;
  }

  /** vhost keeps polling a kick fd through resets; a counter that is already up kicks at once. */
  setKick(_index: number, fd: number): void {
    if (this.#kickWatch >= 0) unwatchFd(this.#kickWatch);
    this.#kickWatch = fd >= 0 ? watchFd(fd, () => this.#kick()) : -1;
  }

  setCall(_index: number, fd: number): void {
    this.#vring.callFd = fd;
  }

  /** Like the simulator: size and addresses count from the moment of enabling on. */
  setEnable(_index: number, enabled: boolean): void {
    if (enabled && !this.#vring.enabled) {
      const { num, desc, avail, used } = this.#vring;
      this.#program = num === 0 ? undefined : { size: num, desc, driver: avail, device: used };
      this.setBase(0, this.base(0));
      this.#warned = false;
    }
    this.#vring.enabled = enabled;
  }

  /** Like the simulator: a status with DRIVER_OK also ends a suspend, and then no kick is remembered. */
  setDriverOk(driverOk: boolean): void {
    this.#driverOk = this.#running = driverOk;
  }

  /** A kick while suspended is remembered; without one, or requests taken before, a resume does not look at the ring. */
  setSuspended(suspended: boolean): void {
    this.#running = !suspended;
    if (suspended) this.#pendingKick ||= this.#queue?.busy ?? false;
    else if (this.#pendingKick) {
      this.#pendingKick = false;
      this.#step();
    }
  }

  setMaps(maps: MapTree): void {
    this.#dma.setTree(maps);
  }

  /** Forgets what the driver programmed; the kick fd is vhost's and stays. */
  reset(): void {
    this.#vring = { ...FRESH };
    this.#program = this.#queue = undefined;
    this.#driverOk = this.#running = this.#pendingKick = false;
    native().timerfdSet(this.#timer, 0);
  }

  /** Gives up file descriptors and memory. */
  close(): void {
    this.setKick(0, -1);
    unwatchFd(this.#timerWatch);
    closeFd(this.#timer);
    this.#dma.close();
  }

  #kick(): void {
    if (this.#driverOk && !this.#running) this.#pendingKick = true;
    else this.#step();
  }

  #step(): void {
    const { enabled, base, callFd } = this.#vring;
    if (!this.#running || !enabled || !this.#program) return;
    try {
      this.#queue ??= new SoftQueue(this.#program, base, this.#dma, this.#backend, this.#latencyNs);
      const wait = this.#queue.step(Number(process.hrtime.bigint()), callFd);
      if (wait === 0) setImmediate(() => this.#step());
      else native().timerfdSet(this.#timer, Number.isFinite(wait) ? Math.ceil(wait) : 0);
    } catch (error) {
      if (!(error instanceof VdpaError)) throw error;
      // Like the simulator: the queue just stops until the next kick, and the status says nothing.
      if (this.#warned) return;
      this.#warned = true;
      process.emitWarning(`Soft device: queue 0 stopped. ${error.message}`, { code: 'VDPA_SOFT_FAULT' });
    }
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
