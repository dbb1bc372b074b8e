/** Plans against the kernel's IOTLB, and translation against a table of single bytes. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Iotlb } from '../../lib/device/soft/iotlb.js';
import { AddressSpace } from '../../lib/iova/address-space.js';
import type { IovaLimits } from '../../lib/iova/limits.js';
import { type IovaMap, sameMap, sortMaps } from '../../lib/iova/map.js';
import { Translation } from '../../lib/iova/translation.js';
import { Chain } from '../../lib/ring/chain.js';
import type { Operation, OperationResult, Permission } from '../../lib/uapi/operation.js';

const PAGE = 4096;
const EFAULT = 14;
const LIMITS: IovaLimits = {
  first: 0n,
  last: 2n ** 64n - 1n,
  asids: 1,
  maxEntries: undefined,
  pinnable: () => undefined,
};

/** Maps that do not overlap, in any order: gaps and lengths in pages, from few enough values that sets share maps. */
const wantedSets = fc
  .array(
    fc.record({
      gap: fc.constantFrom(0, 0, 1, 3),
      pages: fc.integer({ min: 1, max: 3 }),
      region: fc.integer({ min: 1, max: 2 }),
      offset: fc.constantFrom(0, PAGE),
      perm: fc.constantFrom<Permission>('ro', 'wo', 'rw'),
      taken: fc.boolean(),
    }),
    { maxLength: 12 },
  )
  .chain(parts => {
    let page = 0;
    const maps: IovaMap[] = [];
    for (const { gap, pages, region, offset, perm, taken } of parts) {
      page += gap;
      if (taken) maps.push({ iova: page * PAGE, size: pages * PAGE, region, offset, perm });
      page += pages;
    }
    return fc.shuffledSubarray(maps, { minLength: maps.length });
  });

/** Runs operations as the kernel would, and fails the one at `failAt`, before its effect or after it: the rest does not run. */
function execute(kernel: Iotlb, operations: readonly Operation[], failAt = -1, after = false): OperationResult[] {
  let failed = false;
  return operations.map((operation, index) => {
    if (failed && !operation.always) {
      return { ran: false, errno: 0, value: undefined, started_ms: 0, duration_ms: 0 };
    }
    let refused = index === failAt;
    if (!refused || after) {
      if (operation.op === 'iotlbUpdate') refused = !kernel.update(operation) || refused;
      if (operation.op === 'iotlbInvalidate') kernel.invalidate(operation.iova, operation.size);
    }
    failed ||= refused;
    return { ran: true, errno: refused ? EFAULT : 0, value: undefined, started_ms: 0, duration_ms: 0 };
  });
}

describe('plans', () => {
  it('bring the kernel from any set of maps to any other, with the fewest operations', () => {
    fc.assert(
      fc.property(fc.array(wantedSets, { minLength: 1, maxLength: 6 }), sets => {
        const kernel = new Iotlb();
        const space = new AddressSpace(0, LIMITS);
        for (const wanted of sets) {
          const held = [...kernel.entries];
          const plan = space.plan(wanted);
          const results = execute(kernel, plan);
          expect(results.every(result => result.errno === 0)).toBe(true);
          space.apply(plan, results);
          expect(sortMaps(kernel.entries)).toEqual(sortMaps(wanted));
          expect(space.held).toEqual(sortMaps(kernel.entries));
          const differ = (a: readonly IovaMap[], b: readonly IovaMap[]) =>
            a.filter(map => !b.some(other => sameMap(map, other))).length;
          const changes = differ(held, wanted) + differ(wanted, held);
          expect(plan).toHaveLength(changes === 0 ? 0 : changes + 2);
        }
      }),
    );
  });

  const breaks = fc.record({ wanted: wantedSets, failAt: fc.nat(20), after: fc.boolean() });

  it('leave a mirror of what surely is there, wherever they break off, and from which the next plan goes on', () => {
    fc.assert(
      fc.property(wantedSets, fc.array(breaks, { maxLength: 3 }), wantedSets, (first, broken, last) => {
        const kernel = new Iotlb();
        const space = new AddressSpace(0, LIMITS);
        const change = (wanted: readonly IovaMap[], failAt = -1, after = false) => {
          const plan = space.plan(wanted);
          space.apply(plan, execute(kernel, plan, failAt, after));
        };
        change(first);
        for (const { wanted, failAt, after } of broken) {
          change(wanted, failAt, after);
          expect(kernel.entries).toEqual(expect.arrayContaining(space.held));
        }
        change(last);
        expect(sortMaps(kernel.entries)).toEqual(sortMaps(last));
        expect(space.held).toEqual(sortMaps(last));
      }),
      { numRuns: 500 },
    );
  });

  it('send everything again when the device lost its maps', () => {
    fc.assert(
      fc.property(wantedSets, wantedSets, (first, second) => {
        const kernel = new Iotlb();
        const space = new AddressSpace(0, LIMITS);
        const initial = space.plan(first);
        space.apply(initial, execute(kernel, initial));
        const again = space.plan(second, { remap: true });
        expect(execute(kernel, again).every(result => result.errno === 0)).toBe(true);
        expect(sortMaps(kernel.entries)).toEqual(sortMaps(second));
        const count = (op: string) => again.filter(operation => operation.op === op).length;
        expect([count('iotlbInvalidate'), count('iotlbUpdate')]).toEqual([first.length, second.length]);
      }),
    );
  });
});

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
