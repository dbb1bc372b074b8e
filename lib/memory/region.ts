/**
 * Memory a device may touch: a memfd, mapped shared, sparse, or the file of another device's memory. Anonymous memory never
 * reaches a device, because devices that work on virtual addresses skip it silently (reference: drivers/vhost/vdpa.c,
 * vhost_vdpa_va_map).
 */
import { constants } from 'node:buffer';
import { ClosedError, hex, VdpaError } from '../errors.js';
import { native } from '../native.js';
import { errnoName } from '../uapi/errno.js';

/** Smallest unit a region is made of, in bytes. */
export const PAGE_SIZE = 4096;

/** Where the process has a region; workers have it at the same place. @throws ClosedError when there is none of that id. */
export function regionAddress(id: number): number {
  const address = native().regionAddress(id);
  if (address < 0) throw new ClosedError(`Memory region ${id}`);
  return address;
}

/** A process-wide piece of shared memory; workers use the same one by its id. */
export class MemoryRegion {
  readonly id: number;
  readonly size: number;
  readonly #owner: boolean;
  #open = true;

  private constructor(id: number, size: number, owner: boolean) {
    this.id = id;
    this.size = size;
    this.#owner = owner;
  }

  /**
   * Makes a sparse region of `size` bytes (rounded up to pages); it costs what is touched.
   * @throws VdpaError ERR_VDPA_MEMORY when the system refuses.
   */
  static create(name: string, size: number): MemoryRegion {
    const bytes = Math.ceil(size / PAGE_SIZE) * PAGE_SIZE;
    const id = native().regionCreate(name, bytes);
    if (id < 0) {
      throw new VdpaError(
        'ERR_VDPA_MEMORY',
        `A memfd of ${bytes} bytes for ${name} could not be made: ${errnoName(-id)}. Is there a limit on address space (ulimit -v) or on open files?`,
        { details: { name, bytes, errno: -id } },
      );
    }
    return new MemoryRegion(id, bytes, true);
  }

  /**
   * The first `size` bytes of a file as a region: the memory of a device, such as a PCI resource in sysfs.
   * @throws VdpaError ERR_VDPA_MEMORY when the file cannot be opened or mapped, or is shorter.
   */
  static openFile(path: string, size: number): MemoryRegion {
    const id = native().regionOpen(path, size);
    if (id >= 0) return new MemoryRegion(id, size, true);
    throw new VdpaError(
      'ERR_VDPA_MEMORY',
      `${hex(size)} bytes of ${path} could not be mapped: ${errnoName(-id)}. It must be a file that can be read, written and mapped, and be that long.`,
      { details: { path, size, errno: -id } },
    );
  }

  /** The region of that id, made in another thread; closing this one only gives up this thread's windows. */
  static open(id: number): MemoryRegion {
    const size = native().regionSize(id);
    if (size < 0) throw new ClosedError(`Memory region ${id}`);
    return new MemoryRegion(id, size, false);
  }

  /**
   * A window on the region: the same pages at every call, detached (length 0) by `close`.
   * @throws VdpaError ERR_VDPA_INVALID_ARGUMENT out of bounds or above what this Node allows in one buffer.
   */
  view(offset: number, length: number): ArrayBuffer {
    if (!this.#open) throw new ClosedError(`Memory region ${this.id}`);
    const buffer = native().regionView(this.id, offset, length, constants.MAX_LENGTH);
    if (typeof buffer !== 'number') return buffer;
    throw new VdpaError(
      'ERR_VDPA_INVALID_ARGUMENT',
      `No window of ${length} bytes at ${hex(offset)} in a region of ${this.size} bytes: ${errnoName(-buffer)} (Node's limit for one is ${constants.MAX_LENGTH}).`,
      { details: { offset, length, size: this.size, errno: -buffer } },
    );
  }

  /** Detaches this thread's windows; the owner's close also frees the memory once no device holds it. Idempotent. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    if (this.#owner) native().regionClose(this.id);
    else native().regionDetach(this.id);
  }
}
