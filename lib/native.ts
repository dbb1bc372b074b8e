/**
 * The typed declaration of the addon, and the only file that loads it.
 *
 * Conventions of every function: numbers in, a number out that is >= 0 or -errno; no policy, no text, no JavaScript error for a
 * system's refusal. Handles (devices, regions, watches) are small integers. Devices and watches belong to the thread that made
 * them; regions belong to the process, so that a worker uses the same memory by its id.
 */
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { VdpaError } from './errors.js';

/** One row of the addon's table of requests; its position in the table is the opcode of a batch entry. */
export interface NativeRequest {
  /** Kernel name, such as VHOST_VDPA_SET_STATUS, VHOST_IOTLB_UPDATE; `open` and `close` for those calls. */
  readonly name: string;
  /** The ioctl request number; 0 for open, close and IOTLB messages. */
  readonly number: number;
  /** Bytes of argument a batch entry must carry; -1 where the length is the entry's own (open, GET_CONFIG, SET_CONFIG). */
  readonly size: number;
}

/** Totals of a bulk copy or comparison, all in bytes unless said. */
export interface NativeTransfer {
  /** 0 or errno (positive); the totals tell how far it came. */
  readonly errno: number;
  /** Copy: bytes written. Compare: bytes that were read on at least one side. */
  readonly data: number;
  /** Bytes that were holes (on both sides, for a comparison). */
  readonly holes: number;
  /** Compare: pages of 4 KiB that differ. */
  readonly mismatches: number;
  /** Compare: offsets of the first pages that differ, at most 16. */
  readonly first: Float64Array;
}

export interface NativeAddon {
  /** Must equal ABI below: a stale build is told as such. */
  readonly abi: number;

  // Device waist. One thread per device runs submitted batches in order; see native/batch.h for the layout of a batch.
  requests(): NativeRequest[];
  /** Starts a device thread. Nothing is opened yet: `open` is an operation. */
  deviceCreate(): number;
  /** The eventfd that becomes readable when a batch is done. */
  deviceEventFd(device: number): number;
  /** Validates the whole batch, copies it and queues it. Returns its ticket (1, 2, …). -EINVAL: unknown opcode, wrong size, region bounds. */
  deviceSubmit(device: number, batch: Uint8Array): number;
  /** Operations of this ticket that have not started will not start, save those marked `always`. */
  deviceCancel(device: number, ticket: number): number;
  /** The next finished batch with results written into it, in the order of submission; undefined when there is none. */
  deviceReap(device: number): Uint8Array | undefined;
  /** Ends the thread after what it is doing (it is detached, never joined); closes the file if an operation did not. */
  deviceDestroy(device: number): number;

  // Guest memory: memfd, MAP_SHARED, sparse.
  regionCreate(name: string, size: number): number;
  /** The first `size` bytes of a file, mapped shared: a device's memory. -ENODATA when a regular file is shorter. */
  regionOpen(path: string, size: number): number;
  regionSize(region: number): number;
  /** The memfd's number, for tests and for SEEK_DATA. */
  regionFd(region: number): number;
  /** Virtual address of the process's one mapping. */
  regionAddress(region: number): number;
  /** A window; the same pages at every call. -EINVAL out of bounds, -EFBIG above `maxLength`. */
  regionView(region: number, offset: number, length: number, maxLength: number): ArrayBuffer | number;
  /** Detaches this thread's windows. */
  regionDetach(region: number): number;
  /** Detaches this thread's windows and gives up the creator's hold; the memory goes when no window and no device holds it. */
  regionClose(region: number): number;
  /** Copies ranges (pairs of offset, length) between regions through their memfds, hole-aware, on the thread pool. */
  regionCopy(from: number, to: number, ranges: Float64Array): Promise<NativeTransfer>;
  /** Compares ranges of two regions in pages of 4 KiB. */
  regionCompare(a: number, b: number, ranges: Float64Array): Promise<NativeTransfer>;

  // eventfds and timers, and the one way of waiting on them.
  eventfdCreate(): number;
  eventfdWrite(fd: number): number;
  /** The counter, which it clears; -EAGAIN when it was zero. */
  eventfdRead(fd: number): number;
  timerfdCreate(): number;
  /** Fires once after so many nanoseconds; 0 disarms. */
  timerfdSet(fd: number, ns: number): number;
  fdClose(fd: number): number;
  /** Calls back in this thread, with the counter, after it was read; the loop is kept alive unless `watchUnref`. */
  watchStart(fd: number, callback: (count: number) => void): number;
  watchStop(watch: number): number;
  watchRef(watch: number): number;
  watchUnref(watch: number): number;
}

const ABI = 2;
let loaded: NativeAddon | undefined;

/** Loads the addon at first use, so that the package imports anywhere and fails only where it cannot work. */
export function native(): NativeAddon {
  loaded ??= load();
  return loaded;
}

function load(): NativeAddon {
  if (process.platform !== 'linux') {
    throw new VdpaError(
      'ERR_VDPA_UNSUPPORTED_PLATFORM',
      `vhost-vdpa devices exist on Linux only; this is ${process.platform}.`,
    );
  }
  const addon = requireAddon();
  if (addon.abi !== ABI) {
    throw new VdpaError(
      'ERR_VDPA_ADDON',
      `The addon has ABI ${addon.abi}, this library needs ${ABI}: run "npm rebuild".`,
    );
  }
  return addon;
}

function requireAddon(): NativeAddon {
  const bindings = createRequire(import.meta.url)('bindings') as typeof import('bindings');
  try {
    return bindings({
      bindings: 'vhost_vdpa',
      module_root: fileURLToPath(new URL('..', import.meta.url)),
    }) as NativeAddon;
  } catch (cause) {
    throw new VdpaError(
      'ERR_VDPA_ADDON',
      `The addon could not be loaded for ${process.platform} ${process.arch}, Node ${process.version}: run "npm rebuild" (needs python3, make and g++).`,
      { cause },
    );
  }
}
