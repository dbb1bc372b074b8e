/**
 * The structures of lib/iova against lists that are searched from end to end: 10^6 random operations each, and no difference. They
 * grow and shrink in waves, small ones most of the time, large ones so that chunks are split and merged.
 */
import { describe, expect, it } from 'vitest';
import { Random } from '../../lib/guest/random.js';
import { IovaAllocator } from '../../lib/iova/allocator.js';
import { RECORD_END as END, RECORD_VALUE as VALUE } from '../../lib/iova/chunks.js';
import { IovaTree, type PlacedMemory } from '../../lib/iova/iova-tree.js';
import { RangeIndex } from '../../lib/iova/range-index.js';
import { Translation, type TranslationEntry } from '../../lib/iova/translation.js';
import { Chain } from '../../lib/ring/chain.js';

const OPERATIONS = 1_000_000;
const SEED = 20_261_121;
const PAGE = 4096;

/** How many ranges the waves have at their height: searching a list takes its time, so the high ones are rare. */
const HEIGHTS = [5, 20, 60, 12, 150, 30, 8, 300, 40, 700];
const LOW_HEIGHTS = [5, 20, 12, 40, 8, 30, 10, 60, 15, 260];

interface Waves {
  readonly seed: number;
  readonly operations: number;
  readonly heights?: readonly number[];
  /** Ranges that there are now. */
  readonly size: () => number;
}

/** Runs operations, each of which is told whether the wave rises. What goes wrong says where. */
function waves(
  { seed, operations, heights = HEIGHTS, size }: Waves,
  step: (random: Random, rising: boolean) => void,
): void {
  const random = new Random(seed);
  let wave = 0;
  let rising = true;
  for (let operation = 0; operation < operations; operation++) {
    if (rising && size() >= heights[wave % heights.length]) rising = false;
    if (!rising && size() === 0) {
      rising = true;
      wave++;
    }
    try {
      step(random, rising);
    } catch (error) {
      throw new Error(`seed ${seed}, operation ${operation}`, { cause: error });
    }
  }
  expect(wave).toBeGreaterThanOrEqual(heights.length);
}

function same(actual: unknown, expected: unknown, what: string): void {
  // vitest's expect takes microseconds, and this runs millions of times.
  if (!Object.is(actual, expected)) throw new Error(`${what}: ${actual}, and not ${expected}`);
}

/** Whether it throws an AddressError. */
function refused(act: () => void): boolean {
  try {
    act();
    return false;
  } catch (error) {
    same((error as { code?: unknown }).code, 'ERR_VDPA_ADDRESS', `code of ${error}`);
    return true;
  }
}

interface Item {
  start: number;
  end: number;
  value: number;
}

const order = (a: Item, b: Item) => a.start - b.start || a.value - b.value;

function addTo<T>(list: T[], item: T, compare: (a: T, b: T) => number): void {
  let at = list.length;
  while (at > 0 && compare(list[at - 1], item) > 0) at--;
  list.splice(at, 0, item);
}

/** Compares a record, or its absence, with an item. */
function sameItem(index: RangeIndex, at: number, item: Item | undefined, what: string): void {
  same(at >= 0 ? index.records[at] : undefined, item?.start, `${what}: start`);
  if (!item) return;
  same(index.records[at + END], item.end, `${what}: end`);
  same(index.records[at + VALUE], item.value, `${what}: value`);
}

function sameItems(index: RangeIndex, items: readonly Item[]): void {
  const found: Item[] = [];
  index.each((records, at) => {
    found.push({ start: records[at], end: records[at + END], value: records[at + VALUE] });
  });
  expect(found).toEqual(items);
  expect(index.size).toBe(items.length);
}

describe('a range index', () => {
  it('is a sorted list of ranges that do not overlap', () => {
    const index = new RangeIndex(3, 'size');
    const items: Item[] = [];
    const size = (item: Item | undefined) => (item ? item.end - item.start : 0);
    const pick = (random: Random) => random.below(items.length);
    const insert = (random: Random) => {
      const start = random.below(4096);
      const end = start + 1 + random.below(6);
      const overlapped = items.find(item => item.start < end && item.end > start);
      same(index.firstShared(start, end), overlapped ? Math.max(start, overlapped.start) : Infinity, 'first shared');
      if (overlapped) return;
      const item = { start, end, value: random.below(1e6) };
      index.insert(start, end, item.value);
      addTo(items, item, order);
    };
    const remove = (random: Random) => {
      const [item] = items.splice(pick(random), 1);
      const at = index.seek(item.start);
      sameItem(index, at, item, 'to be removed');
      index.remove(at);
    };
    const change = (random: Random) => {
      const i = pick(random);
      const item = items[i];
      const from = items[i - 1]?.end ?? 0;
      const room = (items[i + 1]?.start ?? 5000) - from;
      item.start = from + random.below(Math.min(room, 9));
      item.end = item.start + 1 + random.below(Math.min(room - (item.start - from), 9));
      // Between the neighbours every place is its own.
      index.change(
        index.seek(from > item.start ? item.start : (items[i + 1]?.start ?? 5001) - 1),
        item.start,
        item.end,
      );
    };
    const look = (random: Random) => {
      const address = random.below(4200) - 20;
      const below = items.findLast(item => item.start <= address);
      const holder = below && address < below.end ? below : undefined;
      sameItem(index, index.find(address), holder, 'found');
      sameItem(index, index.find(address), holder, 'found again');
      const at = index.seek(address);
      sameItem(index, at, below, 'below');
      same(index.startAfter(at), items.find(item => item.start > address)?.start ?? Infinity, 'start after');
    };
    const weigh = (random: Random) => {
      const least = 1 + random.below(8);
      const heavy = items.filter(item => size(item) >= least);
      let at = index.firstAtLeast(least);
      for (let i = 0; i < 3 && at >= 0; i++) {
        sameItem(index, at, heavy[i], 'heavy');
        at = index.nextAtLeast(at, least);
      }
      if (heavy.length < 3) same(at, -1, 'behind all heavy ones');
      same(
        index.greatest,
        items.reduce((most, item) => Math.max(most, size(item)), 0),
        'greatest',
      );
    };
    waves({ seed: SEED, operations: OPERATIONS * 0.6, size: () => items.length }, (random, rising) => {
      const dice = random.below(16);
      if (dice < 6) (rising || items.length === 0 ? insert : remove)(random);
      else if (dice < 7) (rising && items.length > 0 ? remove : insert)(random);
      else if (dice < 10) items.length > 0 && change(random);
      else if (dice < 14) look(random);
      else weigh(random);
      if (random.below(2000) === 0) sameItems(index, items);
    });
  });

  it('is a sorted list of ranges that overlap and start where others do', () => {
    const index = new RangeIndex(3, 'end', 'unmarked');
    const items: Item[] = [];
    const weights = [(item: Item) => Math.abs(item.end), (item: Item) => Math.max(item.end, 0)];
    const insert = (random: Random) => {
      const start = random.below(items.length > 100 ? 3 : 60);
      const end = start + 1 + (random.below(9) === 0 ? random.below(80) : random.below(4));
      const item = { start, end: random.below(2) ? end : -end, value: random.below(2 ** 31) - 2 ** 30 };
      if (items.some(other => order(other, item) === 0)) return;
      index.insert(item.start, item.end, item.value);
      addTo(items, item, order);
    };
    const remove = (random: Random) => {
      const [item] = items.splice(random.below(items.length), 1);
      const at = index.seek(item.start, item.value);
      sameItem(index, at, item, 'to be removed');
      index.remove(at);
    };
    const look = (random: Random) => {
      const address = random.below(64) - 1;
      const upTo = items.filter(item => item.start <= address);
      const at = index.seek(address);
      sameItem(index, at, upTo.at(-1), 'sought');
      sameItem(index, index.below(address), upTo.at(-1), 'below');
      const near = address + random.below(3);
      sameItem(
        index,
        index.below(near),
        items.findLast(item => item.start <= near),
        'below, again',
      );
      same(index.startAfter(index.seek(address)), items[upTo.length]?.start ?? Infinity, 'start after');
      const which = random.below(2);
      const most = upTo.reduce((greatest, item) => Math.max(greatest, weights[which](item)), 0);
      const expected = most > 0 ? upTo.find(item => weights[which](item) === most) : undefined;
      sameItem(index, index.greatestUpTo(index.seek(address), which), expected, 'reaches farthest');
    };
    const lookExactly = (random: Random) => {
      const start = random.below(62) - 1;
      const value = random.below(2 ** 31) - 2 ** 30;
      const expected = items.findLast(item => item.start < start || (item.start === start && item.value <= value));
      sameItem(index, index.seek(start, value), expected, 'sought');
    };
    waves({ seed: SEED + 1, operations: OPERATIONS * 0.4, size: () => items.length }, (random, rising) => {
      const dice = random.below(16);
      if (dice < 6) (rising || items.length === 0 ? insert : remove)(random);
      else if (dice < 7) (rising && items.length > 0 ? remove : insert)(random);
      else if (dice < 12) look(random);
      else lookExactly(random);
      if (random.below(2000) === 0) sameItems(index, items);
    });
  });
});

/** Addresses that are taken: `end` is exclusive. */
interface Taken {
  readonly start: number;
  readonly end: number;
}

describe('an allocator', () => {
  const GiB = 2 ** 30;
  const MiB = 2 ** 20;
  const END_OF_RANGE = 24 * GiB;
  const RESERVED = [
    { first: 7 * MiB + 100, last: 8 * MiB + 5, type: 'reserved' },
    { first: 3 * GiB, last: 3 * GiB + 1, type: 'reserved' },
    { first: 3 * GiB + 5 * MiB, last: 3 * GiB + 6 * MiB, type: 'reserved' },
  ];
  /** Taken for all but who asks for it by name. */
  const PAGE_0: Taken = { start: 0, end: PAGE };
  /** Never to be had: whole pages on which something is reserved, and what is behind the range. */
  const FIXED: readonly Taken[] = [
    ...RESERVED.map(({ first, last }) => ({
      start: Math.floor(first / PAGE) * PAGE,
      end: Math.floor(last / PAGE) * PAGE + PAGE,
    })),
    { start: END_OF_RANGE, end: 2 * END_OF_RANGE },
  ];

  function holesBetween(taken: readonly Taken[]): Taken[] {
    const holes: Taken[] = [];
    let start = 0;
    for (const range of taken) {
      if (range.start > start) holes.push({ start, end: range.start });
      start = Math.max(start, range.end);
    }
    return holes;
  }

  const sizeOf = ({ start, end }: Taken) => end - start;

  /** The rule of free-space.ts, word by word. */
  function place(holes: readonly Taken[], size: number, hva: number | undefined): number | undefined {
    const large = holes.filter(hole => sizeOf(hole) >= size);
    for (const page of [GiB, 2 * MiB]) {
      if (hva === undefined || size < page) continue;
      const agreeing = (hole: Taken) => {
        let iova = Math.floor(hole.start / page) * page + (hva % page);
        if (iova < hole.start) iova += page;
        return iova + size <= hole.end ? iova : undefined;
      };
      const hole =
        large.slice(0, 64).find(candidate => agreeing(candidate) !== undefined) ??
        large.find(candidate => sizeOf(candidate) >= size + page - PAGE);
      if (hole) return agreeing(hole);
    }
    return large[0]?.start;
  }

  it('is a list of what is held, and the first fit between', () => {
    const allocator = new IovaAllocator({ first: 0n, last: BigInt(END_OF_RANGE - 1), reserved: RESERVED });
    const taken = [PAGE_0, ...FIXED];
    const byStart = (a: Taken, b: Taken) => a.start - b.start;
    const size = (random: Random) => {
      const dice = random.below(64);
      if (dice === 0) return (1 + random.below(3)) * GiB + random.below(2) * PAGE;
      if (dice < 12) return (1 + random.below(8)) * 2 * MiB + random.below(3) * PAGE;
      return (1 + random.below(12)) * PAGE;
    };
    const allocate = (random: Random) => {
      const bytes = size(random);
      const hva = random.below(4) > 0 ? random.below(2 ** 32) * PAGE : undefined;
      const start = place(holesBetween(taken), bytes, hva);
      if (start === undefined)
        return same(
          refused(() => allocator.allocate(bytes, hva)),
          true,
          'refused',
        );
      same(allocator.allocate(bytes, hva), start, 'allocated');
      addTo(taken, { start, end: start + bytes }, byStart);
    };
    const claim = (random: Random) => {
      const start = random.below(8) === 0 ? 0 : random.below(random.below(2) ? 4000 : 2 ** 23) * PAGE;
      const end = start + size(random);
      const isFree = !taken.some(other => other !== PAGE_0 && other.start < end && other.end > start);
      same(
        refused(() => allocator.claim(start, end - start)),
        !isFree,
        'claim refused',
      );
      if (isFree) addTo(taken, { start, end }, byStart);
    };
    const release = (random: Random) => {
      const at = random.below(taken.length);
      const { start, end } = taken[at];
      if (taken[at] === PAGE_0 || FIXED.includes(taken[at])) return;
      if (random.below(16) === 0) {
        same(
          refused(() => allocator.release(start, end - start + PAGE)),
          true,
          'release of more refused',
        );
        if (end - start > PAGE) {
          same(
            refused(() => allocator.release(start, PAGE)),
            true,
            'release of a part refused',
          );
          same(
            refused(() => allocator.release(start + PAGE, end - start)),
            true,
            'release from within refused',
          );
        }
      }
      allocator.release(start, end - start);
      taken.splice(at, 1);
    };
    waves({ seed: SEED + 2, operations: OPERATIONS, size: () => taken.length - FIXED.length - 1 }, (random, rising) => {
      const dice = random.below(16);
      if (dice < 10) (rising ? allocate : release)(random);
      else if (dice < 11) claim(random);
      else (rising ? release : allocate)(random);
      if (random.below(16) > 0) return;
      const holes = holesBetween(taken);
      same(
        allocator.freeBytes,
        holes.reduce((sum, hole) => sum + sizeOf(hole), 0),
        'free',
      );
      same(
        allocator.largestHole,
        holes.reduce((most, hole) => Math.max(most, sizeOf(hole)), 0),
        'largest hole',
      );
      same(allocator.heldRanges, taken.length - FIXED.length - 1, 'held');
    });
  });
});

describe('a translation', () => {
  /** @param changes Of 16 operations, how many add or remove. */
  function compare(pages: number, changes: number, run: Omit<Waves, 'size'>): void {
    const table = new Translation([]);
    const owners: (TranslationEntry | undefined)[] = new Array(pages).fill(undefined);
    const entries: TranslationEntry[] = [];
    const out = new Chain(8);
    const add = (random: Random) => {
      const from = random.below(pages - 8);
      const size = 1 + random.below(random.below(4) ? 2 : 8);
      const entry = { from, size, to: random.below(2 ** 32), writable: random.below(4) > 0 };
      const isFree = owners.slice(from, from + size).every(owner => owner === undefined);
      same(
        refused(() => table.add(entry)),
        !isFree,
        'refused',
      );
      if (!isFree) return;
      owners.fill(entry, from, from + size);
      entries.push(entry);
    };
    const remove = (random: Random) => {
      const at = random.below(entries.length);
      const { from, size } = entries[at];
      entries[at] = entries[entries.length - 1];
      entries.pop();
      table.remove(from);
      same(
        refused(() => table.remove(from)),
        true,
        'second removal refused',
      );
      owners.fill(undefined, from, from + size);
    };
    /** The next piece from a page on. */
    const piece = (page: number, rest: number, write: boolean) => {
      const owner = owners[page];
      if (!owner || (write && !owner.writable)) return undefined;
      const length = Math.min(rest, owner.from + owner.size - page);
      return { length, to: owner.to + page - owner.from };
    };
    const translate = (random: Random) => {
      const from = random.below(pages + 4) - 2;
      const length = random.below(12);
      const write = random.below(2) > 0;
      out.reset();
      const done = table.translate(from, length, write, out);
      let page = from;
      let count = 0;
      let expected = true;
      do {
        const next = piece(page, from + length - page, write);
        if (!next || count === 8) {
          expected = false;
          break;
        }
        same(out.addr[count], next.to, 'address of a piece');
        same(out.len[count], next.length, 'length of a piece');
        count++;
        page += next.length;
      } while (page < from + length);
      same(done, expected, 'translated');
      same(out.count, count, 'pieces');
      same(write ? out.writableBytes : out.readableBytes, page - from, 'bytes');
    };
    const rise = Math.ceil(changes * 0.8);
    waves({ ...run, size: () => entries.length }, (random, rising) => {
      const dice = random.below(16);
      if (dice >= changes) translate(random);
      else if (entries.length > 0 && rising !== dice < rise) remove(random);
      else add(random);
      if (random.below(Math.max(4000, 4 * entries.length)) === 0) {
        expect(table.entries()).toEqual([...entries].sort((a, b) => a.from - b.from));
      }
    });
  }

  it('is a table of pages', () => compare(2048, 5, { seed: SEED + 3, operations: OPERATIONS }));

  it('is one with tens of thousands of ranges, too', () => {
    compare(1 << 17, 14, { seed: SEED + 4, operations: OPERATIONS / 4, heights: [20_000, 5000] });
  });
});

describe('an IOVA tree', () => {
  const SPACE = 1500;
  const OWN_MEMORY = 96;
  const GUEST = 1500;

  it('is a list of maps', () => {
    const tree = new IovaTree({ first: BigInt(PAGE), last: BigInt(SPACE * PAGE - 1) });
    /** Sorted by IOVA. */
    const maps: PlacedMemory[] = [];
    const byIova = (a: PlacedMemory, b: PlacedMemory) => a.iova - b.iova;
    const out = new Chain(6);
    const address = (random: Random, pages: number) => random.below(pages * 4) * (PAGE / 4) + random.below(3);

    const map = (random: Random) => {
      const size = (1 + (random.below(16) ? random.below(4) : random.below(60))) * PAGE;
      const hva = random.below(OWN_MEMORY) * PAGE;
      const gpa = random.below(8) ? random.below(GUEST) * PAGE : undefined;
      const writable = random.below(3) > 0;
      const place = random.below(3) === 0 ? random.below(SPACE) * PAGE : undefined;
      const clash =
        gpa !== undefined &&
        maps.some(({ gpa: other = Number.NaN, size: bytes }) => other < gpa + size && other + bytes > gpa);
      let iova = place ?? PAGE;
      for (const other of maps) {
        if (place === undefined && other.iova < iova + size) iova = other.iova + other.size;
      }
      const fits =
        iova >= PAGE &&
        iova + size <= SPACE * PAGE &&
        !maps.some(other => other.iova < iova + size && other.iova + other.size > iova);
      if (clash || !fits) {
        return same(
          refused(() => tree.map({ hva, size, gpa, writable }, place)),
          true,
          'map refused',
        );
      }
      same(tree.map({ hva, size, gpa, writable }, place), iova, 'place');
      addTo(maps, { hva, size, gpa, writable, iova }, byIova);
    };
    const unmap = (random: Random) => {
      const [{ iova }] = maps.splice(random.below(maps.length), 1);
      tree.unmap(iova);
      if (random.below(8) === 0)
        same(
          refused(() => tree.unmap(iova)),
          true,
          'second unmap refused',
        );
    };

    type Side = 'gpa' | 'iova';
    const holds = (map: PlacedMemory, side: 'gpa' | 'hva' | 'iova', at: number, write: boolean) => {
      const from = map[side];
      return from !== undefined && at >= from && at < from + map.size && (map.writable || !write);
    };
    /** Sides on which maps do not overlap: every piece is known. */
    const straight = (random: Random, side: Side, other: 'gpa' | 'hva' | 'iova', look: IovaTree['gpaToIova']) => {
      const from = address(random, side === 'gpa' ? GUEST : SPACE);
      const length = random.below(6) * random.below(2 * PAGE);
      const write = random.below(2) > 0;
      out.reset();
      const done = look.call(tree, from, length, write, out);
      let at = from;
      let count = 0;
      let expected = true;
      do {
        const map = maps.find(candidate => holds(candidate, side, at, write));
        const to = map?.[other];
        if (!map || to === undefined || count === 6) {
          expected = false;
          break;
        }
        const bytes = Math.min(from + length, map[side]! + map.size) - at;
        same(out.addr[count], to + at - map[side]!, 'address of a piece');
        same(out.len[count], bytes, 'length of a piece');
        at += bytes;
        count++;
      } while (at < from + length);
      same(done, expected, 'translated');
      same(out.count, count, 'pieces');
    };
    /** Own addresses: any map that has the memory is right, and the fewest pieces are wanted. */
    const own = (random: Random) => {
      const from = address(random, OWN_MEMORY + 8);
      const length = random.below(6) * random.below(4 * PAGE);
      const write = random.below(2) > 0;
      out.reset();
      const done = tree.hvaToIova(from, length, write, out);
      let reached = from;
      let fewest = 0;
      do {
        let farthest = 0;
        for (const map of maps)
          if (holds(map, 'hva', reached, write)) farthest = Math.max(farthest, map.hva + map.size);
        if (farthest === 0) break;
        reached = Math.min(farthest, from + length);
        fewest++;
      } while (reached < from + length);
      const isMapped = fewest > 0 && reached === from + length;
      same(done, isMapped && fewest <= 6, 'translated');
      if (done) same(out.count, fewest, 'pieces');
      let at = from;
      for (let i = 0; i < out.count; i++) {
        const bytes = out.len[i];
        const map = maps.find(
          candidate =>
            holds(candidate, 'iova', out.addr[i], write) && candidate.hva + (out.addr[i] - candidate.iova) === at,
        );
        same(map !== undefined && at + bytes <= map.hva + map.size, true, 'piece is the memory');
        at += bytes;
      }
      if (done) same(at, from + length, 'end');
    };
    waves(
      { seed: SEED + 5, operations: OPERATIONS, heights: LOW_HEIGHTS, size: () => maps.length },
      (random, rising) => {
        const dice = random.below(16);
        if (dice < 4) (rising || maps.length === 0 ? map : unmap)(random);
        else if (dice < 5) (rising && maps.length > 0 ? unmap : map)(random);
        else if (dice < 8) straight(random, 'gpa', 'iova', tree.gpaToIova);
        else if (dice < 10) straight(random, 'iova', 'gpa', tree.iovaToGpa);
        else if (dice < 12) straight(random, 'iova', 'hva', tree.iovaToHva);
        else own(random);
        if (random.below(4000) === 0) expect(tree.maps()).toEqual(maps);
      },
    );
  });
});

describe('every byte', () => {
  const OWN = 0x7f00_0000_0000;
  const BACKING = 64;
  const RELOCATION = 2 ** 40;

  interface Section {
    readonly gpa: number;
    readonly hva: number;
    readonly iova: number;
    readonly size: number;
    readonly writable: boolean;
  }

  /** Guest memory in pieces of the process's: fragments, aliases of each other, with gaps on either side or on none. */
  function machine(random: Random, tree: IovaTree): Section[] {
    const sections: Section[] = [];
    let gpa = 0;
    let hva = OWN;
    for (let i = 0; i < 24; i++) {
      const size = (1 + random.below(6)) * PAGE;
      if (random.below(3) === 0) gpa += random.below(4) * PAGE;
      if (random.below(2) === 0) hva = OWN + random.below(BACKING) * PAGE;
      const writable = random.below(4) > 0;
      const iova = tree.map({ gpa, hva, size, writable }, random.below(2) === 0 ? gpa + RELOCATION : undefined);
      sections.push({ gpa, hva, iova, size, writable });
      gpa += size;
      hva += size;
    }
    return sections;
  }

  /** Sections by the guest's pages. */
  function pagesOf(sections: readonly Section[]): Map<number, Section> {
    const pages = new Map<number, Section>();
    for (const section of sections) {
      for (let at = section.gpa; at < section.gpa + section.size; at += PAGE) pages.set(at / PAGE, section);
    }
    return pages;
  }

  /** The address of one byte on the other side. */
  function single(lookup: (out: Chain) => boolean): number | undefined {
    const out = new Chain(1);
    return lookup(out) ? out.addr[0] : undefined;
  }

  it('of random sections is at the IOVA of its memory, from all sides', () => {
    for (let seed = SEED; seed < SEED + 60; seed++) {
      const tree = new IovaTree({ first: 0n, last: 2n ** 64n - 1n });
      const sections = machine(new Random(seed), tree);
      for (const { gpa, hva, iova, size, writable } of sections) {
        for (let page = 0; page < size; page += PAGE) {
          for (const offset of [page, page + 1, page + PAGE / 2, page + PAGE - 1]) {
            const what = `seed ${seed}, guest address ${gpa + offset}`;
            same(
              single(out => tree.gpaToIova(gpa + offset, 1, writable, out)),
              iova + offset,
              what,
            );
            same(
              single(out => tree.iovaToGpa(iova + offset, 1, writable, out)),
              gpa + offset,
              what,
            );
            same(
              single(out => tree.iovaToHva(iova + offset, 1, writable, out)),
              hva + offset,
              what,
            );
            same(single(out => tree.gpaToIova(gpa + offset, 1, true, out)) !== undefined, writable, what);
            // Another section may have the same memory: wherever it is found, it is there.
            const found = single(out => tree.hvaToIova(hva + offset, 1, writable, out));
            same(
              single(out => tree.iovaToHva(found ?? -1, 1, writable, out)),
              hva + offset,
              what,
            );
          }
        }
      }
    }
  });

  it('of random ranges is where it is alone', () => {
    const out = new Chain(64);
    for (let seed = SEED; seed < SEED + 60; seed++) {
      const random = new Random(seed);
      const tree = new IovaTree({ first: 0n, last: 2n ** 64n - 1n });
      const pages = pagesOf(machine(random, tree));
      for (let i = 0; i < 300; i++) {
        const from = random.below(140 * PAGE);
        const length = 1 + random.below(12 * PAGE);
        const write = random.below(3) === 0;
        const section = (at: number) => {
          const found = pages.get(Math.floor(at / PAGE));
          return found && (found.writable || !write) ? found : undefined;
        };
        let isMapped = true;
        for (let at = from; at < from + length; at += PAGE - (at % PAGE)) isMapped &&= section(at) !== undefined;
        const what = `seed ${seed}, ${length} bytes at guest address ${from}`;
        out.reset();
        same(tree.gpaToIova(from, length, write, out), isMapped, what);
        if (!isMapped) continue;
        let at = from;
        for (let piece = 0; piece < out.count; piece++) {
          for (let byte = 0; byte < out.len[piece]; byte += byte === 0 ? 1 : 97) {
            const { gpa, iova } = section(at + byte)!;
            same(out.addr[piece] + byte, iova + (at + byte - gpa), what);
          }
          at += out.len[piece];
        }
        same(at, from + length, what);
      }
    }
  });
});
