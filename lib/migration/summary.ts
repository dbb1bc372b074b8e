/** From what a rehearsal saw to what it answers. */
import type { BlockDevice } from '../device/block.js';
import { hex } from '../errors.js';
import { type GuestStatistics, NO_STATISTICS } from '../guest/guest.js';
import type { WorkArea } from '../guest/write-permission.js';
import type { Placement } from '../iova/placement.js';
import type { SkippedRange } from '../iova/section-ranges.js';
import { describeSection } from '../memory/section.js';
import { memoryBytes, type Topology } from '../memory/topology.js';
import type { CompareTotals } from '../memory/transfer.js';
import type { QueueCounters } from '../svq/counters.js';
import { VHOST_BACKEND_F_IOTLB_PERSIST } from '../uapi/backend-features.js';
import type { DirtyTotals } from './dirty-pages.js';
import { Phases } from './phases.js';
import type { MigrationReport, WorkloadReport } from './report.js';

/** What reading alone cannot show. */
const READ_ONLY =
  'Nothing was written: that both devices have one disk was judged by equal blocks, and the guest only read.';

/** What is known once a device went dark. Times in milliseconds of CLOCK_MONOTONIC. */
export interface Blackout {
  readonly inFlight: number;
  readonly replayed: number;
  readonly available: number;
  /** When the suspend began. */
  readonly startedMs: number;
  /** The guest's last completion before it. */
  readonly lastCompletionMs: number;
  /** When the destination could serve; undefined until it can. */
  endedMs?: number;
}

/** What a rehearsal gathers on its way. */
export interface Facts {
  copiedBytes: number;
  rounds: number;
  inFlightAtSwitch: number;
  blackout?: Blackout;
  comparison: CompareTotals;
  readonly shadow: QueueCounters[];
  /** Guest memory that a device was not given. */
  readonly skipped: { readonly path: string; readonly range: SkippedRange }[];
}

export function newFacts(): Facts {
  const comparison = { pagesCompared: 0, holePages: 0, mismatches: 0, first: [] };
  return { copiedBytes: 0, rounds: 0, inFlightAtSwitch: 0, comparison, shadow: [], skipped: [] };
}

export interface Setting {
  readonly from: BlockDevice;
  readonly to: BlockDevice;
  readonly memory: number | Topology;
  readonly placement: Placement;
  readonly area: WorkArea;
}

/** @param failures What went wrong on the way; the verdict is a pass only without any, and with numbers that say so. */
export function summarise(
  { from, to, memory, placement, area }: Setting,
  facts: Facts,
  phases: Phases,
  dirty: DirtyTotals,
  guest: GuestStatistics,
  failures: readonly string[],
): MigrationReport {
  const reasons = [...failures, ...findings(guest)];
  const persist = from.backendFeatures & to.backendFeatures & VHOST_BACKEND_F_IOTLB_PERSIST;
  return {
    schema: 'svq.migrate/1',
    verdict: reasons.length === 0 ? 'pass' : 'fail',
    reasons,
    warnings: [...(area.writes > 0 ? [] : [READ_ONLY]), ...facts.skipped.map(leftOut)],
    from: from.device.path,
    to: to.device.path,
    placement,
    maps_kept: persist !== 0n && placement === 'identity',
    ...outages(facts.blackout, phases.duration('compare'), guest),
    phases: phases.reports,
    memory: {
      bytes: memoryBytes(memory),
      copied_bytes: facts.copiedBytes,
      rounds: facts.rounds,
      dirty_pages: dirty.total,
      guest_dirty_pages: dirty.guest,
      device_dirty_pages: dirty.device,
    },
    workload: workload(facts, guest),
    verification: {
      pages_compared: facts.comparison.pagesCompared,
      hole_pages: facts.comparison.holePages,
      mismatches: facts.comparison.mismatches,
      first_mismatches: facts.comparison.first.map(hex),
    },
    shadow: facts.shadow,
  };
}

function leftOut({ path, range }: Facts['skipped'][number]): string {
  return `${describeSection(range)} was not given to ${path}: ${range.why}.`;
}

/** Both times, without the comparison, which a real migration does not make. */
function outages(
  blackout: Blackout | undefined,
  comparing: number,
  { first_completion_ms }: GuestStatistics,
): Pick<MigrationReport, 'blackout_ms' | 'guest_gap_ms'> {
  const { startedMs, endedMs, lastCompletionMs } = blackout ?? {};
  if (startedMs === undefined || endedMs === undefined) return { blackout_ms: null, guest_gap_ms: null };
  const served = first_completion_ms > 0 && lastCompletionMs !== undefined;
  return {
    blackout_ms: endedMs - startedMs - comparing,
    guest_gap_ms: served ? first_completion_ms - lastCompletionMs - comparing : null,
  };
}

function workload({ inFlightAtSwitch, blackout }: Facts, guest: GuestStatistics): WorkloadReport {
  const { submitted, completed, reads, writes, duplicated, corrupt, errors } = guest;
  return {
    submitted,
    completed,
    reads,
    writes,
    lost: submitted - completed,
    duplicated,
    corrupt,
    errors,
    in_flight_at_switch: inFlightAtSwitch,
    in_flight_at_blackout: blackout?.inFlight ?? 0,
    replayed: blackout?.replayed ?? 0,
    available_in_blackout: blackout?.available ?? 0,
  };
}

/** The report of a pair that cannot migrate: nothing was started. */
export function refusal(setting: Setting, blockers: readonly string[]): MigrationReport {
  const dirty = { total: 0, guest: 0, device: 0 };
  return summarise(setting, newFacts(), new Phases(), dirty, NO_STATISTICS, blockers);
}

/** What the guest's numbers say against a pass. */
export function findings({ submitted, completed, duplicated, corrupt, errors, fault }: GuestStatistics): string[] {
  return [
    submitted > completed && `${submitted - completed} requests were lost.`,
    duplicated > 0 && `${duplicated} requests completed more than once.`,
    corrupt > 0 && `${corrupt} blocks read back wrong.`,
    errors > 0 && `${errors} requests ended with an error.`,
    fault !== undefined && fault,
  ].filter(finding => finding !== false);
}
