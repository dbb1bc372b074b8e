/** A guest, a forwarder and a device on plain memory, stepped by hand. */
import { DirtyBitmap } from '../../lib/dirty/dirty-bitmap.js';
import { Translation, type TranslationEntry } from '../../lib/iova/translation.js';
import { Chain } from '../../lib/ring/chain.js';
import { SplitDevice } from '../../lib/ring/split-device.js';
import { SplitDriver } from '../../lib/ring/split-driver.js';
import { Forwarder } from '../../lib/svq/forwarder.js';
import { RingMemory } from './ring-memory.js';

export const MEMORY = 2 ** 24;
export const USED_RING_GPA = 0x10_0000;
/** Guest addresses appear to the device this far away. */
export const DISTANCE = 2 ** 40;

export interface BenchOptions {
  readonly guestSize?: number;
  readonly shadowSize?: number;
  readonly translation?: readonly TranslationEntry[];
}

export class ForwarderBench {
  readonly driver: SplitDriver;
  readonly device: SplitDevice;
  readonly forwarder: Forwarder;
  readonly dirty = new DirtyBitmap(MEMORY);
  readonly guestRing: RingMemory;
  readonly shadowRing: RingMemory;
  kicks = 0;
  calls = 0;

  /** @param from Another bench, stopped: this one goes on with its guest. */
  constructor({ guestSize = 16, shadowSize = 16, translation }: BenchOptions = {}, from?: ForwarderBench) {
    this.guestRing = from?.guestRing ?? new RingMemory(guestSize);
    this.shadowRing = new RingMemory(shadowSize);
    this.driver = from?.driver ?? new SplitDriver(this.guestRing.areas, guestSize, 0);
    const { availIndex = 0, usedIndex = 0 } = from?.forwarder.guest ?? {};
    const shadow = new SplitDriver(this.shadowRing.areas, shadowSize, 0);
    this.device = new SplitDevice(this.shadowRing.areas, shadowSize, 0);
    this.forwarder = new Forwarder({
      guest: new SplitDevice(this.guestRing.areas, guestSize, availIndex, usedIndex),
      shadow,
      translation: new Translation(translation ?? [{ from: 0, size: MEMORY, to: DISTANCE, writable: true }]),
      dirty: this.dirty,
      usedRing: { gpa: USED_RING_GPA, bytes: 6 + 8 * guestSize },
      kick: () => {
        this.kicks++;
      },
      call: () => {
        this.calls++;
      },
    });
  }

  /** Another forwarder and another device for the same guest. */
  successor(options: BenchOptions = {}): ForwarderBench {
    return new ForwarderBench(options, this);
  }

  /** Makes a chain available: lengths by address, readable ones first. */
  offer(readable: [number, number][], writable: [number, number][] = []): number {
    const chain = new Chain(16);
    for (const [addr, len] of readable) chain.push(addr, len, false);
    for (const [addr, len] of writable) chain.push(addr, len, true);
    const head = this.driver.add(chain);
    this.driver.publish();
    return head;
  }

  /** What the device finds next: addresses and lengths, and the chain's head. */
  take(): { head: number; buffers: [number, number, boolean][] } | undefined {
    const chain = new Chain(64);
    if (!this.device.pop(chain)) return undefined;
    const buffers = Array.from({ length: chain.count }, (_, i): [number, number, boolean] => [
      chain.addr[i]!,
      chain.len[i]!,
      i >= chain.readable,
    ]);
    return { head: chain.head, buffers };
  }

  /** The device is done with a chain. */
  finish(head: number, length: number): void {
    this.device.push(head, length);
    this.device.publish();
  }
}
