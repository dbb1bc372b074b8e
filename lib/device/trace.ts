/** Observes every operation of a device: the base of traces, recordings and golden sequences. */

import { errnoName } from '../uapi/errno.js';
import type { Operation, OperationResult } from '../uapi/operation.js';
import { requestOf } from '../uapi/requests.js';
import type { Device } from './device.js';
import { describeArguments } from './explain.js';

/** Called after each submission, with its operations and their results. */
export type Observer = (operations: readonly Operation[], results: readonly OperationResult[]) => void;

/** The same device, observed. */
export function observe(device: Device, observer: Observer): Device {
  return {
    path: device.path,
    close: () => device.close(),
    async submit(operations, options) {
      const results = await device.submit(operations, options);
      observer(operations, results);
      return results;
    },
  };
}

/** One line per operation, in the manner of strace. */
export function formatTrace(path: string, operation: Operation, result: OperationResult): string {
  const outcome = result.ran
    ? `${result.errno === 0 ? formatValue(result) : `-1 ${errnoName(result.errno)}`} <${(result.duration_ms / 1000).toFixed(6)}>`
    : 'not run';
  return `${path} ${requestOf(operation.op)}(${describeArguments(operation)}) = ${outcome}`;
}

function formatValue({ value }: OperationResult): string {
  if (value === undefined) return '0';
  if (typeof value === 'bigint') return `0x${value.toString(16)}`;
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  if (typeof value === 'object') return `0x${value.first.toString(16)}-0x${value.last.toString(16)}`;
  return String(value);
}
