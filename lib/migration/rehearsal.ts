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
import { hex, VdpaError } from '../errors.js';
import { BlockGuest } from '../guest/block-guest.js';
import type { GuestStatistics } from '../guest/guest.js';
import type { WorkArea } from '../guest/write-permission.js';
import type { Placement } from '../iova/placement.js';
import { GuestMemory } from '../memory/guest-memory.js';
import { allOf, type CompareTotals, compareMemory, copyMemory } from '../memory/transfer.js';
import { Attachment, type StoppedQueues } from '../svq/attachment.js';
import { guestRingIndices } from '../svq/guest-ring.js';
import { VHOST_BACKEND_F_IOTLB_PERSIST } from '../uapi/backend-features.js';
import type { OperationResult } from '../uapi/operation.js';
import { DirtyPages } from './dirty-pages.js';
import { Phases } from './phases.js';
import type { MigrationReport } from './report.js';

export interface RehearsalOptions {
  readonly from: BlockDevice;
  readonly to: BlockDevice;
  /** Guest memory in bytes. */
  readonly memory: number;
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
const QUEUE_SIZE = 256;

/** Measurements that only the blackout can make. */
interface Blackout {
  readonly inFlight: number;
  readonly replayed: number;
  readonly available: number;
  readonly startedMs: number;
  endedMs: number;
  readonly before: GuestStatistics;
}

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
  #committed = false;
  #copied = 0;
  #rounds = 0;
  #inFlightAtSwitch = 0;
  #blackout: Blackout | undefined;
  #comparison: CompareTotals = { pagesCompared: 0, holePages: 0, mismatches: 0, first: [] };
  #shadow: MigrationReport['shadow'] = [];

  /** Takes over both devices: `close` closes them. */
  constructor(options: RehearsalOptions) {
    this.#options = options;
    this.#phases = new Phases(options.onPhase ?? (() => {}));
    this.#memory = GuestMemory.create(options.memory);
    this.#copy = GuestMemory.create(options.memory);
    const size = Math.min(QUEUE_SIZE, options.from.capabilities.vringNumMax);
    this.#guest = new BlockGuest(this.#memory, size, { ...options.area, depth: options.depth, seed: options.seed });
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
    await this.#source?.close();
    await this.#destination?.close();
    await this.#options.from.device.close();
    await this.#options.to.device.close();
    await this.#guest.close();
    this.#memory.close();
    this.#copy.close();
  }

  async #migrate(): Promise<void> {
    await this.#phase('run_passthrough', () => this.#settle());
    await this.#phase('switch_to_shadow', () => this.#switchToShadow());
    await this.#phase('run_shadow', () => this.#settle());
    await this.#phase('precopy', () => this.#precopy());
    await this.#phase('suspend', () => this.#suspend());
    await this.#phase('last_copy', () => this.#lastCopy());
    await this.#phase('compare', () => this.#compare());
    await this.#phase('start_destination', () => this.#startDestination());
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
    const { from, to, placement } = this.#options;
    const common = { queues: [this.#guest.queue], features: from.features, placement };
    const attach = ({ device, backendFeatures, limits }: BlockDevice, memory: GuestMemory) =>
      Attachment.attach({ ...common, device: this.#phases.count(device), backendFeatures, limits, memory });
    this.#source = await attach(from, this.#memory);
    this.#destination = await attach(to, this.#copy);
    await this.#guest.start(this.#memory);
    await this.#source.startPassthrough();
  }

  async #switchToShadow(): Promise<void> {
    await this.#guest.thread.call('hold', HOLD_MS);
    await this.#guest.thread.call('idle', IDLE_MS);
    this.#inFlightAtSwitch = await this.#source!.enterShadow();
    await this.#guest.thread.call('release');
  }

  /** A full copy, then what got dirty, until the rest fits the downtime allowed. */
  async #precopy(): Promise<void> {
    await this.#guest.thread.call('prepare', this.#copy.sections);
    await this.#dirty.collect(this.#guest, this.#source!);
    this.#dirty.forget();
    let bytesPerMs = await this.#copyRuns(allOf(this.#memory));
    for (this.#rounds = 1; this.#rounds < MAX_ROUNDS; this.#rounds++) {
      this.#options.signal?.throwIfAborted();
      await this.#dirty.collect(this.#guest, this.#source!);
      if ((this.#dirty.pending * 4096) / bytesPerMs <= this.#options.maxDowntimeMs) return;
      bytesPerMs = await this.#copyRuns(this.#dirty.take());
    }
  }

  /** Stops the device under load; the guest goes on making requests available. */
  async #suspend(): Promise<void> {
    const source = this.#source!;
    const guest = this.#guest.thread;
    // Requests stay in the shadow ring: a device that is never found with work in flight would prove nothing.
    await source.hold(HOLD_MS);
    await guest.call('idle', IDLE_MS);
    this.#stopped = await source.stopShadow();
    const inFlight = guestRingIndices(this.#memory, this.#guest.queue).waiting;
    this.#dirty.addDevice(this.#stopped.ends.map(end => end.dirty));
    this.#shadow = this.#stopped.ends.map(end => end.counters);
    const available = await guest.call('surge', this.#options.depth);
    const before = await guest.call('pause');
    const startedMs = this.#stopped.suspended[0]!.started_ms;
    const replayed = this.#stopped.ends.reduce((sum, end) => sum + end.state.inFlight.length, 0);
    this.#blackout = { inFlight, replayed, available, startedMs, endedMs: Number.NaN, before };
    refuseFaults(this.#stopped);
  }

  async #lastCopy(): Promise<void> {
    this.#dirty.addGuest(await this.#guest.thread.call('takeDirty'));
    await this.#copyRuns(this.#dirty.take());
  }

  async #compare(): Promise<void> {
    this.#comparison = await compareMemory(this.#memory, this.#copy, allOf(this.#memory));
  }

  /** The point of no return is its end: from then on the guest lives there. */
  async #startDestination(): Promise<void> {
    const results = await this.#destination!.startShadow(this.#stopped!.ends.map(end => end.state));
    this.#blackout!.endedMs = endOf(results.at(-1)!);
    this.#committed = true;
    await this.#guest.thread.call('resume', true);
  }

  async #switchToPassthrough(): Promise<void> {
    const ends = await this.#destination!.leaveShadow();
    this.#shadow = [...this.#shadow, ...ends.map(end => end.counters)];
  }

  /** Copies runs and returns the rate, in bytes per millisecond. */
  async #copyRuns(runs: Float64Array): Promise<number> {
    const started = performance.now();
    const { data } = await copyMemory(this.#memory, this.#copy, runs);
    this.#copied += data;
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
      if (completed > before.completed) return;
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
    const message = error instanceof Error ? error.message : String(error);
    const serves = await this.#phases.run('roll_back', () => this.#rollBack()).catch(() => false);
    const statistics = await this.#guest.thread.call('statistics');
    return {
      ...this.#report(statistics, [`${phase}: ${message}`]),
      failure: { phase, message, source_serves: serves },
    };
  }

  #report(statistics: GuestStatistics, failures: readonly string[] = []): MigrationReport {
    const { from, to, placement } = this.#options;
    const persist = from.backendFeatures & to.backendFeatures & VHOST_BACKEND_F_IOTLB_PERSIST;
    const { inFlight = 0, replayed = 0, available = 0 } = this.#blackout ?? {};
    const reasons = [...failures, ...this.#findings(statistics)];
    return {
      schema: 'svq.migrate/1',
      verdict: reasons.length === 0 ? 'pass' : 'fail',
      reasons,
      from: from.device.path,
      to: to.device.path,
      placement,
      maps_kept: persist !== 0n && placement === 'identity',
      ...this.#outages(statistics),
      phases: this.#phases.reports,
      memory: {
        bytes: this.#memory.size,
        copied_bytes: this.#copied,
        rounds: this.#rounds,
        dirty_pages: this.#dirty.total,
        guest_dirty_pages: this.#dirty.guest,
        device_dirty_pages: this.#dirty.device,
      },
      workload: {
        submitted: statistics.submitted,
        completed: statistics.completed,
        reads: statistics.reads,
        writes: statistics.writes,
        lost: statistics.submitted - statistics.completed,
        duplicated: statistics.duplicated,
        corrupt: statistics.corrupt,
        errors: statistics.errors,
        in_flight_at_switch: this.#inFlightAtSwitch,
        in_flight_at_blackout: inFlight,
        replayed,
        available_in_blackout: available,
      },
      verification: {
        pages_compared: this.#comparison.pagesCompared,
        hole_pages: this.#comparison.holePages,
        mismatches: this.#comparison.mismatches,
        first_mismatches: this.#comparison.first.map(hex),
      },
      shadow: this.#shadow,
    };
  }

  /** Both times, without the comparison, which a real migration does not make. */
  #outages(statistics: GuestStatistics): Pick<MigrationReport, 'blackout_ms' | 'guest_gap_ms'> {
    if (!this.#blackout || !this.#committed || statistics.first_completion_ms === 0)
      return { blackout_ms: null, guest_gap_ms: null };
    const { startedMs, endedMs, before } = this.#blackout;
    const comparing = this.#phases.duration('compare');
    return {
      blackout_ms: endedMs - startedMs - comparing,
      guest_gap_ms: statistics.first_completion_ms - before.last_completion_ms - comparing,
    };
  }

  /** What the numbers say against a pass. */
  #findings({ submitted, completed, duplicated, corrupt, errors, fault }: GuestStatistics): string[] {
    const { mismatches } = this.#comparison;
    return [
      submitted > completed && `${submitted - completed} requests were lost.`,
      duplicated > 0 && `${duplicated} requests completed more than once.`,
      corrupt > 0 && `${corrupt} blocks read back wrong.`,
      errors > 0 && `${errors} requests ended with an error.`,
      mismatches > 0 && `${mismatches} pages differ between source and destination.`,
      fault !== undefined && fault,
    ].filter(finding => finding !== false);
  }
}

function endOf(result: OperationResult): number {
  return result.started_ms + result.duration_ms;
}

function refuseFaults({ ends }: StoppedQueues): void {
  const fault = ends.find(end => end.fault !== undefined)?.fault;
  if (fault !== undefined) throw new VdpaError('ERR_VDPA_RING', fault);
}

function stalled(ms: number): VdpaError {
  return new VdpaError(
    'ERR_VDPA_TIMEOUT',
    `The device completed no request for ${ms} ms. The kernel log may say why (dmesg).`,
  );
}

function canceled(phase: string): VdpaError {
  return new VdpaError('ERR_VDPA_CANCELED', `Interrupted in phase ${phase}.`, { details: { phase } });
}
