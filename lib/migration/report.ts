/** What a rehearsal answers: the document `svq.migrate/1`. Additions keep the number, renames raise it. */
import type { Placement } from '../iova/placement.js';
import type { QueueCounters } from '../svq/counters.js';

export interface PhaseReport {
  readonly name: string;
  /** Wall time of the phase. */
  readonly duration_ms: number;
  /** Device operations in it, and the time inside their system calls. */
  readonly operations: number;
  readonly device_ms: number;
}

export interface MemoryReport {
  readonly bytes: number;
  /** Bytes written into the destination's memory, over all rounds. */
  readonly copied_bytes: number;
  /** Rounds of pre-copy, the first full one included; the last copy in the blackout is not one. */
  readonly rounds: number;
  /** Pages found dirty after the first round, over all rounds and the blackout; by who wrote them. */
  readonly dirty_pages: number;
  readonly guest_dirty_pages: number;
  readonly device_dirty_pages: number;
}

export interface WorkloadReport {
  readonly submitted: number;
  readonly completed: number;
  readonly reads: number;
  readonly writes: number;
  /** Never completed; completed more than once; read back wrong; answered with an error. */
  readonly lost: number;
  readonly duplicated: number;
  readonly corrupt: number;
  readonly errors: number;
  /** Made available and not completed when the source was suspended: for the switch to shadow, and for the blackout. */
  readonly in_flight_at_switch: number;
  readonly in_flight_at_blackout: number;
  /** Of those at the blackout, the ones that the destination was sent again. */
  readonly replayed: number;
  /** Made available by the guest while the source was already suspended. */
  readonly available_in_blackout: number;
}

export interface VerificationReport {
  readonly pages_compared: number;
  /** Of those, the ones that were holes on both sides. */
  readonly hole_pages: number;
  readonly mismatches: number;
  /** Guest addresses of the first pages that differ, in hex. */
  readonly first_mismatches: readonly string[];
}

export interface MigrationReport {
  readonly schema: 'svq.migrate/1';
  readonly verdict: 'pass' | 'fail';
  /** Why it failed: every reason found. Empty on a pass. */
  readonly reasons: readonly string[];
  /** What the verdict does not cover. */
  readonly warnings: readonly string[];
  readonly from: string;
  readonly to: string;
  readonly placement: Placement;
  /** Whether the devices kept their maps through resets (IOTLB_PERSIST). */
  readonly maps_kept: boolean;
  /** From the suspend on the source to the moment the destination may serve; the comparison of memory is taken out.
   * Null when there was none. */
  readonly blackout_ms: number | null;
  /** From the guest's last completion before the blackout to the first after it; the comparison is taken out. */
  readonly guest_gap_ms: number | null;
  readonly phases: readonly PhaseReport[];
  readonly memory: MemoryReport;
  readonly workload: WorkloadReport;
  readonly verification: VerificationReport;
  readonly shadow: readonly QueueCounters[];
  /** When a phase failed: which, and whether the source serves again. */
  readonly failure?: { readonly phase: string; readonly message: string; readonly source_serves: boolean };
}
