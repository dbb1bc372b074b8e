/** The thread of one shadowed queue. */
import { setTimeout as sleep } from 'node:timers/promises';
import { DirtyPair } from '../dirty/dirty-pair.js';
import type { DirtySnapshot } from '../dirty/dirty-view.js';
import { VdpaError } from '../errors.js';
import { signalEventFd } from '../eventfd.js';
import { Translation } from '../iova/translation.js';
import { GuestMemory } from '../memory/guest-memory.js';
import { MemoryRegion } from '../memory/region.js';
import { ringAreas } from '../ring/addresses.js';
import { SplitDevice } from '../ring/split-device.js';
import { SplitDriver } from '../ring/split-driver.js';
import { serve } from '../thread.js';
import { splitUsedSize } from '../uapi/virtio-ring.js';
import type { TranslationChange } from './attached-memory.js';
import type { QueueCounters } from './counters.js';
import { Forwarder } from './forwarder.js';
import { Loop } from './loop.js';
import type { ShadowConfig, ShadowEnd, ShadowServices } from './shadow.js';

const POLL_MS = 1;

interface Running {
  readonly forwarder: Forwarder;
  readonly loop: Loop;
  readonly memory: GuestMemory;
  readonly shadowRings: MemoryRegion;
  readonly dirty: DirtyPair;
}

let running: Running | undefined;

function current(): Running {
  if (!running) throw new VdpaError('ERR_VDPA_INVALID_ARGUMENT', 'The shadow is not running.');
  return running;
}

function start(config: ShadowConfig): void {
  // After a failed start on the device the owner starts again.
  if (running) stop();
  const { guestQueue, state, rings } = config;
  const memory = GuestMemory.open(config.memory);
  const guestAreas = ringAreas(guestQueue.addresses, (gpa, length) => memory.view(gpa, length));
  const shadowRings = MemoryRegion.open(rings.region);
  const shadowAreas = ringAreas(rings.addresses, (offset, length) => shadowRings.view(offset, length));
  const { size, device } = guestQueue.addresses;
  const dirty = new DirtyPair(memory.end);
  const forwarder = new Forwarder({
    guest: new SplitDevice(guestAreas, size, state.availIndex, state.usedIndex),
    shadow: new SplitDriver(shadowAreas, rings.addresses.size, 0),
    translation: new Translation(config.translation),
    dirty,
    usedRing: { gpa: device, bytes: splitUsedSize(size) },
    kick: () => signalEventFd(config.kickFd),
    call: () => signalEventFd(guestQueue.callFd),
  });
  forwarder.replay(state.inFlight);
  const loop = new Loop(forwarder, guestQueue.kickFd, config.callFd);
  running = { forwarder, loop, memory, shadowRings, dirty };
}

/** Completes what the device has done, stops, and tells exactly what is still in flight. */
function stop(): ShadowEnd {
  const { forwarder, loop, memory, shadowRings, dirty } = current();
  loop.stop();
  const inFlight = forwarder.stop();
  const { availIndex, usedIndex } = forwarder.guest;
  running = undefined;
  const end = {
    state: { availIndex, usedIndex, inFlight },
    dirty: dirty.swap(),
    counters: forwarder.counters,
    fault: forwarder.fault?.message,
  };
  memory.close();
  shadowRings.close();
  return end;
}

/** Takes nothing new and waits until nothing is in flight; when that takes longer than allowed it goes on, and answers false. */
async function drain(timeoutMs: number): Promise<boolean> {
  const { forwarder } = current();
  forwarder.accept(false);
  const drained = await passUntil(() => forwarder.inFlight === 0, timeoutMs);
  forwarder.accept(!drained);
  return drained;
}

function retranslate(change: TranslationChange | undefined): void {
  const { forwarder, loop } = current();
  try {
    if (change) forwarder.retranslate(change.removed, change.added);
  } finally {
    forwarder.pause(false);
  }
  // What came meanwhile came with kicks that found it paused.
  loop.pass();
}

async function hold(timeoutMs: number): Promise<void> {
  const { forwarder } = current();
  const { counters } = forwarder;
  forwarder.kickDevice(false);
  const kicked = counters.forwarded;
  await passUntil(() => counters.completed >= kicked, timeoutMs);
}

/** Looks at the rings itself meanwhile: waiting for a call can take longer than what is waited for. */
async function passUntil(condition: () => boolean, timeoutMs: number): Promise<boolean> {
  const deadline = performance.now() + timeoutMs;
  for (; !condition() && performance.now() < deadline; running?.loop.pass()) await sleep(POLL_MS);
  return condition();
}

serve({
  start,
  stop,
  isRunning: (): boolean => running !== undefined,
  drain,
  hold,
  pause: () => current().forwarder.pause(true),
  retranslate,
  /** Hands over the device's dirty pages since the last time. */
  takeDirty: (): DirtySnapshot => current().dirty.swap(),
  counters: (): QueueCounters => current().forwarder.counters,
  fault: (): string | undefined => current().forwarder.fault?.message,
  inFlight: (): number => current().forwarder.inFlight,
} satisfies ShadowServices);
