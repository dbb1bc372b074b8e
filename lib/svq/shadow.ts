/** A shadowed queue as its owner sees it: a thread that forwards. */
import type { GuestQueue } from '../device/guest-queue.js';
import type { TranslationEntry } from '../iova/translation.js';
import type { Section } from '../memory/guest-memory.js';
import type { QueueAddresses } from '../ring/addresses.js';
import { Thread } from '../thread.js';
import type { QueueCounters } from './counters.js';

/** Where a guest queue stands: everything another device needs to go on with it. */
export interface QueueState {
  /** Next avail entry to take and next used element to write, free-running 16 bits. */
  readonly availIndex: number;
  readonly usedIndex: number;
  /** Heads taken and not returned, in the order they were taken. */
  readonly inFlight: readonly number[];
}

/** Plain data: it goes to the shadow's thread as it is. */
export interface ShadowConfig {
  readonly sections: readonly Section[];
  readonly guestQueue: GuestQueue;
  readonly state: QueueState;
  readonly translation: readonly TranslationEntry[];
  /** The shadow ring: its region, and its areas by offset in it. */
  readonly rings: { readonly region: number; readonly addresses: QueueAddresses };
  /** eventfds of the shadow ring: kicks for the device, calls from it. */
  readonly kickFd: number;
  readonly callFd: number;
}

/** What a shadow leaves behind. */
export interface ShadowEnd {
  readonly state: QueueState;
  /** Words of the device's dirty bitmap since it was last taken. */
  readonly dirty: Uint32Array;
  readonly counters: QueueCounters;
  readonly fault: string | undefined;
}

/** What the shadow's thread offers. */
export type ShadowServices = {
  start(config: ShadowConfig): void;
  stop(): ShadowEnd;
  isRunning(): boolean;
  drain(timeoutMs: number): Promise<boolean>;
  /**
   * Makes requests available to the device without kicks from now on. Answers when all it was kicked for is completed, so that
   * what is in flight then stays in flight, or after `timeoutMs`.
   */
  hold(timeoutMs: number): Promise<void>;
  takeDirty(): Uint32Array;
  counters(): QueueCounters;
  fault(): string | undefined;
  inFlight(): number;
};

export type ShadowThread = Thread<ShadowServices>;

export function startShadowThread(): ShadowThread {
  return new Thread<ShadowServices>(new URL('./worker.js', import.meta.url));
}
