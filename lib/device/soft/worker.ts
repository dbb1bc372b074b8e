/** The thread of a soft device. */
import { serve, threadData } from '../../thread.js';
import { ERRNO } from '../../uapi/errno.js';
import type { Operation, OperationResult } from '../../uapi/operation.js';
import { SoftModel } from './model.js';
import type { SoftSetup } from './soft-device.js';

const model = new SoftModel(threadData<SoftSetup>());

/** Monotonic time in milliseconds, the clock the addon stamps operations with. */
function now(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

serve({
  submit(operations: readonly Operation[], canceled: Int32Array): OperationResult[] {
    let failed = false;
    let started = now();
    return operations.map(operation => {
      if ((failed || Atomics.load(canceled, 0) === 1) && !operation.always) {
        return { ran: false, errno: 0, value: undefined, started_ms: 0, duration_ms: 0 };
      }
      const { errno, value } = execute(operation);
      failed ||= errno !== 0;
      const ended = now();
      const result = { ran: true, errno, value, started_ms: started, duration_ms: ended - started };
      started = ended;
      return result;
    });
  },
});

function execute(operation: Operation) {
  const answer = model.execute(operation);
  const { expect } = operation;
  const missed = expect && answer.errno === 0 && (Number(answer.value ?? 0) & expect.mask) >>> 0 !== expect.equals;
  return missed ? { ...answer, errno: ERRNO.EPROTO } : answer;
}
