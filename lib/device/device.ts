/** The waist: everything the library asks of a device is a list of operations. */
import { OperationError } from '../errors.js';
import type { Operation, OperationResult } from '../uapi/operation.js';
import { explainFailure } from './explain.js';

export interface SubmitOptions {
  /** Cancels what has not started; operations marked `always` run all the same. */
  readonly signal?: AbortSignal | undefined;
}

/** A vhost-vdpa device: the kernel's, or the embedded soft one. */
export interface Device {
  /** How messages name it: a path such as /dev/vhost-vdpa-0, or soft:blk. */
  readonly path: string;
  /**
   * Runs operations in order, one submission after another, and stops at the first that fails, except for those marked `always`.
   * Failures are results, not exceptions.
   * @throws ClosedError after `close`; VdpaError ERR_VDPA_INVALID_ARGUMENT when an operation is malformed (then nothing ran).
   */
  submit(operations: readonly Operation[], options?: SubmitOptions): Promise<OperationResult[]>;
  /** Resets and closes the device. Idempotent; waits for what was submitted before. */
  close(): Promise<void>;
}

/** The result of an operation that an earlier failure, or a cancellation, kept from starting. */
export const NOT_RUN: OperationResult = { ran: false, errno: 0, value: undefined, started_ms: 0, duration_ms: 0 };

/**
 * Submits operations that must all succeed.
 * @throws OperationError for the first that failed: what, with which values, why likely, what to do.
 */
export async function run(
  device: Device,
  operations: readonly Operation[],
  options?: SubmitOptions,
): Promise<OperationResult[]> {
  const results = await device.submit(operations, options);
  throwFailure(device, operations, results);
  return results;
}

/** Throws what `run` throws, for results already in hand. */
export function throwFailure(
  device: Device,
  operations: readonly Operation[],
  results: readonly OperationResult[],
): void {
  const failed = results.findIndex(result => result.ran && result.errno !== 0);
  if (failed >= 0) throw explainFailure(device.path, operations[failed]!, results[failed]!);
  if (results.some(result => !result.ran)) {
    throw new OperationError('ERR_VDPA_CANCELED', `Operations on ${device.path} were cancelled before they started.`);
  }
}

/** The number that operation `index` of a list read. */
export function numberAt(results: readonly OperationResult[], index: number): number {
  return Number(results[index]?.value ?? 0);
}
