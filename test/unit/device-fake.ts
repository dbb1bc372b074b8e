/** A device that answers from a table and remembers what was submitted. */
import type { Device, SubmitOptions } from '../../lib/device/device.js';
import type { Operation, OperationResult, OperationValue } from '../../lib/uapi/operation.js';

/** What an operation answers; a value alone is a success. */
export type FakeAnswer = OperationValue | { readonly errno: number };

export function result(answer: FakeAnswer): OperationResult {
  const refused = typeof answer === 'object' && 'errno' in answer;
  return {
    ran: true,
    errno: refused ? answer.errno : 0,
    value: refused ? undefined : answer,
    started_ms: 100,
    duration_ms: 2,
  };
}

export const NOT_RUN: OperationResult = { ran: false, errno: 0, value: undefined, started_ms: 0, duration_ms: 0 };

export class FakeDevice implements Device {
  readonly path = '/dev/fake';
  readonly submissions: (readonly Operation[])[] = [];
  readonly options: (SubmitOptions | undefined)[] = [];
  closed = 0;
  readonly #answer: (operation: Operation) => FakeAnswer;

  constructor(answer: (operation: Operation) => FakeAnswer = () => undefined) {
    this.#answer = answer;
  }

  async submit(operations: readonly Operation[], options?: SubmitOptions): Promise<OperationResult[]> {
    this.submissions.push(operations);
    this.options.push(options);
    let failed = false;
    return operations.map(operation => {
      if (failed && !operation.always) return NOT_RUN;
      const answered = result(this.#answer(operation));
      failed ||= answered.errno !== 0;
      return answered;
    });
  }

  async close(): Promise<void> {
    this.closed++;
  }
}
