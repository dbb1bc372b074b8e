/** The kernel's device: batches of system calls on a thread of the addon. */
import { ClosedError, VdpaError } from '../../errors.js';
import { unwatchFd, watchFd } from '../../eventfd.js';
import { type NativeAddon, native } from '../../native.js';
import type { Operation, OperationResult } from '../../uapi/operation.js';
import { type Device, NOT_RUN, type SubmitOptions } from '../device.js';
import { validateOperations } from '../validate.js';
import { decodeBatch, encodeBatch, type Opcodes, opcodesOf } from './codec.js';

interface Submission {
  readonly operations: readonly Operation[];
  readonly resolve: (results: OperationResult[]) => void;
}

export class KernelDevice implements Device {
  readonly path: string;
  readonly #addon: NativeAddon = native();
  readonly #opcodes: Opcodes = opcodesOf(this.#addon.requests());
  readonly #handle: number;
  readonly #watch: number;
  /** In the order of submission, which is the order of completion. */
  readonly #submissions: Submission[] = [];
  #closing: Promise<void> | undefined;

  /** Starts the device's thread; the file is opened by an `open` operation. */
  constructor(path: string) {
    this.path = path;
    this.#handle = this.#addon.deviceCreate();
    if (this.#handle < 0) throw new VdpaError('ERR_VDPA_ADDON', `No thread for ${path}: errno ${-this.#handle}.`);
    this.#watch = this.#watchCompletions();
  }

  async submit(operations: readonly Operation[], { signal }: SubmitOptions = {}): Promise<OperationResult[]> {
    if (this.#closing) throw new ClosedError(this.path);
    validateOperations(operations);
    // A plan may have nothing to do; the addon knows no empty batch.
    if (operations.length === 0) return [];
    return signal?.aborted ? this.#submitAlways(operations) : this.#submit(operations, signal);
  }

  #watchCompletions(): number {
    try {
      return watchFd(this.#addon.deviceEventFd(this.#handle), () => this.#reap());
    } catch (error) {
      this.#addon.deviceDestroy(this.#handle);
      throw error;
    }
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #submit(operations: readonly Operation[], signal?: AbortSignal): Promise<OperationResult[]> {
    const ticket = this.#addon.deviceSubmit(this.#handle, encodeBatch(operations, this.#opcodes));
    if (ticket < 0) {
      throw new VdpaError(
        'ERR_VDPA_INVALID_ARGUMENT',
        `The operations for ${this.path} were refused before any system call (errno ${-ticket}): ${operations.map(o => o.op).join(', ')}.`,
        { details: { errno: -ticket } },
      );
    }
    const cancel = () => this.#addon.deviceCancel(this.#handle, ticket);
    signal?.addEventListener('abort', cancel, { once: true });
    this.#addon.watchRef(this.#watch);
    try {
      return await new Promise<OperationResult[]>(resolve => this.#submissions.push({ operations, resolve }));
    } finally {
      signal?.removeEventListener('abort', cancel);
      if (this.#submissions.length === 0) this.#addon.watchUnref(this.#watch);
    }
  }

  /** A list cancelled beforehand: the device's thread must not see the rest, it could be faster than the cancellation. */
  async #submitAlways(operations: readonly Operation[]): Promise<OperationResult[]> {
    const results = await this.submit(operations.filter(operation => operation.always));
    let next = 0;
    return operations.map(operation => (operation.always ? results[next++]! : NOT_RUN));
  }

  #reap(): void {
    for (let batch = this.#addon.deviceReap(this.#handle); batch; batch = this.#addon.deviceReap(this.#handle)) {
      const submission = this.#submissions.shift();
      submission?.resolve(decodeBatch(submission.operations, batch));
    }
  }

  /** The kernel's release resets the device once more and drops its maps; the explicit reset leaves nothing to that. */
  async #close(): Promise<void> {
    await this.#submit([
      { op: 'setStatus', status: 0 },
      { op: 'close', always: true },
    ]);
    unwatchFd(this.#watch);
    this.#addon.deviceDestroy(this.#handle);
  }
}
