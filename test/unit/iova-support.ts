/** What tests of addresses share. */
import { Random } from '../../lib/guest/random.js';
import type { IovaLimits } from '../../lib/iova/limits.js';

/** A device that takes everything. */
export const NO_LIMITS: IovaLimits = {
  first: 0n,
  last: 2n ** 64n - 1n,
  asids: 1,
  granule: 4096,
  reserved: [],
  maxEntries: undefined,
  deviceMaxEntries: undefined,
  pinnable: () => undefined,
};

/** Whole numbers below another, the same for a seed everywhere. */
export function randoms(seed: number): (below: number) => number {
  const random = new Random(seed);
  return below => random.below(below);
}
