/** What one shadowed queue has done since it started. */
export interface QueueCounters {
  /** Requests given to the device, and returned to the guest. */
  forwarded: number;
  completed: number;
  /** Descriptors written to the shadow ring. */
  descriptors: number;
  /** Publishes to the device, and the most requests one of them carried. */
  batches: number;
  largest_batch: number;
  /** Kicks sent to the device, calls sent to the guest. */
  kicks: number;
  calls: number;
  /** Times a request had to wait for room in the shadow ring. */
  parks: number;
  faults: number;
  /** Bytes the device said it wrote. */
  dirty_bytes: number;
}

export function newCounters(): QueueCounters {
  return {
    forwarded: 0,
    completed: 0,
    descriptors: 0,
    batches: 0,
    largest_batch: 0,
    kicks: 0,
    calls: 0,
    parks: 0,
    faults: 0,
    dirty_bytes: 0,
  };
}
