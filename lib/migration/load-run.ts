/** Our block guest on one device, under verified load, in passthrough or shadowed. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { BlockDevice } from '../device/block.js';
import { BlockGuest } from '../guest/block-guest.js';
import type { GuestStatistics } from '../guest/guest.js';
import type { WorkArea } from '../guest/write-permission.js';
import { GuestMemory } from '../memory/guest-memory.js';
import type { Topology } from '../memory/topology.js';
import { Attachment } from '../svq/attachment.js';
import type { QueueCounters } from '../svq/counters.js';
import { finishAll } from './finish-all.js';

export interface LoadOptions {
  readonly block: BlockDevice;
  /** Bytes of guest memory, or a whole machine's. */
  readonly memory: number | Topology;
  readonly area: WorkArea;
  /** Requests in flight. */
  readonly depth: number;
  readonly seed: number;
  readonly shadow: boolean;
  /** Gets a sentence when guest memory is not given to a device. Default: a warning of the process. */
  readonly onWarning?: ((text: string) => void) | undefined;
}

export interface LoadResult {
  readonly statistics: GuestStatistics;
  /** One per queue while shadowed, else none. */
  readonly shadow: readonly QueueCounters[];
  /** How a queue's contract was broken, if it was. */
  readonly fault: string | undefined;
}

const FINISH_MS = 5000;

export class LoadRun {
  readonly #options: LoadOptions;
  readonly #memory: GuestMemory;
  readonly #guest: BlockGuest;
  #attachment: Attachment | undefined;

  /** Takes over the device: `close` closes it. */
  constructor(options: LoadOptions) {
    const { block, memory, area, depth, seed } = options;
    this.#options = options;
    this.#memory = GuestMemory.create(memory);
    this.#guest = new BlockGuest(this.#memory, block.capabilities.vringNumMax, { ...area, depth, seed });
  }

  /** Maps, starts the device, starts the load. */
  async start(): Promise<void> {
    const { block, shadow, onWarning } = this.#options;
    const { device, features, backendFeatures, limits } = block;
    const queues = [this.#guest.queue];
    const memory = this.#memory;
    this.#attachment = await Attachment.attach({
      device,
      features,
      backendFeatures,
      limits,
      memory,
      queues,
      placement: 'identity',
      startShadowed: shadow,
      ...(onWarning && { onWarning }),
    });
    await this.#guest.start(memory);
    if (shadow) await this.#attachment.startShadow();
    else await this.#attachment.startPassthrough();
  }

  statistics(): Promise<GuestStatistics> {
    return this.#guest.thread.call('statistics');
  }

  /** Runs for a time, or until the signal; calls back every second. */
  async run(durationMs: number, onSecond: (statistics: GuestStatistics) => void, signal?: AbortSignal): Promise<void> {
    const end = performance.now() + durationMs;
    for (let rest = durationMs; rest > 0 && !signal?.aborted; rest = end - performance.now()) {
      await sleep(Math.min(1000, rest), undefined, signal ? { signal } : {}).catch(() => {});
      onSecond(await this.statistics());
    }
  }

  /** Waits for what is in flight and tells the result. */
  async finish(): Promise<LoadResult> {
    const statistics = await this.#guest.thread.call('finish', FINISH_MS);
    const shadow = (await this.#attachment?.counters()) ?? [];
    return { statistics, shadow, fault: statistics.fault ?? (await this.#attachment?.fault()) };
  }

  /** Resets and closes the device, ends the guest, frees memory. */
  async close(): Promise<void> {
    await finishAll([
      () => this.#attachment?.close(),
      () => this.#options.block.device.close(),
      () => this.#guest.close(),
      () => this.#memory.close(),
    ]);
  }
}
