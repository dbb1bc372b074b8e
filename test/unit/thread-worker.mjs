/** The worker of thread.test.ts; like every worker it runs the built library. */
import { setTimeout as sleep } from 'node:timers/promises';
import { VdpaError } from '../../dist/errors.js';
import { serve, threadData } from '../../dist/thread.js';

serve({
  add: (a, b) => a + b,
  late: async (ms, value) => {
    await sleep(ms);
    return value;
  },
  data: () => threadData(),
  count: shared => Atomics.add(new Int32Array(shared), 0, 1),
  refuse: () => {
    throw new VdpaError('ERR_VDPA_BUSY', 'It is busy.', { details: { errno: 16, address: 2n ** 60n } });
  },
  fail: () => {
    throw new TypeError('No such thing.');
  },
  throwText: () => {
    throw 'just text';
  },
  uncloneable: () => () => 1,
  never: () => new Promise(() => {}),
  crash: () => {
    setImmediate(() => {
      throw new Error('The thread broke.');
    });
    return new Promise(() => {});
  },
});
