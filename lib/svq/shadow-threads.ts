/** The threads of an attachment's shadows, one a queue, asked together. */
import { type QueueState, type ShadowConfig, type ShadowEnd, type ShadowThread, startShadowThread } from './shadow.js';

export class ShadowThreads {
  readonly #threads: readonly ShadowThread[];

  constructor(queues: number) {
    this.#threads = Array.from({ length: queues }, startShadowThread);
  }

  /** Asks every shadow; fails when one cannot answer, after all have been asked and have answered or failed. */
  async ask<T>(question: (shadow: ShadowThread, queue: number) => Promise<T>): Promise<T[]> {
    const answers = await Promise.allSettled(this.#threads.map(question));
    return answers.map(answer => {
      if (answer.status === 'rejected') throw answer.reason;
      return answer.value;
    });
  }

  async start(configOf: (queue: number) => ShadowConfig): Promise<void> {
    await this.ask((shadow, queue) => shadow.call('start', configOf(queue)));
  }

  stop(): Promise<ShadowEnd[]> {
    return this.ask(shadow => shadow.call('stop'));
  }

  /** A start that failed on the device has left its threads running. */
  async areRunning(): Promise<boolean> {
    const running = await this.ask(shadow => shadow.call('isRunning'));
    return running.includes(true);
  }

  async end(): Promise<void> {
    await Promise.all(this.#threads.map(shadow => shadow.end()));
  }
}

/** Of a queue that nobody has served yet. */
export const FRESH: QueueState = { availIndex: 0, usedIndex: 0, inFlight: [] };
