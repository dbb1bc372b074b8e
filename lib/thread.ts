/**
 * Calls between threads: a worker serves named functions, its owner calls them and awaits the answers.
 * Only plain data crosses; errors keep their code and details.
 */
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { type ErrorCode, type ErrorDetails, VdpaError } from './errors.js';

/** Functions a worker offers; arguments and results must be structured-cloneable. */
// biome-ignore lint/suspicious/noExplicitAny: the bound of a generic that keeps every function's own parameters
export type Services = Record<string, (...args: any[]) => unknown>;

interface Request {
  readonly id: number;
  readonly method: string;
  readonly args: readonly unknown[];
}

interface Answer {
  readonly id: number;
  readonly result?: unknown;
  readonly error?: { readonly code: ErrorCode; readonly message: string; readonly details: ErrorDetails } | Error;
}

interface Pending {
  readonly resolve: (value: unknown) => void;
  readonly reject: (reason: unknown) => void;
}

/** A worker and the calls under way in it. */
export class Thread<S extends Services> {
  readonly #worker: Worker;
  readonly #pending = new Map<number, Pending>();
  #next = 1;
  #failure: Error | undefined;

  /** Starts the module at `url`, which must call `serve`; `data` is what it finds in `threadData()`. */
  constructor(url: URL, data?: unknown) {
    // The process's own options, such as an --eval, are not the worker's.
    this.#worker = new Worker(url, { workerData: data, execArgv: [] });
    this.#worker.on('message', (answer: Answer) => this.#settle(answer));
    this.#worker.on('error', error => this.#fail(error));
    this.#worker.on('exit', () => this.#fail(new Error('The worker thread ended.')));
    this.#worker.unref();
  }

  /** Calls a function of the worker; calls are answered in the order they were made unless they wait. */
  call<K extends keyof S & string>(method: K, ...args: Parameters<S[K]>): Promise<Awaited<ReturnType<S[K]>>> {
    if (this.#failure) return Promise.reject(this.#failure);
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve: resolve as (value: unknown) => void, reject });
      // A call under way keeps the process alive, an idle worker does not.
      this.#worker.ref();
      this.#worker.postMessage({ id, method, args } satisfies Request);
    });
  }

  /** Ends the worker; calls still under way are rejected. */
  async end(): Promise<void> {
    await this.#worker.terminate();
  }

  #settle({ id, result, error }: Answer): void {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    if (this.#pending.size === 0) this.#worker.unref();
    if (error) pending?.reject(revive(error));
    else pending?.resolve(result);
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    for (const pending of this.#pending.values()) pending.reject(error);
    this.#pending.clear();
  }
}

/** In a worker: answers the owner's calls with these functions. */
export function serve(services: Services): void {
  const port = parentPort;
  if (isMainThread || !port)
    throw new VdpaError('ERR_VDPA_INVALID_ARGUMENT', 'This module runs in a worker thread only.');
  port.on('message', async ({ id, method, args }: Request) => {
    try {
      const service = services[method];
      if (!service) throw new VdpaError('ERR_VDPA_INVALID_ARGUMENT', `This worker has no function ${method}.`);
      port.postMessage({ id, result: await service(...args) } satisfies Answer);
    } catch (error) {
      port.postMessage({ id, error: flatten(error) } satisfies Answer);
    }
  });
}

/** In a worker: what its owner gave it. */
export function threadData<T>(): T {
  return workerData as T;
}

function flatten(error: unknown): NonNullable<Answer['error']> {
  if (error instanceof VdpaError) return { code: error.code, message: error.message, details: error.details };
  // A DOMException, which says that a result cannot cross, cannot cross itself.
  return error instanceof Error && !(error instanceof DOMException) ? error : new Error(String(error));
}

function revive(error: NonNullable<Answer['error']>): Error {
  if (error instanceof Error) return error;
  return new VdpaError(error.code, error.message, { details: error.details });
}
