/** A guest as its owner sees it: a thread that drives a block queue and verifies what comes back. */
import type { DirtySnapshot } from '../dirty/dirty-view.js';
import type { MemoryShape } from '../memory/section.js';
import { Thread } from '../thread.js';
import { newWorkloadCounters, type WorkloadCounters, type WorkloadOptions } from './blk-workload.js';
import type { GuestLayout } from './layout.js';

/** Plain data: it goes to the guest's thread as it is. */
export interface GuestConfig {
  readonly memory: MemoryShape;
  readonly layout: GuestLayout;
  readonly workload: WorkloadOptions;
  /** eventfds: the guest kicks one and is called through the other. */
  readonly kickFd: number;
  readonly callFd: number;
}

export interface GuestStatistics extends WorkloadCounters {
  readonly in_flight: number;
  /** CLOCK_MONOTONIC, in milliseconds: the last completion, and the first since the guest was last resumed; 0 for none. */
  readonly last_completion_ms: number;
  readonly first_completion_ms: number;
  readonly fault: string | undefined;
}

/** Of a guest that has done nothing. */
export const NO_STATISTICS: GuestStatistics = {
  ...newWorkloadCounters(),
  in_flight: 0,
  last_completion_ms: 0,
  first_completion_ms: 0,
  fault: undefined,
};

/** What the guest's thread offers. */
export type GuestServices = {
  /** Starts making requests. */
  start(config: GuestConfig): void;
  /**
   * Goes on making requests available but kicks no more, until `release`. Answers when all it has kicked for is completed, so
   * that what is in flight then stays in flight, or after `timeoutMs`.
   */
  hold(timeoutMs: number): Promise<void>;
  /** Answers when as many requests are in flight as there should be and none completes, or after `timeoutMs`. */
  idle(timeoutMs: number): Promise<void>;
  /** Kicks again, also for what was held. */
  release(): void;
  /** Makes up to `count` more requests available beyond the depth. @returns how many. */
  surge(count: number): number;
  /** Stops the guest's processor: nothing is submitted, collected or written any more. */
  pause(): GuestStatistics;
  /** Opens windows on a copy of the memory, so that `resume` there takes no time. */
  prepare(shape: MemoryShape): void;
  /** Goes on; in the prepared copy of the memory when `moved`. */
  resume(moved: boolean): void;
  /** Submits nothing new and waits until nothing is in flight, or `timeoutMs` have passed. */
  finish(timeoutMs: number): Promise<GuestStatistics>;
  statistics(): GuestStatistics;
  /** What the guest's processor wrote since the last time; to be read before the next call. */
  takeDirty(): DirtySnapshot;
};

export type GuestThread = Thread<GuestServices>;

export function startGuestThread(): GuestThread {
  return new Thread<GuestServices>(new URL('./worker.js', import.meta.url));
}
