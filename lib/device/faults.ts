/** Fault injection: a device whose operations fail on request, before or after their effect. */
import type { Operation, OperationResult } from '../uapi/operation.js';
import { type Device, NOT_RUN } from './device.js';

/** A fault: this errno instead of the operation's result; `after` lets the operation happen first. */
export interface Fault {
  readonly errno: number;
  readonly when: 'before' | 'after';
}

/** Decides, operation by operation, whether and how it fails. */
export type FaultPlan = (operation: Operation) => Fault | undefined;

/** The same device with faults. Operations after a fault do not run, save those marked `always`. */
export function injectFaults(device: Device, plan: FaultPlan): Device {
  return {
    path: device.path,
    close: () => device.close(),
    async submit(operations, options) {
      const faults = operations.map(plan);
      const faulty = faults.findIndex(fault => fault !== undefined);
      const fault = faults[faulty];
      if (!fault) return device.submit(operations, options);
      const head = operations.slice(0, fault.when === 'after' ? faulty + 1 : faulty);
      const tail = operations.slice(faulty + 1).filter(operation => operation.always);
      const results = [...(head.length ? await device.submit(head, options) : [])];
      const failed = results.some(result => !result.ran || result.errno !== 0);
      if (!failed || operations[faulty]?.always) {
        results[faulty] = { ...(results[faulty] ?? NOT_RUN), ran: true, errno: fault.errno, value: undefined };
      }
      const late = tail.length ? await device.submit(tail) : [];
      return complete(operations, results, tail, late);
    },
  };
}

function complete(
  operations: readonly Operation[],
  results: readonly OperationResult[],
  tail: readonly Operation[],
  late: readonly OperationResult[],
): OperationResult[] {
  return operations.map((operation, index) => results[index] ?? late[tail.indexOf(operation)] ?? NOT_RUN);
}
