/** A shadowed queue as its owner sees it: a thread that forwards. */
import type { GuestQueue } from '../device/guest-queue.js';
import type { DirtySnapshot } from '../dirty/dirty-view.js';
import type { TranslationEntry } from '../iova/translation.js';
import type { MemoryShape } from '../memory/section.js';
import type { QueueAddresses } from '../ring/addresses.js';
import { Thread } from '../thread.js';
import type { TranslationChange } from './attached-memory.js';
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
  readonly memory: MemoryShape;
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
  /** What the device wrote since it was last asked for. */
  readonly dirty: DirtySnapshot;
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
  /** What the device wrote since the last time; to be read before the next call. */
  takeDirty(): DirtySnapshot;
  /** Gives the device no new request until `retranslate`. */
  pause(): void;
  /** Goes on; guest memory has changed, or not after all. */
  retranslate(change: TranslationChange | undefined): void;
  counters(): QueueCounters;
  fault(): string | undefined;
  inFlight(): number;
};

export type ShadowThread = Thread<ShadowServices>;

export function startShadowThread(): ShadowThread {
  return new Thread<ShadowServices>(new URL('./worker.js', import.meta.url));
}
