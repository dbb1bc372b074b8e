/**
 * From the maps an address space holds to those it shall hold: what stays, what goes and what comes. A pure function.
 *
 * Maps are compared by what they give to each address, not by where they begin and end. A held map stays when all of it is
 * wanted with the same memory and permission, wherever the wanted maps are cut; what is then missing comes, adjacent pieces in
 * one map. To keep all that can be kept takes the fewest messages: to give one up costs an unmap and saves at most one map,
 * because two pieces become one. Parts of a held map never go: an INVALIDATE takes whole entries.
 */
import type { Operation } from '../uapi/operation.js';
import { type AddressRange, agree, endOf, type IovaMap, partOf, sameMap, sortMaps } from './map.js';

export interface PlanInput {
  /** What surely is there, by address, of which nothing must be sent again. */
  readonly held: readonly IovaMap[];
  /** Goes in any case: what may or may not be there, or must be sent again. */
  readonly gone: readonly AddressRange[];
  /** By address, without overlaps. */
  readonly wanted: readonly IovaMap[];
  /** Addresses of wanted maps that are not merged with others. */
  readonly separate?: ReadonlySet<number> | undefined;
  /** Whether adjacent wanted maps may become one entry. */
  readonly merge?: boolean | undefined;
  /** The wanted maps one by one: a held map stays only when it is one of them, and nothing is merged. */
  readonly exact?: boolean | undefined;
  /** Entries there may be. */
  readonly cap: number;
}

export interface MapDifference {
  readonly kept: readonly IovaMap[];
  /** To unmap, by address. */
  readonly gone: readonly AddressRange[];
  /** To map, by address. */
  readonly added: readonly IovaMap[];
}

/** A stretch of wanted memory that could be one map, and the held maps that could stay in it. */
interface Run {
  readonly map: IovaMap;
  readonly kept: readonly IovaMap[];
  /** What of it no held map covers. */
  readonly missing: readonly IovaMap[];
}

/**
 * The difference with the fewest messages. Where that would leave more entries than the cap, the stretches that save most are
 * made anew, as one map each; when even that is too much, the result is, too.
 */
export function differMaps(input: PlanInput): MapDifference {
  const { held, gone, wanted, separate, merge = true, exact = false, cap } = input;
  const apart = exact || !merge;
  const runs = fillRuns(apart ? wanted : mergeMaps(wanted, separate), held, exact);
  const layout = exact ? runs : squeeze(runs, cap);
  const entries = layout.reduce((sum, run) => sum + entriesOf(run), 0);
  if (apart && !exact && entries > cap) return differMaps({ ...input, merge: true });
  const kept = layout.flatMap(run => run.kept);
  const staying = new Set(kept);
  return {
    kept,
    gone: sortMaps([...held.filter(map => !staying.has(map)), ...gone]),
    added: layout.flatMap(run => run.missing),
  };
}

/**
 * Adjacent maps in one where both sides are contiguous, the memory's region and the permission are the same. Never across
 * regions: what is plugged in by itself must be able to go by itself.
 */
export function mergeMaps(maps: readonly IovaMap[], separate?: ReadonlySet<number>): IovaMap[] {
  const merged: IovaMap[] = [];
  let alone = true;
  for (const map of maps) {
    const last = merged.at(-1);
    const wasAlone = alone;
    alone = separate?.has(map.iova) ?? false;
    if (last && !alone && !wasAlone && endOf(last) === map.iova && agree(last, map)) {
      merged[merged.length - 1] = partOf(last, last.iova, endOf(map));
    } else merged.push(map);
  }
  return merged;
}

/** Finds the held maps that fit into each stretch. Both lists are sorted, so one pass over both is enough. */
function fillRuns(stretches: readonly IovaMap[], held: readonly IovaMap[], exact: boolean): Run[] {
  let next = 0;
  return stretches.map(map => {
    const kept: IovaMap[] = [];
    while (next < held.length && held[next]!.iova < map.iova) next++;
    for (; next < held.length && held[next]!.iova < endOf(map); next++) {
      const candidate = held[next]!;
      const fits = exact ? sameMap(candidate, map) : endOf(candidate) <= endOf(map) && agree(candidate, map);
      if (fits) kept.push(candidate);
    }
    return { map, kept, missing: missingParts(map, kept) };
  });
}

function missingParts(map: IovaMap, kept: readonly IovaMap[]): IovaMap[] {
  const missing: IovaMap[] = [];
  let from = map.iova;
  for (const held of kept) {
    if (held.iova > from) missing.push(partOf(map, from, held.iova));
    from = endOf(held);
  }
  if (from < endOf(map)) missing.push(partOf(map, from, endOf(map)));
  return missing;
}

const entriesOf = ({ kept, missing }: Run): number => kept.length + missing.length;

/** Makes stretches anew, as one map each, until there are no more entries than the cap: first those that cost least for what they save. */
function squeeze(runs: readonly Run[], cap: number): readonly Run[] {
  let over = runs.reduce((sum, run) => sum + entriesOf(run), 0) - cap;
  if (over <= 0) return runs;
  const whole = new Set<Run>();
  for (const run of runs.filter(candidate => entriesOf(candidate) > 1).sort((a, b) => priceOf(a) - priceOf(b))) {
    if (over <= 0) break;
    whole.add(run);
    over -= entriesOf(run) - 1;
  }
  return runs.map(run => (whole.has(run) ? { map: run.map, kept: [], missing: [run.map] } : run));
}

/** Messages more for each entry less. */
function priceOf(run: Run): number {
  return (run.kept.length + 1 - run.missing.length) / (entriesOf(run) - 1);
}

export interface MessageOptions {
  readonly asid: number;
  /**
   * Several messages in one batch, which a parent that takes whole tables (.set_map) carries out once instead of once for each,
   * and at once: `false` where there are no batches, `always` also for a single message, which gains nothing by it.
   */
  readonly batched: boolean | 'always';
  readonly probe: boolean;
  /** Addresses of maps that may be refused by themselves, which would say nothing about a batch. */
  readonly separate?: ReadonlySet<number> | undefined;
  /** Ends with a message even when nothing differs, so that such a parent takes the table again. */
  readonly sync: boolean;
}

/**
 * A difference as messages: unmaps first, because the kernel neither merges nor replaces, and no limit is passed on the way.
 *
 * With `probe` the last map goes out by itself, after the batch. BATCH_END drops what .set_map answers (vhost_vdpa_process_iotlb_msg),
 * an UPDATE outside a batch returns it (vhost_vdpa_map). The price is a second .set_map of the whole table and that this map comes a
 * moment after the others; no message more.
 */
export function planMessages({ gone, added }: MapDifference, options: MessageOptions): Operation[] {
  const { asid, batched, probe, separate, sync } = options;
  const last = probe && batched ? probeOf(added, gone, separate) : undefined;
  const update = (map: IovaMap): Operation => ({ op: 'iotlbUpdate', asid, ...map });
  const messages = [
    ...gone.map(({ iova, size }): Operation => ({ op: 'iotlbInvalidate', asid, iova, size })),
    ...added.filter(map => map !== last).map(update),
  ];
  const tail = last ? [update(last)] : [];
  const nothing = messages.length + tail.length === 0;
  if (nothing && !sync) return [];
  // By itself a message is one .set_map, as its batch would be, in a third of the system calls; and an UPDATE reports it.
  const few = messages.length === 0 || (messages.length === 1 && batched !== 'always');
  if (!batched || (few && !nothing)) return [...messages, ...tail];
  // A batch left open would refuse every message for another address space.
  return [{ op: 'iotlbBatchBegin', asid }, ...messages, { op: 'iotlbBatchEnd', asid, always: true }, ...tail];
}

/**
 * The map to send last: one that is not optional; where nothing was before, so that a device at work misses nothing meanwhile; and
 * not the one at address 0, because a failure there can cost every other entry (see AddressSpace). Without such a map there is no
 * probe: what a device works on goes and comes within the batch.
 */
function probeOf(
  added: readonly IovaMap[],
  gone: readonly AddressRange[],
  separate?: ReadonlySet<number>,
): IovaMap | undefined {
  const fresh = replacingNothing(added, gone).filter(map => map.iova !== 0);
  return fresh.findLast(map => !separate?.has(map.iova)) ?? fresh.at(-1);
}

/** Maps where nothing was before. Both lists are sorted, so one pass over both is enough. */
function replacingNothing(added: readonly IovaMap[], gone: readonly AddressRange[]): IovaMap[] {
  let next = 0;
  return added.filter(map => {
    while (next < gone.length && endOf(gone[next]!) <= map.iova) next++;
    return next === gone.length || gone[next]!.iova >= endOf(map);
  });
}
