/**
 * Runs a forwarder in the thread it lives in: works while there is work, then asks both sides for notifications, looks once
 * more, and sleeps until one comes.
 */
import { unwatchFd, watchFd } from '../eventfd.js';
import type { Forwarder } from './forwarder.js';

/** Requests moved in one go in each direction, so that neither side of a busy queue starves. */
const BUDGET = 64;
/** Rounds before the thread's other work (calls from its owner) gets a turn. */
const ROUNDS = 64;

export class Loop {
  readonly #forwarder: Forwarder;
  readonly #watches: number[];
  #running = true;

  /** @param kickFd The guest's kicks. @param callFd The device's calls. */
  constructor(forwarder: Forwarder, kickFd: number, callFd: number) {
    this.#forwarder = forwarder;
    const wake = () => this.pass();
    this.#watches = [watchFd(kickFd, wake), watchFd(callFd, wake)];
    // What the guest made available before we listened came without a kick for us.
    this.pass();
  }

  /** Does all there is to do, or as much as one turn of the thread allows. */
  pass(): void {
    if (!this.#running) return;
    const { guest, shadow } = this.#forwarder;
    guest.setNotify(false);
    shadow.setInterrupts(false);
    for (let round = 0; round < ROUNDS; round++) {
      const moved = this.#forwarder.complete(BUDGET) + this.#forwarder.forward(BUDGET);
      if (moved > 0) continue;
      guest.setNotify(true);
      shadow.setInterrupts(true);
      // The last look after asking for notifications: what came before the request comes without one.
      if (this.#forwarder.complete(BUDGET) + this.#forwarder.forward(BUDGET) === 0) return;
      guest.setNotify(false);
      shadow.setInterrupts(false);
    }
    setImmediate(() => this.pass());
  }

  /** Stops listening; what the device has completed by now still goes to the guest. */
  stop(): void {
    this.#running = false;
    for (const watch of this.#watches) unwatchFd(watch);
    while (this.#forwarder.complete(BUDGET) > 0);
    this.#forwarder.guest.setNotify(true);
  }
}
