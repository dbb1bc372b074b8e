/** The two producers of dirty pages, the guest's processor and the device, gathered round by round. */
import { DirtyBitmap } from '../dirty/dirty-bitmap.js';
import { type DirtySnapshot, DirtyView } from '../dirty/dirty-view.js';
import type { BlockGuest } from '../guest/block-guest.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import type { Attachment } from '../svq/attachment.js';

/** Pages found dirty over all rounds, and how many of them by whom. */
export interface DirtyTotals {
  readonly total: number;
  readonly guest: number;
  readonly device: number;
}

export class DirtyPages implements DirtyTotals {
  readonly #pending: DirtyBitmap;
  total = 0;
  guest = 0;
  device = 0;

  constructor(memory: GuestMemory) {
    this.#pending = new DirtyBitmap(memory.end);
  }

  /** Takes what both have written since the last time. */
  async collect(guest: BlockGuest, source: Attachment): Promise<void> {
    this.addDevice(await source.takeDirty());
    this.addGuest(await guest.thread.call('takeDirty'));
  }

  addGuest(snapshot: DirtySnapshot): void {
    this.guest += this.#merge(snapshot);
  }

  addDevice(queues: readonly DirtySnapshot[]): void {
    for (const snapshot of queues) this.device += this.#merge(snapshot);
  }

  /** Pages waiting to be copied. */
  get pending(): number {
    return this.#pending.count();
  }

  /** Runs of (guest address, length) to copy now; the pages are no longer pending. */
  take(): Float64Array {
    this.total += this.#pending.count();
    const runs = this.#pending.runs();
    this.#pending.clear();
    return runs;
  }

  /** What was written before the first full copy needs no second one. */
  forget(): void {
    this.#pending.clear();
    this.total = this.guest = this.device = 0;
  }

  #merge(snapshot: DirtySnapshot): number {
    const view = DirtyView.of(snapshot);
    const pages = view.count();
    this.#pending.or(view);
    return pages;
  }
}
