/** Plans against a naive model of the kernel, and translation against a table of single bytes. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { changeMaps } from '../../lib/device/change-maps.js';
import { AddressError, OperationError } from '../../lib/errors.js';
import { AddressSpace, type PlanOptions } from '../../lib/iova/address-space.js';
import type { IovaLimits } from '../../lib/iova/limits.js';
import { type IovaMap, sameMap, sortMaps } from '../../lib/iova/map.js';
import { Translation } from '../../lib/iova/translation.js';
import { Chain } from '../../lib/ring/chain.js';
import { VHOST_BACKEND_F_IOTLB_ASID, VHOST_BACKEND_F_IOTLB_PERSIST } from '../../lib/uapi/backend-features.js';
import type { Operation, OperationResult } from '../../lib/uapi/operation.js';
import { randoms } from '../unit/iova-support.js';
import { NaiveKernel } from '../unit/naive-kernel.js';

const PAGE = 4096;
/** Pages of address space: few, so that maps meet. */
const PAGES = 48;
const FAR = 1000 * PAGE;

const limitsOf = (maxEntries?: number): IovaLimits => ({
  first: 0n,
  last: 2n ** 64n - 1n,
  asids: 2,
  granule: PAGE,
  reserved: [],
  maxEntries,
  deviceMaxEntries: undefined,
  pinnable: () => undefined,
});

type Random = (below: number) => number;

/** What each page gives: 0 for nothing, else a memory and a permission. Most go on from page to page, some do not. */
type Cells = number[];

const NOTHING = 0;
const CONTENTS = [1, 1, 1, 2, 3, 4, 5];

function mapOf(content: number, page: number, pages: number): IovaMap {
  const offset = page * PAGE + (content === 3 ? FAR : 0);
  const perm = content === 4 ? 'ro' : content === 5 ? 'wo' : 'rw';
  return { iova: page * PAGE, size: pages * PAGE, region: content === 2 ? 2 : 1, offset, perm };
}

function contentOf({ region, offset, iova, perm }: IovaMap): number {
  if (region === 2) return 2;
  if (offset !== iova) return 3;
  return perm === 'ro' ? 4 : perm === 'wo' ? 5 : 1;
}

function cellsOf(maps: readonly IovaMap[]): Cells {
  const cells = new Array<number>(PAGES).fill(NOTHING);
  for (const map of maps) {
    const content = contentOf(map);
    for (let page = map.iova / PAGE; page < (map.iova + map.size) / PAGE; page++) cells[page] = content;
  }
  return cells;
}

/** The cells as maps, cut wherever they must be, and at some places besides. */
function cut(cells: Cells, random: Random): IovaMap[] {
  const maps: IovaMap[] = [];
  let start = 0;
  for (let page = 1; page <= PAGES; page++) {
    if (page < PAGES && cells[page] === cells[start] && random(6) > 0) continue;
    if (cells[start] !== NOTHING) maps.push(mapOf(cells[start], start, page - start));
    start = page;
  }
  return maps;
}

function mutate(cells: Cells, random: Random): Cells {
  const next = [...cells];
  for (let i = random(4); i >= 0; i--) {
    const content = random(3) === 0 ? NOTHING : CONTENTS[random(CONTENTS.length)];
    const from = random(PAGES);
    next.fill(content, from, from + 1 + random(10));
  }
  return next;
}

/** How many maps the cells are at least. */
const fewest = (cells: Cells) =>
  cells.filter((content, page) => content !== NOTHING && content !== cells[page - 1]).length;

const same = (a: readonly IovaMap[], b: readonly IovaMap[]) =>
  a.length === b.length && a.every((map, i) => sameMap(map, b[i]));
const count = (plan: readonly Operation[], op: string) => plan.filter(operation => operation.op === op).length;

/** One open file: a kernel, a mirror of it, and what is wanted of it. */
class Life {
  readonly kernel: NaiveKernel;
  readonly space: AddressSpace;
  readonly random: Random;
  readonly cap: number | undefined;
  readonly options: PlanOptions;
  cells: Cells = new Array<number>(PAGES).fill(NOTHING);

  /** @param secret Entries the device's own table may have, which the planner does not know. */
  constructor(random: Random, secret?: number) {
    this.random = random;
    this.cap = random(3) === 0 ? 4 + random(8) : undefined;
    const parent = random(2) === 0 ? 'set_map' : 'dma_map';
    this.kernel = new NaiveKernel({
      parent,
      virtual: random(2) === 0,
      asids: 2,
      maxEntries: this.cap,
      deviceMaxEntries: secret,
    });
    this.space = new AddressSpace(random(2), limitsOf(this.cap));
    this.options = {
      batched: ([true, true, 'always', false] as const)[random(4)],
      probe: secret !== undefined || random(3) === 0,
    };
    const persist = random(2) === 0 ? VHOST_BACKEND_F_IOTLB_PERSIST : 0n;
    this.do([{ op: 'setBackendFeatures', features: VHOST_BACKEND_F_IOTLB_ASID | persist }]);
  }

  get vhost(): IovaMap[] {
    return sortMaps(this.kernel.vhost[this.space.asid] ?? []);
  }

  do(operations: readonly Operation[]): OperationResult[] {
    const results = this.kernel.execute(operations);
    this.space.apply(operations, results);
    return results;
  }

  /** Fails one operation of the next list, before its effect or after it. */
  failAt(index: number, when: 'before' | 'after'): void {
    let left = index;
    this.kernel.sabotage = () => (left-- === 0 ? when : undefined);
  }

  /** After a list that all ran: both tables have what is wanted, and the mirror knows. */
  requireExact(cells: Cells): void {
    const { vhost } = this;
    const device = this.kernel.device[this.space.asid];
    const there = cellsOf(vhost);
    const wrong =
      (there.some((content, page) => content !== cells[page]) && 'vhost') ||
      (!same(vhost, this.space.held) && 'the mirror') ||
      ((device === 'lost' ? vhost.length > 0 : !same(sortMaps(device), vhost)) && 'the device') ||
      ((this.space.doubtful.length > 0 || this.space.lost || this.space.unsynced) && 'doubt') ||
      (this.kernel.peak > (this.cap ?? PAGES) && 'the cap');
    if (wrong) expect.unreachable(`${wrong}: ${JSON.stringify({ vhost, held: this.space.held, device, cells })}`);
  }

  /** After a list that broke off: what the mirror holds is there, and whatever is there it holds or doubts. */
  requireHonest(): void {
    const { vhost } = this;
    const { held, doubtful } = this.space;
    const missing = held.filter(map => !vhost.some(entry => sameMap(entry, map)));
    const unknown = vhost.filter(
      entry =>
        !held.some(map => sameMap(entry, map)) &&
        !doubtful.some(({ iova, size }) => iova === entry.iova && size === entry.size),
    );
    if (missing.length + unknown.length > 0) expect.unreachable(JSON.stringify({ missing, unknown, doubtful }));
  }
}

describe('plans', () => {
  const MESSAGES = 1_000_000;

  it(`bring the kernel where they should in ${MESSAGES} messages, and find back wherever they were broken off`, () => {
    const random = randoms(20_250_117);
    let messages = 0;
    let failures = 0;
    let refusals = 0;
    while (messages < MESSAGES) {
      const life = new Life(random);
      for (let step = 0; step < 40; step++) {
        if (random(12) === 0) life.do([{ op: 'setStatus', status: 0 }]);
        const wanted = mutate(life.cells, random);
        const maps = cut(wanted, random);
        if (life.cap !== undefined && fewest(wanted) > life.cap) {
          refusals++;
          expect(() => life.space.plan(maps, life.options)).toThrow(AddressError);
          continue;
        }
        life.cells = wanted;
        const plan = life.space.plan(maps, life.options);
        if (random(6) === 0 && plan.length > 0) {
          failures++;
          life.failAt(random(plan.length), random(2) === 0 ? 'before' : 'after');
          life.do(plan);
          life.requireHonest();
          life.kernel.sabotage = () => undefined;
        } else {
          if (life.do(plan).some(({ errno }) => errno !== 0)) expect.unreachable(JSON.stringify(plan));
          life.requireExact(wanted);
        }
      }
      messages += life.kernel.messages;
    }
    expect(failures).toBeGreaterThan(10_000);
    expect(refusals).toBeGreaterThan(1000);
  });

  it('go back to exactly what was there after a failure anywhere, in vhost and in the device', async () => {
    const random = randoms(77);
    let rolledBack = 0;
    let leftOut = 0;
    for (let i = 0; i < 1000; i++) {
      // Failures that are made, or a device that takes less than is known of it.
      const secret = random(2) === 0 ? 3 + random(8) : undefined;
      const life = new Life(random, secret);
      for (let step = 0; step < 20; step++) {
        const wanted = mutate(life.cells, random);
        const maps = cut(wanted, random);
        const optional = new Set(maps.filter(() => random(5) === 0).map(map => map.iova));
        if (random(3) > 0) optional.clear();
        if (life.cap !== undefined && fewest(wanted) + 2 * optional.size > life.cap) continue;
        const before = life.vhost;
        if (secret === undefined && random(2) === 0) life.failAt(random(8), random(2) === 0 ? 'before' : 'after');
        try {
          const { refused } = await changeMaps(life.kernel, life.space, maps, { ...life.options, optional });
          for (const { iova, size } of refused) wanted.fill(NOTHING, iova / PAGE, (iova + size) / PAGE);
          life.cells = wanted;
          leftOut += refused.length;
        } catch (error) {
          expect(error).toBeInstanceOf(OperationError);
          expect((error as OperationError).details).toMatchObject({ rolledBack: true });
          expect(life.vhost).toEqual(before);
          rolledBack++;
        }
        life.kernel.sabotage = () => undefined;
        // A full table has no entry left to find out with what a batch hid, unless a map in use went for a moment.
        if (secret !== undefined && life.vhost.length === life.cap) break;
        life.requireExact(life.cells);
      }
    }
    expect(rolledBack).toBeGreaterThan(1000);
    expect(leftOut).toBeGreaterThan(300);
  });

  /** Few pages, so that every choice of what stays can be tried. */
  const SMALL = 9;
  const smallCells = fc.array(fc.constantFrom(NOTHING, 1, 1, 2, 4), { minLength: SMALL, maxLength: SMALL });

  it('have the fewest maps and unmaps there can be', () => {
    fc.assert(
      fc.property(smallCells, smallCells, fc.integer(), (first, second, seed) => {
        const random = randoms(seed);
        const pad = (cells: Cells) => [...cells, ...new Array<number>(PAGES - SMALL).fill(NOTHING)];
        const held = cut(pad(first), random);
        const space = holding(held);
        const wanted = pad(second);
        const plan = space.plan(cut(wanted, random));
        expect(count(plan, 'iotlbUpdate') + count(plan, 'iotlbInvalidate')).toBe(fewestMessages(held, wanted));
      }),
      { numRuns: 2000 },
    );
  });

  /** Tries to keep every subset of the held maps. */
  function fewestMessages(held: readonly IovaMap[], wanted: Cells): number {
    let best = Number.POSITIVE_INFINITY;
    for (let subset = 0; subset < 2 ** held.length; subset++) {
      const kept = held.filter((_, i) => (subset & (1 << i)) !== 0);
      const there = cellsOf(kept);
      if (there.some((content, page) => content !== NOTHING && content !== wanted[page])) continue;
      const missing = wanted.map((content, page) => (there[page] === NOTHING ? content : NOTHING));
      best = Math.min(best, held.length - kept.length + fewest(missing));
    }
    return best;
  }

  it('stay within the cap on entries wherever that is possible', () => {
    fc.assert(
      fc.property(smallCells, smallCells, fc.integer(), (first, second, seed) => {
        const random = randoms(seed);
        const pad = (cells: Cells) => [...cells, ...new Array<number>(PAGES - SMALL).fill(NOTHING)];
        const wanted = pad(second);
        const kernel = new NaiveKernel({ asids: 2 });
        const space = new AddressSpace(0, limitsOf(Math.max(1, fewest(wanted))));
        const maps = cut(pad(first), random);
        // As another program might have left it: more entries than the planner would make.
        for (const map of maps) {
          const operations: Operation[] = [{ op: 'iotlbUpdate', asid: 0, ...map }];
          space.apply(operations, kernel.execute(operations));
        }
        const plan = space.plan(cut(wanted, random));
        space.apply(plan, kernel.execute(plan));
        expect(cellsOf(kernel.vhost[0] ?? [])).toEqual(wanted);
        expect(space.held.length).toBeLessThanOrEqual(Math.max(1, fewest(wanted)));
      }),
      { numRuns: 1000 },
    );
  });

  it('give exactly the wanted maps, one entry each, when asked to', () => {
    fc.assert(
      fc.property(smallCells, smallCells, fc.integer(), (first, second, seed) => {
        const random = randoms(seed);
        const pad = (cells: Cells) => [...cells, ...new Array<number>(PAGES - SMALL).fill(NOTHING)];
        const held = cut(pad(first), random);
        const wanted = cut(pad(second), random);
        const plan = holding(held).plan(wanted, { exact: true });
        const kept = held.filter(map => wanted.some(other => sameMap(map, other)));
        expect(count(plan, 'iotlbInvalidate')).toBe(held.length - kept.length);
        expect(plan.filter(({ op }) => op === 'iotlbUpdate')).toEqual(
          wanted
            .filter(map => !kept.some(other => sameMap(map, other)))
            .map(map => ({ op: 'iotlbUpdate', asid: 0, ...map })),
        );
      }),
      { numRuns: 500 },
    );
  });
});

/** A space that holds these maps, one entry each. */
function holding(maps: readonly IovaMap[]): AddressSpace {
  const space = new AddressSpace(0, limitsOf());
  const operations = maps.map((map): Operation => ({ op: 'iotlbUpdate', asid: 0, ...map }));
  space.apply(operations, new NaiveKernel().execute(operations));
  return space;
}

describe('translation', () => {
  const SPACE = 96;
  const tables = fc.array(
    fc.record({
      gap: fc.constantFrom(0, 0, 1, 5),
      size: fc.integer({ min: 1, max: 16 }),
      to: fc.integer({ min: 0, max: 1000 }),
      writable: fc.boolean(),
    }),
    { maxLength: 8 },
  );
  const queries = fc.array(
    fc.record({
      from: fc.nat(SPACE),
      length: fc.nat(40),
      write: fc.boolean(),
      capacity: fc.integer({ min: 0, max: 9 }),
    }),
    { minLength: 1, maxLength: 20 },
  );

  it('gives for every byte what a table of bytes gives', () => {
    fc.assert(
      fc.property(tables, queries, (ranges, asked) => {
        const bytes = new Map<number, { to: number; writable: boolean; range: number }>();
        let from = 0;
        const entries = ranges.map(({ gap, size, to, writable }, range) => {
          from += gap;
          for (let i = 0; i < size; i++) bytes.set(from + i, { to: to + i, writable, range });
          const entry = { from, size, to, writable };
          from += size;
          return entry;
        });
        // One object for all queries, so that what one leaves behind shows in the next.
        const table = new Translation([...entries].reverse());
        for (const { from, length, write, capacity } of asked) {
          // A range of no bytes still names a place.
          const wanted = Array.from({ length: Math.max(length, 1) }, (_, i) => bytes.get(from + i));
          const mapped = wanted.every(byte => byte && (!write || byte.writable));
          const spanned = new Set(wanted.map(byte => byte?.range)).size;
          const out = new Chain(capacity);
          expect(table.translate(from, length, write, out)).toBe(mapped && spanned <= capacity);
          if (!mapped || spanned > capacity) continue;
          const got = Array.from({ length: out.count }, (_, i) =>
            Array.from({ length: out.len[i] }, (_, byte) => out.addr[i] + byte),
          );
          expect(got.flat()).toEqual(wanted.slice(0, length).map(byte => byte?.to));
          expect(out.count).toBe(spanned);
          expect(write ? out.writableBytes : out.readableBytes).toBe(length);
        }
      }),
      { numRuns: 500 },
    );
  });
});
