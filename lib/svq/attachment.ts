/**
 * A guest's queues attached to a device: in passthrough, where the device works on the guest's rings, or shadowed, where it
 * works on ours and we forward.
 *
 *     attached ──startPassthrough──▶ passthrough ──enterShadow──▶ shadowed ──leaveShadow──▶ passthrough
 *        └──────startShadow──────────────────────────────────────▶   │
 *                                     stopped ◀──────stopShadow──────┘  (and startShadow again after a failure)
 */
import { type Device, numberAt, run } from '../device/device.js';
import type { GuestQueue } from '../device/guest-queue.js';
import { quiesceOperations, resetOperations, startOperations } from '../device/sequences.js';
import { observe } from '../device/trace.js';
import type { DirtySnapshot } from '../dirty/dirty-view.js';
import { AddressError, ClosedError, hex, UnsupportedError, VdpaError } from '../errors.js';
import { signalEventFd } from '../eventfd.js';
import type { AddressSpace } from '../iova/address-space.js';
import type { IovaLimits } from '../iova/limits.js';
import type { Placement } from '../iova/placement.js';
import type { SkippedRange } from '../iova/section-ranges.js';
import type { GuestMemory, MemoryChange } from '../memory/guest-memory.js';
import { describeSection, type Section } from '../memory/section.js';
import type { QueueAddresses } from '../ring/addresses.js';
import {
  VHOST_BACKEND_F_IOTLB_BATCH,
  VHOST_BACKEND_F_IOTLB_PERSIST,
  VHOST_BACKEND_F_RESUME,
  VHOST_BACKEND_F_SUSPEND,
} from '../uapi/backend-features.js';
import type { Operation, OperationResult } from '../uapi/operation.js';
import { AttachedMemory, type TranslationChange } from './attached-memory.js';
import type { QueueCounters } from './counters.js';
import { guestRingIndices } from './guest-ring.js';
import type { QueueState, ShadowEnd, ShadowThread } from './shadow.js';
import { ShadowRings } from './shadow-rings.js';
import { FRESH, ShadowThreads } from './shadow-threads.js';

/** How long requests in flight may take to come back before a switch to passthrough gives up, in milliseconds. */
const DRAIN_MS = 10_000;

export interface AttachmentOptions {
  readonly device: Device;
  readonly memory: GuestMemory;
  readonly queues: readonly GuestQueue[];
  /** Features negotiated with the device. */
  readonly features: bigint;
  /** Backend features to acknowledge; the device must offer them. */
  readonly backendFeatures: bigint;
  readonly limits: IovaLimits;
  readonly placement: Placement;
  /** The first start will be shadowed: memory is mapped for that. Default: for passthrough. */
  readonly startShadowed?: boolean;
  /** Gets a sentence, seldom, when guest memory is not given to the device. Default: a warning of the process. */
  readonly onWarning?: (text: string) => void;
}

export type AttachmentMode = 'attached' | 'passthrough' | 'shadowed' | 'stopped' | 'closed';

/** What a stopped device's queues left behind. */
export interface StoppedQueues {
  readonly ends: readonly ShadowEnd[];
  readonly suspended: readonly OperationResult[];
}

export class Attachment {
  readonly device: Device;
  readonly #options: AttachmentOptions;
  readonly #memory: AttachedMemory;
  /** Ends our part in the memory's changes. */
  readonly #unlisten: () => void;
  /** The device, watched for what becomes of the maps. */
  readonly #observed: Device;
  readonly #rings: ShadowRings;
  /** Started at attach, so that a switch does not wait for threads. */
  readonly #shadows: ShadowThreads;
  #mode: AttachmentMode = 'attached';
  /** A start was tried, so that the device must be reset before the next. */
  #started = false;
  #closing: Promise<void> | undefined;
  /** Where the queues stand while nobody serves them. */
  #states: readonly QueueState[] | undefined;
  /** The last step: a change of memory must not come in the middle of a switch, nor the reverse. */
  #step: Promise<unknown> = Promise.resolve();

  private constructor(options: AttachmentOptions) {
    this.device = options.device;
    this.#options = options;
    const { device, memory, queues, placement, limits, backendFeatures } = options;
    const { onWarning = text => process.emitWarning(text, { code: 'VDPA_MEMORY_LEFT_OUT' }) } = options;
    const batched = (backendFeatures & VHOST_BACKEND_F_IOTLB_BATCH) !== 0n;
    this.#rings = new ShadowRings(queues, limits.granule);
    try {
      this.#memory = new AttachedMemory({
        device,
        memory,
        rings: this.#rings.region,
        placement,
        limits,
        batched,
        onWarning,
      });
    } catch (error) {
      this.#rings.close();
      throw error;
    }
    this.#observed = observe(device, (operations, results) => this.space.apply(operations, results));
    this.#shadows = new ShadowThreads(queues.length);
    this.#unlisten = memory.listen(change => this.#exclusive(() => this.#follow(change)));
  }

  /**
   * Acknowledges backend features and maps memory and shadow rings, in one batch; the queues start later.
   * @throws AddressError when memory cannot be mapped, OperationError when the device refuses. The device stays open and reset.
   */
  static async attach(options: AttachmentOptions): Promise<Attachment> {
    const attachment = new Attachment(options);
    try {
      await attachment.#exclusive(async () => {
        await attachment.#submit([{ op: 'setBackendFeatures', features: options.backendFeatures }]);
        await attachment.#memory.map(options.startShadowed ?? false);
      });
      return attachment;
    } catch (error) {
      await attachment.#release();
      throw error;
    }
  }

  get mode(): AttachmentMode {
    return this.#mode;
  }

  /** Maps the device holds. */
  get space(): AddressSpace {
    return this.#memory.space;
  }

  /** Guest memory that the device was not given, and why. */
  get skipped(): readonly SkippedRange[] {
    return this.#memory.skipped;
  }

  /** Whether the device can be stopped without losing requests. */
  get canSuspend(): boolean {
    return (this.#options.backendFeatures & VHOST_BACKEND_F_SUSPEND) !== 0n;
  }

  /** The first start: the device works on the guest's rings. */
  startPassthrough(): Promise<void> {
    return this.#exclusive(async () => {
      this.#require('attached');
      await this.#startPassthrough(this.#options.queues.map(() => 0));
    });
  }

  /**
   * Starts shadowed, going on from these states: requests in flight are sent again, in order.
   * @returns the results of the start, for their times.
   */
  startShadow(states?: readonly QueueState[]): Promise<OperationResult[]> {
    return this.#exclusive(() => this.#startShadow(states));
  }

  async #startShadow(states?: readonly QueueState[]): Promise<OperationResult[]> {
    this.#require('attached', 'stopped');
    const bases = this.#options.queues.map(() => 0);
    const results = await this.#start(true, bases, async () => {
      // The thread initialises the shadow ring afresh, so it must be done before the device looks at it.
      await this.#shadows.start(i => this.#shadowConfig(i, states?.[i] ?? FRESH));
    });
    this.#serves('shadowed');
    this.#rings.kick();
    // Until its kick fd was bound anew the device could take the guest's kicks: the shadow looks once more.
    this.#kickGuestQueues();
    return results;
  }

  /**
   * From passthrough to shadow while the guest goes on.
   * @returns requests made available by the guest and not completed when the device was suspended.
   * @throws VdpaError ERR_VDPA_TAKEOVER when the device stopped with requests half done; it then serves on in passthrough, where
   *   it can resume as if nothing had happened, else from what it completed.
   */
  enterShadow(): Promise<number> {
    return this.#exclusive(() => this.#enterShadow());
  }

  async #enterShadow(): Promise<number> {
    this.#require('passthrough');
    this.#requireSuspend();
    this.#requireMaps(true);
    const bases = await this.#quiesce();
    const rings = this.#options.queues.map(queue => guestRingIndices(this.#options.memory, queue));
    const blocked = rings.findIndex((ring, i) => ring.usedIndex !== bases[i]);
    if (blocked >= 0) {
      await this.#goOn(rings.map(ring => ring.usedIndex));
      throw takeoverError(blocked, bases[blocked]!, rings[blocked]!.usedIndex);
    }
    await this.#startShadow(rings.map(({ usedIndex }) => ({ availIndex: usedIndex, usedIndex, inFlight: [] })));
    return rings.reduce((sum, ring) => sum + ring.waiting, 0);
  }

  /**
   * From shadow back to passthrough: waits until nothing is in flight, then hands the guest's rings to the device.
   * @throws VdpaError ERR_VDPA_TIMEOUT when requests do not come back; the shadow then goes on.
   */
  leaveShadow(): Promise<ShadowEnd[]> {
    return this.#exclusive(() => this.#leaveShadow());
  }

  async #leaveShadow(): Promise<ShadowEnd[]> {
    this.#require('shadowed');
    this.#requireSuspend();
    this.#requireMaps(false);
    const drained = await this.#ask(shadow => shadow.call('drain', DRAIN_MS));
    if (drained.includes(false)) {
      throw new VdpaError(
        'ERR_VDPA_TIMEOUT',
        `Requests in flight on ${this.device.path} did not come back within ${DRAIN_MS} ms.`,
      );
    }
    const { ends } = await this.#stopShadow();
    await this.#startPassthrough(ends.map(end => end.state.usedIndex));
    return [...ends];
  }

  /** Suspends the device and stops the shadow: the exact state of each queue. The device stays suspended until the next step. */
  stopShadow(): Promise<StoppedQueues> {
    return this.#exclusive(() => this.#stopShadow());
  }

  async #stopShadow(): Promise<StoppedQueues> {
    this.#require('shadowed');
    const { queues } = this.#options;
    this.#become('stopped');
    const suspended = await this.#submit(quiesceOperations(queues.map(queue => queue.index)));
    return { ends: await this.#stopThreads(), suspended };
  }

  /**
   * Serves again after a failure of any step, from exactly where the queues stand: shadowed when a shadow has been at work,
   * in passthrough otherwise. Requests in flight are carried out again.
   */
  recover(): Promise<void> {
    return this.#exclusive(() => this.#recover());
  }

  async #recover(): Promise<void> {
    this.#require('attached', 'passthrough', 'shadowed', 'stopped');
    // It serves: a refused takeover let it go on.
    if (this.#mode === 'passthrough') return;
    const { memory, queues } = this.#options;
    // Whatever failed, the device may be at work: it must not be while its rings are read or made afresh.
    await this.#submit(resetOperations());
    if (await this.#shadows.areRunning()) await this.#stopThreads();
    this.#become('stopped');
    if (this.#states) await this.#startShadow(this.#states);
    else await this.#startPassthrough(queues.map(queue => guestRingIndices(memory, queue).usedIndex));
  }

  /**
   * Makes requests available to the device without kicks from now on, until the next start. Answers when all it was kicked for
   * is completed, or after `timeoutMs`.
   */
  async hold(timeoutMs: number): Promise<void> {
    await this.#ask(shadow => shadow.call('hold', timeoutMs));
  }

  /** Requests taken from the guest and not returned. */
  async inFlight(): Promise<number> {
    const counts = await this.#ask(shadow => shadow.call('inFlight'));
    return counts.reduce((sum, count) => sum + count, 0);
  }

  /** What the device wrote since the last time, by queue; to be read before the next call. */
  takeDirty(): Promise<DirtySnapshot[]> {
    return this.#ask(shadow => shadow.call('takeDirty'));
  }

  counters(): Promise<QueueCounters[]> {
    return this.#ask(shadow => shadow.call('counters'));
  }

  /** The first fault of any queue. */
  async fault(): Promise<string | undefined> {
    const faults = await this.#ask(shadow => shadow.call('fault'));
    return faults.find(fault => fault !== undefined);
  }

  /** Stops the shadow, resets the device, unmaps, closes. Idempotent; finishes whatever fails. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#become('closed');
    // A step under way fails without its threads, so that it does not keep the device from its reset.
    await this.#shadows.end();
    await this.#step;
    try {
      await this.#observed.submit([...resetOperations(), ...this.space.plan([])]);
    } finally {
      await this.device.close();
      await this.#release();
    }
  }

  /** Frees what the device no longer uses: the threads first, they write to the rings. */
  async #release(): Promise<void> {
    this.#unlisten();
    await this.#shadows.end();
    this.#rings.close();
  }

  async #stopThreads(): Promise<ShadowEnd[]> {
    const ends = await this.#shadows.stop();
    this.#states = ends.map(end => end.state);
    this.#become('stopped');
    return ends;
  }

  /** Asks every shadow, while there are any. */
  #ask<T>(question: (shadow: ShadowThread) => Promise<T>): Promise<T[]> {
    return this.#mode === 'shadowed' ? this.#shadows.ask(question) : Promise.resolve([]);
  }

  async #startPassthrough(bases: readonly number[]): Promise<void> {
    await this.#start(false, bases);
    this.#serves('passthrough');
    this.#kickGuestQueues();
  }

  /**
   * From reset, or attached, to DRIVER_OK. Without the maps that the kernel refuses and the guest can do without.
   * @param prepare What must be done before the device starts.
   */
  async #start(shadowed: boolean, bases: readonly number[], prepare?: () => Promise<void>): Promise<OperationResult[]> {
    for (;;) {
      await prepare?.();
      try {
        return await this.#submit(this.#startOperations(shadowed, bases));
      } catch (error) {
        if (!this.#memory.leaveOut(error, shadowed)) throw error;
      }
    }
  }

  #serves(mode: 'passthrough' | 'shadowed'): void {
    this.#become(mode);
    this.#memory.serves(mode === 'shadowed');
    this.#states = undefined;
  }

  /** A step that was under way at a close does not undo it. */
  #become(mode: AttachmentMode): void {
    if (this.#mode !== 'closed') this.#mode = mode;
  }

  /**
   * Lets a device suspended in passthrough go on. Without RESUME only a start from what it has completed is left: requests
   * between that and its base are carried out again.
   */
  async #goOn(usedIndices: readonly number[]): Promise<void> {
    const canResume = (this.#options.backendFeatures & VHOST_BACKEND_F_RESUME) !== 0n;
    if (!canResume) return this.#startPassthrough(usedIndices);
    await this.#submit([{ op: 'resume' }]);
    this.#serves('passthrough');
    this.#kickGuestQueues();
  }

  /** A device looks at a ring only when kicked: what is there before DRIVER_OK, or came while it was suspended, waits otherwise. */
  #kickGuestQueues(): void {
    for (const queue of this.#options.queues) signalEventFd(queue.kickFd);
  }

  async #quiesce(): Promise<number[]> {
    this.#become('stopped');
    const indices = this.#options.queues.map(queue => queue.index);
    const results = await this.#submit(quiesceOperations(indices));
    return indices.map((_, i) => numberAt(results, i + 1));
  }

  /** A reset forgets the device's maps, unless it was told to keep them. */
  get #losesMaps(): boolean {
    return (this.#options.backendFeatures & VHOST_BACKEND_F_IOTLB_PERSIST) === 0n;
  }

  /** Reset (but for the first start), maps where they must change or were lost, and everything up to DRIVER_OK. */
  #startOperations(shadowed: boolean, bases: readonly number[]): Operation[] {
    const { queues, features } = this.#options;
    const again = this.#started;
    this.#started = true;
    const lost = again && this.#losesMaps;
    const programs = queues.map((queue, i) =>
      shadowed ? this.#rings.program(i, bases[i]!, this.#memory.ringsIova) : { ...queue, base: bases[i]! },
    );
    return [
      ...(again ? resetOperations() : []),
      ...this.#memory.operations(shadowed, lost),
      ...startOperations(features, programs),
    ];
  }

  /** A change of memory under the running queues. */
  async #follow({ sections, removed }: MemoryChange): Promise<void> {
    // Who closes while a change waits has no part in it.
    if (this.#mode === 'closed') return;
    for (const section of removed) this.#refuseQueueIn(section);
    const wanted = this.#memory.describe(sections);
    let change: TranslationChange | undefined;
    try {
      await this.#ask(shadow => shadow.call('pause'));
      change = await this.#memory.follow(wanted);
    } finally {
      await this.#ask(shadow => shadow.call('retranslate', change));
    }
  }

  #refuseQueueIn(section: Section): void {
    const queue = this.#options.queues.find(({ addresses }) => isWithin(section, addresses));
    if (!queue) return;
    throw new AddressError(
      `${describeSection(section)} cannot be removed: queue ${queue.index} of ${this.device.path} is in it.`,
      { details: { gpa: section.gpa, queue: queue.index } },
    );
  }

  /** Whether memory can stand as the next start wants it is found out while the device still works. */
  #requireMaps(shadowed: boolean): void {
    this.#memory.operations(shadowed, this.#losesMaps);
  }

  /** One step after another. */
  #exclusive<T>(step: () => Promise<T>): Promise<T> {
    const result = this.#step.then(step);
    this.#step = result.catch(() => {});
    return result;
  }

  #shadowConfig(i: number, state: QueueState) {
    const { memory, queues } = this.#options;
    return {
      memory: memory.shape,
      guestQueue: queues[i]!,
      state,
      translation: this.#memory.translation(),
      ...this.#rings.config(i),
    };
  }

  /** Runs operations; the mirror of the maps stays exact, also when one fails. */
  #submit(operations: readonly Operation[]): Promise<OperationResult[]> {
    return run(this.#observed, operations);
  }

  #require(...modes: AttachmentMode[]): void {
    if (this.#mode === 'closed') throw new ClosedError(this.device.path);
    if (modes.includes(this.#mode)) return;
    const text = `This needs ${this.device.path} to be ${modes.join(' or ')}; it is ${this.#mode}.`;
    throw new VdpaError('ERR_VDPA_INVALID_ARGUMENT', text, { details: { mode: this.#mode } });
  }

  #requireSuspend(): void {
    if (this.canSuspend) return;
    throw new UnsupportedError(
      `${this.device.path} cannot be suspended (no VHOST_BACKEND_F_SUSPEND), so it cannot change between passthrough and shadow without losing requests. Shadow it from the start instead.`,
    );
  }
}

/** Whether a part of a queue is in a section. */
function isWithin({ gpa, size }: { gpa: number; size: number }, { desc, driver, device }: QueueAddresses): boolean {
  return [desc, driver, device].some(area => area >= gpa && area < gpa + size);
}

function takeoverError(queue: number, base: number, used: number): VdpaError {
  return new VdpaError(
    'ERR_VDPA_TAKEOVER',
    `Queue ${queue} cannot be shadowed now: the device stopped at ${hex(base)} with ${hex(used)} completed, and what lies between may be lost or done twice. It serves on in passthrough; try again, or shadow it from the start.`,
    { details: { queue, base, used } },
  );
}
