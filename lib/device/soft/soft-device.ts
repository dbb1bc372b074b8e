/** The embedded device: the same waist as the kernel's, served by a thread of this process. */
import { ClosedError, VdpaError } from '../../errors.js';
import { MemoryRegion } from '../../memory/region.js';
import { Thread } from '../../thread.js';
import type { Operation, OperationResult } from '../../uapi/operation.js';
import type { Device, SubmitOptions } from '../device.js';
import { validateOperations } from '../validate.js';
import { parseSoftOptions, type SoftOptions } from './options.js';

/** What the device's thread is given. */
export interface SoftSetup {
  readonly options: SoftOptions;
  /** Region that is the disk. */
  readonly disk: number;
}

/** What the device's thread offers. */
export type SoftServices = {
  submit(operations: readonly Operation[], canceled: Int32Array): OperationResult[];
};

export class SoftDevice implements Device {
  readonly path: string;
  readonly #disk: SharedDisk;
  readonly #thread: Thread<SoftServices>;
  #closing: Promise<void> | undefined;

  /** @param reference such as `soft:blk?latency=50us`; see options.ts. */
  constructor(reference: string) {
    this.path = reference;
    const options = parseSoftOptions(reference);
    this.#disk = SharedDisk.take(options);
    const setup: SoftSetup = { options, disk: this.#disk.region.id };
    this.#thread = new Thread<SoftServices>(new URL('./worker.js', import.meta.url), setup);
  }

  async submit(operations: readonly Operation[], { signal }: SubmitOptions = {}): Promise<OperationResult[]> {
    if (this.#closing) throw new ClosedError(this.path);
    validateOperations(operations);
    return this.#submit(operations, signal);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #submit(operations: readonly Operation[], signal?: AbortSignal): Promise<OperationResult[]> {
    // Shared, so that a cancellation reaches a list the thread is working on.
    const canceled = new Int32Array(new SharedArrayBuffer(4));
    const cancel = () => Atomics.store(canceled, 0, 1);
    if (signal?.aborted) cancel();
    signal?.addEventListener('abort', cancel, { once: true });
    try {
      return await this.#thread.call('submit', operations, canceled);
    } finally {
      signal?.removeEventListener('abort', cancel);
    }
  }

  async #close(): Promise<void> {
    await this.#submit([
      { op: 'setStatus', status: 0 },
      { op: 'close', always: true },
    ]);
    await this.#thread.end();
    this.#disk.giveUp();
  }
}

/** A disk by name, as long as a device of this process uses it. */
class SharedDisk {
  static readonly #disks = new Map<string, SharedDisk>();
  readonly region: MemoryRegion;
  readonly #name: string;
  #users = 0;

  private constructor(name: string, capacity: number) {
    this.#name = name;
    this.region = MemoryRegion.create(`soft-disk-${name}`, capacity);
  }

  static take({ disk: name, capacity }: SoftOptions): SharedDisk {
    const disk = SharedDisk.#disks.get(name) ?? new SharedDisk(name, capacity);
    if (disk.region.size < capacity) {
      throw new VdpaError(
        'ERR_VDPA_INVALID_ARGUMENT',
        `Disk "${name}" has ${disk.region.size} bytes, ${capacity} were asked for.`,
      );
    }
    SharedDisk.#disks.set(name, disk);
    disk.#users++;
    return disk;
  }

  giveUp(): void {
    if (--this.#users > 0) return;
    SharedDisk.#disks.delete(this.#name);
    this.region.close();
  }
}
