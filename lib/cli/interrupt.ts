/** Ctrl-C: the first one stops in order, which leaves the device reset; a second one is the system's to handle. */
import { VdpaError } from '../errors.js';
import { note } from './output.js';

const SIGNALS = ['SIGINT', 'SIGTERM'] as const;

export interface Outcome<T> {
  readonly result: T;
  readonly interrupted: boolean;
}

/**
 * Runs `body` with a signal that Ctrl-C aborts.
 * @throws what `body` throws; VdpaError ERR_VDPA_CANCELED for anything it throws once interrupted.
 */
export async function interruptible<T>(body: (signal: AbortSignal) => Promise<T>): Promise<Outcome<T>> {
  const controller = new AbortController();
  const { signal } = controller;
  const stop = () => {
    note('interrupted, stopping');
    controller.abort();
  };
  for (const name of SIGNALS) process.once(name, stop);
  try {
    const result = await body(signal);
    return { result, interrupted: signal.aborted };
  } catch (error) {
    throw signal.aborted ? canceled(error) : error;
  } finally {
    for (const name of SIGNALS) process.off(name, stop);
    if (signal.aborted) note('stopped; what was opened is reset and closed');
  }
}

function canceled(cause: unknown): VdpaError {
  if (cause instanceof VdpaError && cause.code === 'ERR_VDPA_CANCELED') return cause;
  return new VdpaError('ERR_VDPA_CANCELED', 'Interrupted.', { cause });
}
