/**
 * `svq bench iova`: what a lookup, a map and an allocation cost with 100, 10^4 and 10^6 maps, and a lookup QEMU's way beside them.
 *
 * Maps are of 1 to 16 pages of 4 KiB, guest addresses, addresses in the process and IOVAs each in an order of their own, with a page
 * free behind every second map. They are made once, before the first run with as many, and added in random order.
 *
 * - `gpa_to_iova`, `hva_to_iova`, `iova_to_gpa`: one lookup of 512 writable bytes, into an emptied chain. `random`: a random page of
 *   a random map, 16384 of them, drawn anew for each run; as many others are looked up before, untimed, because the drawing
 *   leaves its own data in the caches. `repeated`: one of these again and again. The shortest of three
 *   loops that only empty the chain is subtracted.
 * - `map_unmap`: a random map is removed, and made again where there is room; 8192 times. Per operation, be it a map or an unmap.
 * - `alloc_free`: the same with the allocator alone, which has a hole behind about every second range. Per operation, too.
 * - `linear_walk`: `gpa_to_iova`, random, in a balanced tree that is walked in order until a node has the address. About 10^6 nodes are
 *   passed in a run. Not with 10^6 maps: there a lookup takes tens of milliseconds.
 *
 * All figures are means over one run, in nanoseconds.
 */
import { Chain } from '../ring/chain.js';
import { BenchAllocator, BenchMaps, type Side } from './iova-maps.js';
import type { LinearWalk } from './linear-walk.js';
import { type BenchCase, elapsed, once } from './measure.js';

export interface IovaBenchOptions {
  /** Numbers of maps: 100, 10^4 and 10^6 unless told otherwise. */
  readonly maps?: readonly number[];
}

type Order = 'random' | 'repeated';
type Lookup = (maps: BenchMaps, addresses: Float64Array, out: Chain) => void;

const LOOKUPS = 1 << 14;
const CHANGES = 1 << 13;
const BYTES = 512;
/** Maps up to which the baseline is run, and nodes it passes in a run. */
const WALK_MAPS = 100_000;
const WALK_NODES = 1_000_000;

const LOOKUP_CASES: readonly (readonly [string, Side, Lookup])[] = [
  ['gpa_to_iova', 'gpa', lookUpGpas],
  ['hva_to_iova', 'hva', lookUpHvas],
  ['iova_to_gpa', 'iova', lookUpIovas],
];

/** The cases. What they need is made when the first of a size runs, and kept, as all sizes run in turn: 10^6 maps take seconds and 350 MB. */
export function iovaBench({ maps = [100, 10_000, 1_000_000] }: IovaBenchOptions = {}): BenchCase[] {
  return maps.flatMap(count => {
    const subject = once(() => new BenchMaps(count));
    const allocator = once(() => new BenchAllocator(count));
    const bench = (name: string, order: Order, run: () => number): BenchCase => ({
      name,
      params: { maps: count, order },
      unit: 'ns',
      run,
    });
    const cases = LOOKUP_CASES.flatMap(([name, side, lookUp]) =>
      (['random', 'repeated'] as const).map(order =>
        bench(name, order, () => timeLookups(subject(), side, order, lookUp)),
      ),
    );
    cases.push(bench('map_unmap', 'random', () => timeMaps(subject())));
    cases.push(bench('alloc_free', 'random', () => timeAllocations(allocator())));
    if (count <= WALK_MAPS) cases.push(bench('linear_walk', 'random', () => timeWalk(subject())));
    return cases;
  });
}

function timeLookups(maps: BenchMaps, side: Side, order: Order, lookUp: Lookup): number {
  const out = new Chain(4);
  const others = new Float64Array(LOOKUPS);
  const addresses = new Float64Array(LOOKUPS);
  maps.pick(side, others);
  maps.pick(side, addresses);
  if (order === 'repeated') addresses.fill(addresses[0]!);
  lookUp(maps, others, out);
  const time = elapsed(() => lookUp(maps, addresses, out));
  // The shortest of some: another process that had the processor meanwhile must not be subtracted.
  const empty = Math.min(...Array.from({ length: 3 }, () => elapsed(() => emptyChains(addresses, out))));
  return (time - empty) / LOOKUPS;
}

function timeMaps(maps: BenchMaps): number {
  const picks = Array.from({ length: CHANGES }, () => maps.random.below(maps.count));
  const memories = picks.map(map => maps.memory(map));
  const time = elapsed(() => {
    for (let i = 0; i < CHANGES; i++) {
      const map = picks[i]!;
      maps.tree.unmap(maps.iova(map));
      maps.setIova(map, maps.tree.map(memories[i]!));
    }
  });
  return time / (2 * CHANGES);
}

function timeAllocations({ allocator, iovas, sizes, random }: BenchAllocator): number {
  const picks = Array.from({ length: CHANGES }, () => random.below(iovas.length));
  const time = elapsed(() => {
    for (const i of picks) {
      allocator.release(iovas[i]!, sizes[i]!);
      iovas[i] = allocator.allocate(sizes[i]!);
    }
  });
  return time / (2 * CHANGES);
}

function timeWalk(maps: BenchMaps): number {
  const { walk } = maps;
  const addresses = new Float64Array(Math.ceil((2 * WALK_NODES) / maps.count));
  maps.pick('gpa', addresses);
  return elapsed(() => walkTo(walk, addresses)) / addresses.length;
}

// One loop for each kind, so that each is compiled for its own lookup.

function lookUpGpas({ tree }: BenchMaps, addresses: Float64Array, out: Chain): void {
  for (let i = 0; i < addresses.length; i++) {
    out.reset();
    tree.gpaToIova(addresses[i]!, BYTES, true, out);
  }
}

function lookUpHvas({ tree }: BenchMaps, addresses: Float64Array, out: Chain): void {
  for (let i = 0; i < addresses.length; i++) {
    out.reset();
    tree.hvaToIova(addresses[i]!, BYTES, true, out);
  }
}

function lookUpIovas({ tree }: BenchMaps, addresses: Float64Array, out: Chain): void {
  for (let i = 0; i < addresses.length; i++) {
    out.reset();
    tree.iovaToGpa(addresses[i]!, BYTES, true, out);
  }
}

function emptyChains(addresses: Float64Array, out: Chain): void {
  for (let i = 0; i < addresses.length; i++) {
    out.reset();
    out.head = addresses[i]! > 0 ? i : 0;
  }
}

function walkTo(walk: LinearWalk, addresses: Float64Array): void {
  for (const address of addresses) walk.find(address, BYTES);
}
