/**
 * A live migration of our block guest from one device to another, rehearsed under verified load.
 *
 *     passthrough ─▶ shadow ─▶ pre-copy ─▶ │ suspend, drain, last copy, (compare), start there │ ─▶ shadow ─▶ passthrough
 *     source ────────────────────────────▶ │                 blackout                          │ destination ─────────▶
 *
 * Until the destination has started, the source can go on: any failure before that rolls back to it.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { BlockDevice } from '../device/block.js';
import { hex, MigrationError, VdpaError } from '../errors.js';
import { BlockGuest } from '../guest/block-guest.js';
import { type GuestStatistics, NO_STATISTICS } from '../guest/guest.js';
import type { WorkArea } from '../guest/write-permission.js';
import type { Placement } from '../iova/placement.js';
import { GuestMemory } from '../memory/guest-memory.js';
import { PAGE_SIZE } from '../memory/region.js';
import type { Topology } from '../memory/topology.js';
import { allOf, compareMemory, copyMemory } from '../memory/transfer.js';
import { Attachment, type StoppedQueues } from '../svq/attachment.js';
import { guestRingIndices } from '../svq/guest-ring.js';
import { DirtyPages } from './dirty-pages.js';
import { finishAll } from './finish-all.js';
import { Phases } from './phases.js';
import type { MigrationReport } from './report.js';
import { newFacts, summarise } from './summary.js';

export interface RehearsalOptions {
  readonly from: BlockDevice;
  readonly to: BlockDevice;
  /** Bytes of guest memory, or a whole machine's. */
  readonly memory: number | Topology;
  readonly placement: Placement;
  readonly area: WorkArea;
  /** Requests in flight. */
  readonly depth: number;
  readonly seed: number;
  /** How long the workload runs in each state, in milliseconds. */
  readonly settleMs: number;
  /** Pre-copy ends when what is left would take no longer than this, in milliseconds. */
  readonly maxDowntimeMs: number;
  readonly onPhase?: (name: string) => void;
  /** Gets a sentence when guest memory is not given to a device. Default: a warning of the process. */
  readonly onWarning?: ((text: string) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Pre-copy gives up converging after so many rounds and takes the rest into the blackout. */
const MAX_ROUNDS = 16;
/** How long a held device gets to complete what it was kicked for. */
const HOLD_MS = 1000;
/** How long it gets to become idle after that; a slow one never does, and then has requests in flight anyway. */
const IDLE_MS = 50;
const FINISH_MS = 10_000;
/** A device that completes nothing for so long has stalled. */
const STALL_MS = 5000;
const STALL_POLL_MS = 20;

export class Rehearsal {
  readonly #options: RehearsalOptions;
  readonly #phases: Phases;
  readonly #memory: GuestMemory;
  readonly #copy: GuestMemory;
  readonly #guest: BlockGuest;
  readonly #dirty: DirtyPages;
  #source: Attachment | undefined;
  #destination: Attachment | undefined;
  #stopped: StoppedQueues | undefined;
  readonly #facts = newFacts();
  /** The guest lives on the destination: there is no way back. */
  #committed = false;

  /** Takes over both devices: `close` closes them. */
  constructor(options: RehearsalOptions) {
    this.#options = options;
    this.#phases = new Phases(options.onPhase);
    this.#memory = GuestMemory.create(options.memory);
    this.#copy = GuestMemory.create(options.memory);
    this.#guest = new BlockGuest(this.#memory, options.from.capabilities.vringNumMax, {
      ...options.area,
      depth: options.depth,
      seed: options.seed,
    });
    this.#dirty = new DirtyPages(this.#memory);
  }

  /**
   * Runs the whole rehearsal. A failure inside it is a report with the verdict "fail".
   * @throws what attaching throws, before anything runs; VdpaError ERR_VDPA_CANCELED when the signal came. `close` resets both devices.
   */
  async run(): Promise<MigrationReport> {
    await this.#phase('attach', () => this.#attach());
    try {
      await this.#migrate();
      return await this.#report(await this.#finishGuest());
    } catch (error) {
      if (this.#options.signal?.aborted) throw canceled(this.#phases.current);
      return this.#reportFailure(error);
    }
  }

  /** Resets and closes both devices, ends the guest, frees memory. Idempotent. */
  async close(): Promise<void> {
    const { from, to } = this.#options;
    // In this order, each whatever becomes of those before it.
    await finishAll([
      () => this.#source?.close(),
      () => this.#destination?.close(),
      () => from.device.close(),
      () => to.device.close(),
      () => this.#guest.close(),
      () => this.#memory.close(),
      () => this.#copy.close(),
    ]);
  }

  async #migrate(): Promise<void> {
    await this.#phase('run_passthrough', () => this.#settle());
    await this.#phase('switch_to_shadow', () => this.#switchToShadow());
    await this.#phase('run_shadow', () => this.#settle());
    await this.#phase('precopy', () => this.#precopy());
    await this.#phase('hold', () => this.#hold());
    await this.#phase('suspend', () => this.#suspend());
    await this.#phase('last_copy', () => this.#lastCopy());
    await this.#phase('compare', () => this.#compare());
    await this.#phase('start_destination', () => this.#startDestination());
    await this.#phase('resume_guest', () => this.#guest.thread.call('resume', true));
    await this.#phase('release_source', () => this.#source!.close());
    await this.#phase('run_destination', () => this.#settle());
    await this.#phase('switch_to_passthrough', () => this.#switchToPassthrough());
    await this.#phase('run_destination_passthrough', () => this.#settle());
  }

  #phase<T>(name: string, body: () => Promise<T>): Promise<T> {
    this.#options.signal?.throwIfAborted();
    return this.#phases.run(name, body);
  }

  async #attach(): Promise<void> {
    const { from, to, placement, onWarning } = this.#options;
    const common = { queues: [this.#guest.queue], features: from.features, placement, ...(onWarning && { onWarning }) };
    const attach = ({ device, backendFeatures, limits }: BlockDevice, memory: GuestMemory, startShadowed: boolean) =>
      Attachment.attach({
        ...common,
        device: this.#phases.count(device),
        backendFeatures,
        limits,
        memory,
        startShadowed,
      });
    this.#source = await attach(from, this.#memory, false);
    this.#destination = await attach(to, this.#copy, true);
    for (const { device, skipped } of [this.#source, this.#destination]) {
      this.#facts.skipped.push(...skipped.map(range => ({ path: device.path, range })));
    }
    await this.#guest.start(this.#memory);
    await this.#source.startPassthrough();
  }

  async #switchToShadow(): Promise<void> {
    await this.#guest.thread.call('hold', HOLD_MS);
    await this.#guest.thread.call('idle', IDLE_MS);
    this.#facts.inFlightAtSwitch = await this.#source!.enterShadow();
    await this.#guest.thread.call('release');
  }

  /** A full copy, then what got dirty, until the rest fits the downtime allowed. */
  async #precopy(): Promise<void> {
    await this.#guest.thread.call('prepare', this.#copy.shape);
    await this.#dirty.collect(this.#guest, this.#source!);
    this.#dirty.forget();
    let bytesPerMs = await this.#copyRuns(allOf(this.#memory));
    for (this.#facts.rounds = 1; this.#facts.rounds < MAX_ROUNDS; this.#facts.rounds++) {
      this.#options.signal?.throwIfAborted();
      await this.#dirty.collect(this.#guest, this.#source!);
      if ((this.#dirty.pending * PAGE_SIZE) / bytesPerMs <= this.#options.maxDowntimeMs) return;
      bytesPerMs = await this.#copyRuns(this.#dirty.take());
    }
  }

  /** Sees that requests stay in the shadow ring: a device that is never found with work in flight would prove nothing. */
  async #hold(): Promise<void> {
    await this.#source!.hold(HOLD_MS);
    await this.#guest.thread.call('idle', IDLE_MS);
  }

  /** Stops the device under load; the guest goes on making requests available until its processor stops too. */
  async #suspend(): Promise<void> {
    this.#stopped = await this.#source!.stopShadow();
    const { ends, suspended } = this.#stopped;
    const inFlight = guestRingIndices(this.#memory, this.#guest.queue).waiting;
    const available = await this.#guest.thread.call('surge', this.#options.depth);
    const { last_completion_ms } = await this.#guest.thread.call('pause');
    this.#facts.blackout = {
      inFlight,
      replayed: ends.reduce((sum, end) => sum + end.state.inFlight.length, 0),
      available,
      startedMs: suspended[0]!.started_ms,
      lastCompletionMs: last_completion_ms,
    };
    this.#dirty.addDevice(ends.map(end => end.dirty));
    this.#facts.shadow.push(...ends.map(end => end.counters));
    refuseFaults(this.#stopped);
  }

  async #lastCopy(): Promise<void> {
    this.#dirty.addGuest(await this.#guest.thread.call('takeDirty'));
    await this.#copyRuns(this.#dirty.take());
  }

  async #compare(): Promise<void> {
    const comparison = await compareMemory(this.#memory, this.#copy, allOf(this.#memory));
    this.#facts.comparison = comparison;
    const { mismatches, first } = comparison;
    if (mismatches === 0) return;
    throw new MigrationError(
      `${mismatches} pages differ between source and destination, the first at guest address ${hex(first[0]!)}: a write was not tracked.`,
      { details: { mismatches } },
    );
  }

  /** The point of no return is its end. */
  async #startDestination(): Promise<void> {
    const results = await this.#destination!.startShadow(this.#stopped!.ends.map(end => end.state));
    const last = results.at(-1)!;
    this.#facts.blackout!.endedMs = last.started_ms + last.duration_ms;
    this.#committed = true;
  }

  async #switchToPassthrough(): Promise<void> {
    const ends = await this.#destination!.leaveShadow();
    this.#facts.shadow.push(...ends.map(end => end.counters));
  }

  /** Copies runs and returns the rate, in bytes per millisecond. */
  async #copyRuns(runs: Float64Array): Promise<number> {
    const started = performance.now();
    const { data } = await copyMemory(this.#memory, this.#copy, runs);
    this.#facts.copiedBytes += data;
    return Math.max(1, data) / Math.max(0.001, performance.now() - started);
  }

  /** Lets the workload run, and sees that it does: a queue that stalls silently would end the rehearsal only much later. */
  async #settle(): Promise<void> {
    const { settleMs, signal } = this.#options;
    const before = await this.#guest.thread.call('statistics');
    await sleep(settleMs, undefined, signal ? { signal } : {});
    for (const deadline = performance.now() + STALL_MS; ; await sleep(STALL_POLL_MS)) {
      const { completed, fault } = await this.#guest.thread.call('statistics');
      const broken = fault ?? (await this.#source?.fault()) ?? (await this.#destination?.fault());
      if (broken !== undefined) throw new VdpaError('ERR_VDPA_RING', broken);
      // What was in flight at the start is back, so whoever serves now has completed something.
      if (completed >= before.submitted && completed > before.completed) return;
      if (performance.now() > deadline) throw stalled(settleMs + STALL_MS);
    }
  }

  #finishGuest(): Promise<GuestStatistics> {
    return this.#phase('finish', () => this.#guest.thread.call('finish', FINISH_MS));
  }

  /** Before the commit the source serves again, from exactly where it stopped. */
  async #rollBack(): Promise<boolean> {
    if (!this.#source || this.#source.mode === 'closed' || this.#committed) return false;
    // The destination discards what it was given, before the source touches the guest's ring again.
    await this.#destination?.close();
    await this.#source.recover();
    await this.#guest.thread.call('resume', false);
    const before = await this.#guest.thread.call('statistics');
    await sleep(this.#options.settleMs);
    const after = await this.#guest.thread.call('finish', FINISH_MS);
    return after.completed > before.completed && after.in_flight === 0;
  }

  async #reportFailure(error: unknown): Promise<MigrationReport> {
    const phase = this.#phases.current;
    const message = messageOf(error);
    const reasons = [`${phase}: ${message}`];
    const serves = await this.#phases
      .run('roll_back', () => this.#rollBack())
      .catch(second => {
        reasons.push(`roll_back: ${messageOf(second)}`);
        return false;
      });
    const statistics = await this.#guest.thread.call('statistics').catch(() => NO_STATISTICS);
    return { ...this.#report(statistics, reasons), failure: { phase, message, source_serves: serves } };
  }

  #report(statistics: GuestStatistics, failures: readonly string[] = []): MigrationReport {
    return summarise(this.#options, this.#facts, this.#phases, this.#dirty, statistics, failures);
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function refuseFaults({ ends }: StoppedQueues): void {
  const fault = ends.find(end => end.fault !== undefined)?.fault;
  if (fault !== undefined) throw new VdpaError('ERR_VDPA_RING', fault);
}

function stalled(ms: number): VdpaError {
  return new VdpaError(
    'ERR_VDPA_TIMEOUT',
    `The device did not complete what was in flight within ${ms} ms. The kernel log may say why (dmesg).`,
  );
}

function canceled(phase: string): VdpaError {
  return new VdpaError('ERR_VDPA_CANCELED', `Interrupted in phase ${phase}.`, { details: { phase } });
}
