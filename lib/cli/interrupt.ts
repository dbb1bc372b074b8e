/** Ctrl-C: the first one stops in order, which leaves the device reset; a second one is the system's to handle. */
import { note } from './output.js';

const SIGNALS = ['SIGINT', 'SIGTERM'] as const;

/** Runs `body` with a signal that Ctrl-C aborts. */
export async function interruptible<T>(body: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const stop = () => {
    note('interrupted, stopping');
    controller.abort();
  };
  for (const name of SIGNALS) process.once(name, stop);
  try {
    return await body(controller.signal);
  } finally {
    for (const name of SIGNALS) process.off(name, stop);
    if (controller.signal.aborted) note('stopped; the device is reset and closed');
  }
}
