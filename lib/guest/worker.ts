/** The thread of a guest. */
import { setTimeout as sleep } from 'node:timers/promises';
import { DirtyPair } from '../dirty/dirty-pair.js';
import type { DirtySnapshot } from '../dirty/dirty-view.js';
import { VdpaError } from '../errors.js';
import { signalEventFd, watchFd } from '../eventfd.js';
import { GuestMemory } from '../memory/guest-memory.js';
import type { MemoryShape } from '../memory/section.js';
import { serve } from '../thread.js';
import { BlkDriver, type Place } from './blk-driver.js';
import { BlkWorkload } from './blk-workload.js';
import type { GuestConfig, GuestServices, GuestStatistics } from './guest.js';

/** How long nothing must complete before a held device is taken to be idle, in milliseconds. */
const IDLE_MS = 3;
const POLL_MS = 1;

class Guest {
  readonly #config: GuestConfig;
  readonly #dirty: DirtyPair;
  readonly #driver: BlkDriver;
  readonly #workload: BlkWorkload;
  #memory: GuestMemory;
  #prepared: { readonly memory: GuestMemory; readonly place: Place } | undefined;
  #running = true;
  #submitting = true;
  #kicking = true;
  #extra = 0;
  #lastCompletion = 0;
  #firstCompletion = 0;

  constructor(config: GuestConfig) {
    this.#config = config;
    this.#memory = GuestMemory.open(config.memory);
    this.#dirty = new DirtyPair(this.#memory.end);
    this.#driver = new BlkDriver(this.#memory, config.layout, this.#dirty);
    this.#workload = new BlkWorkload(this.#driver, config.workload);
    watchFd(config.callFd, () => this.#step());
    this.#step();
  }

  async hold(timeoutMs: number): Promise<void> {
    this.#kicking = false;
    const { counters } = this.#workload;
    const kicked = counters.submitted;
    await this.#stepUntil(() => counters.completed >= kicked, timeoutMs);
  }

  async idle(timeoutMs: number): Promise<void> {
    const { counters } = this.#workload;
    let completed = counters.completed;
    let since = performance.now();
    const quiet = () => {
      if (counters.completed !== completed) since = performance.now();
      completed = counters.completed;
      return this.#workload.isFull && performance.now() - since >= IDLE_MS;
    };
    await this.#stepUntil(quiet, timeoutMs);
  }

  release(): void {
    this.#kicking = true;
    this.#extra = 0;
    signalEventFd(this.#config.kickFd);
    this.#step();
  }

  surge(count: number): number {
    const before = this.#workload.counters.submitted;
    this.#extra += count;
    this.#workload.fill(this.#config.workload.depth + this.#extra);
    return this.#workload.counters.submitted - before;
  }

  pause(): GuestStatistics {
    this.#running = false;
    return this.statistics();
  }

  prepare(shape: MemoryShape): void {
    const memory = GuestMemory.open(shape);
    this.#prepared = { memory, place: this.#driver.openPlace(memory) };
  }

  resume(moved: boolean): void {
    if (moved) this.#move();
    this.#running = true;
    this.#firstCompletion = 0;
    this.release();
  }

  async finish(timeoutMs: number): Promise<GuestStatistics> {
    this.#submitting = false;
    this.release();
    await this.#stepUntil(() => this.#workload.inFlight === 0 || this.#workload.fault !== undefined, timeoutMs);
    return this.statistics();
  }

  statistics(): GuestStatistics {
    return {
      ...this.#workload.counters,
      in_flight: this.#workload.inFlight,
      last_completion_ms: this.#lastCompletion,
      first_completion_ms: this.#firstCompletion,
      fault: this.#workload.fault?.message,
    };
  }

  takeDirty(): DirtySnapshot {
    return this.#dirty.swap();
  }

  #move(): void {
    if (!this.#prepared) throw new VdpaError('ERR_VDPA_INVALID_ARGUMENT', 'No memory was prepared to move to.');
    this.#driver.moveTo(this.#prepared.place);
    this.#memory.close();
    this.#memory = this.#prepared.memory;
    this.#prepared = undefined;
  }

  /** Looks at the ring itself meanwhile: waiting for a call can take longer than what is waited for. */
  async #stepUntil(condition: () => boolean, timeoutMs: number): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    for (this.#step(); !condition() && performance.now() < deadline; this.#step()) await sleep(POLL_MS);
  }

  #step(): void {
    if (!this.#running) return;
    if (this.#workload.collect() > 0) {
      this.#lastCompletion = now();
      this.#firstCompletion ||= this.#lastCompletion;
    }
    const wantsKick = this.#submitting && this.#workload.fill();
    if (wantsKick && this.#kicking) signalEventFd(this.#config.kickFd);
  }
}

function now(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

let guest: Guest | undefined;

function current(): Guest {
  if (!guest) throw new VdpaError('ERR_VDPA_INVALID_ARGUMENT', 'The guest has not been started.');
  return guest;
}

serve({
  start(config) {
    guest = new Guest(config);
  },
  hold: timeoutMs => current().hold(timeoutMs),
  idle: timeoutMs => current().idle(timeoutMs),
  release: () => current().release(),
  surge: count => current().surge(count),
  pause: () => current().pause(),
  prepare: shape => current().prepare(shape),
  resume: moved => current().resume(moved),
  finish: timeoutMs => current().finish(timeoutMs),
  statistics: () => current().statistics(),
  takeDirty: () => current().takeDirty(),
} satisfies GuestServices);
