/** One address space: what the planner sends, what it refuses and why, and what the mirror holds afterwards. */
import { describe, expect, it } from 'vitest';
import { AddressError } from '../../lib/errors.js';
import { AddressSpace } from '../../lib/iova/address-space.js';
import type { IovaLimits } from '../../lib/iova/limits.js';
import type { IovaMap } from '../../lib/iova/map.js';
import type { Operation, OperationResult } from '../../lib/uapi/operation.js';
import { NO_LIMITS } from './iova-support.js';

const PAGE = 4096;
const EFAULT = 14;
const LIMITS: IovaLimits = { ...NO_LIMITS, asids: 2 };

const map = (page: number, pages = 1, other: Partial<IovaMap> = {}): IovaMap => ({
  iova: page * PAGE,
  size: pages * PAGE,
  region: 1,
  offset: page * PAGE,
  perm: 'rw',
  ...other,
});

/** A map that goes on in another memory, so that it is never merged with those around it. */
const apart = (page: number, pages = 1): IovaMap => map(page, pages, { region: 100 + page });

const OK: OperationResult = { ran: true, errno: 0, value: undefined, started_ms: 1, duration_ms: 1 };
const FAILED: OperationResult = { ...OK, errno: EFAULT };
const NOT_RUN: OperationResult = { ...OK, ran: false };

/** A space that holds these maps. */
function holding(maps: readonly IovaMap[], limits = LIMITS, asid = 0): AddressSpace {
  const space = new AddressSpace(asid, limits);
  const plan = space.plan(maps);
  carryOut(space, plan);
  return space;
}

/** As if all of it had run. */
function carryOut(space: AddressSpace, plan: readonly Operation[]): void {
  space.apply(
    plan,
    plan.map(() => OK),
  );
}

/** `unmap 4+2` for two pages from page 4, `map`, `begin`, `end`. */
function brief(plan: readonly Operation[]): string[] {
  return plan.map(operation => {
    if (operation.op === 'iotlbBatchBegin') return 'begin';
    if (operation.op === 'iotlbBatchEnd') return 'end';
    if (!('iova' in operation)) return operation.op;
    const what = operation.op === 'iotlbUpdate' ? 'map' : 'unmap';
    return `${what} ${operation.iova / PAGE}+${operation.size / PAGE}`;
  });
}

describe('a plan', () => {
  it('is one batch: exact unmaps, then maps, by address', () => {
    const space = holding([map(0), map(8, 4), map(2)], LIMITS, 1);
    expect(space.plan([map(20), map(2), map(16, 2)])).toEqual([
      { op: 'iotlbBatchBegin', asid: 1 },
      { op: 'iotlbInvalidate', asid: 1, iova: 0, size: PAGE },
      { op: 'iotlbInvalidate', asid: 1, iova: 8 * PAGE, size: 4 * PAGE },
      { op: 'iotlbUpdate', asid: 1, ...map(16, 2) },
      { op: 'iotlbUpdate', asid: 1, ...map(20) },
      { op: 'iotlbBatchEnd', asid: 1, always: true },
    ]);
  });

  it('is empty when nothing differs, whatever the order', () => {
    expect(new AddressSpace(0, LIMITS).plan([])).toEqual([]);
    expect(holding([map(0), map(4)]).plan([map(4), map(0)])).toEqual([]);
  });

  it('needs no batch for a single message, which is told whether it worked', () => {
    expect(brief(new AddressSpace(0, LIMITS).plan([map(4)]))).toEqual(['map 4+1']);
    expect(brief(holding([map(4), map(8)]).plan([map(4)]))).toEqual(['unmap 8+1']);
    const asked = new AddressSpace(0, LIMITS).plan([map(4)], { batched: 'always' });
    expect(brief(asked)).toEqual(['begin', 'map 4+1', 'end']);
  });

  it('has no batch where the kernel has none', () => {
    expect(brief(holding([map(4)]).plan([map(8), map(10)], { batched: false }))).toEqual([
      'unmap 4+1',
      'map 8+1',
      'map 10+1',
    ]);
  });

  it.each<[string, Partial<IovaMap>]>([
    ['size', { size: 2 * PAGE, offset: 0 }],
    ['region', { region: 2 }],
    ['offset', { offset: 0 }],
    ['permission', { perm: 'ro' }],
  ])('replaces a map of another %s', (_what, other) => {
    const plan = holding([map(4)]).plan([map(4, 1, other)]);
    expect(plan.map(({ op }) => op)).toEqual(['iotlbBatchBegin', 'iotlbInvalidate', 'iotlbUpdate', 'iotlbBatchEnd']);
    expect(plan[1]).toMatchObject({ iova: 4 * PAGE, size: PAGE });
    expect(plan[2]).toMatchObject(map(4, 1, other));
  });

  it('sends everything again when asked to', () => {
    const plan = holding([map(0), map(4)]).plan([map(0), map(6)], { remap: true });
    expect(brief(plan)).toEqual(['begin', 'unmap 0+1', 'unmap 4+1', 'map 0+1', 'map 6+1', 'end']);
  });

  it('changes nothing by itself', () => {
    const space = holding([map(0)]);
    space.plan([map(8)]);
    expect(space.held).toEqual([map(0)]);
  });
});

describe('maps are compared by what they cover', () => {
  it('so cuts elsewhere change nothing', () => {
    const space = holding([map(0, 8)]);
    expect(space.held).toEqual([map(0, 8)]);
    expect(space.plan([map(0, 3), map(3, 4), map(7)])).toEqual([]);
  });

  it('and adjacent maps of the same memory become one', () => {
    expect(brief(new AddressSpace(0, LIMITS).plan([map(3), map(0, 3), map(4, 4), map(9)]))).toEqual([
      'begin',
      'map 0+8',
      'map 9+1',
      'end',
    ]);
  });

  it.each<[string, Partial<IovaMap>]>([
    ['another region', { region: 2 }],
    ['an offset that does not go on', { offset: 0 }],
    ['another permission', { perm: 'ro' }],
  ])('but not with %s', (_what, other) => {
    const plan = new AddressSpace(0, LIMITS).plan([map(0, 2), map(2, 2, other)]);
    expect(brief(plan)).toEqual(['begin', 'map 0+2', 'map 2+2', 'end']);
  });

  it('nor when one may be refused by itself', () => {
    const separate = new Set([2 * PAGE]);
    const plan = new AddressSpace(0, LIMITS).plan([map(0, 2), map(2, 2), map(4, 2), map(6)], { separate });
    expect(brief(plan)).toEqual(['begin', 'map 0+2', 'map 2+2', 'map 4+3', 'end']);
  });

  it('so what is held stays while memory grows around it', () => {
    expect(brief(holding([map(4, 2)]).plan([map(0, 12)]))).toEqual(['begin', 'map 0+4', 'map 6+6', 'end']);
    expect(brief(holding([map(0, 4), map(8, 4)]).plan([map(0, 12)]))).toEqual(['map 4+4']);
  });

  it('and what shrinks is made anew, because an unmap takes whole entries', () => {
    expect(brief(holding([map(0, 8)]).plan([map(0, 4)]))).toEqual(['begin', 'unmap 0+8', 'map 0+4', 'end']);
  });

  it('but one by one when exactly these are asked for', () => {
    const space = holding([map(0, 4)]);
    const plan = space.plan([map(0, 2), map(2, 2), map(4, 2)], { exact: true });
    expect(brief(plan)).toEqual(['begin', 'unmap 0+4', 'map 0+2', 'map 2+2', 'map 4+2', 'end']);
  });

  it('so pieces are merged where they would be more than the cap', () => {
    const limits = { ...LIMITS, maxEntries: 3 };
    const space = holding([map(2), apart(20)], limits);
    // Three pieces of one memory and the other map: the piece in the middle is given up.
    expect(brief(space.plan([map(0, 5), apart(20)]))).toEqual(['begin', 'unmap 2+1', 'map 0+5', 'end']);
    // Where there is room it stays.
    const roomy = holding([map(2), apart(20)], { ...limits, maxEntries: 4 });
    expect(brief(roomy.plan([map(0, 5), apart(20)]))).toEqual(['begin', 'map 0+2', 'map 3+2', 'end']);
  });

  it('and first where merging costs least', () => {
    const space = holding([map(2), map(10), map(11), map(13)], { ...LIMITS, maxEntries: 6 });
    // Of seven entries: 0-4 as one saves two for no message more, 10-14 as one saves three for two.
    expect(brief(space.plan([map(0, 5), map(10, 5)]))).toEqual([
      'begin',
      'unmap 2+1',
      'map 0+5',
      'map 12+1',
      'map 14+1',
      'end',
    ]);
  });
});

describe('a probe', () => {
  const probe = { probe: true };

  it('sends the last map after the batch, which costs no message', () => {
    const plan = new AddressSpace(0, LIMITS).plan([map(0), map(2), map(4)], probe);
    expect(brief(plan)).toEqual(['begin', 'map 0+1', 'map 2+1', 'end', 'map 4+1']);
    expect(plan.at(-1)?.always).toBeUndefined();
  });

  it('is a map where nothing was before, and not the one at address 0', () => {
    const space = holding([map(8, 1, { perm: 'ro' }), map(4, 2, { perm: 'ro' })]);
    expect(brief(space.plan([map(0), map(3), map(4, 1, { region: 2 }), map(8)], probe))).toEqual([
      'begin',
      'unmap 4+2',
      'unmap 8+1',
      'map 0+1',
      'map 4+1',
      'map 8+1',
      'end',
      'map 3+1',
    ]);
    // There is none: what is replaced must come back with the batch.
    expect(brief(space.plan([map(0), map(8)], probe)).at(-1)).toBe('end');
  });

  it('is not a map that may be refused by itself, if there is another', () => {
    const separate = new Set([8, 12].map(page => page * PAGE));
    const plan = new AddressSpace(0, LIMITS).plan([map(2), map(4), map(8), map(12)], { ...probe, separate });
    expect(brief(plan).at(-1)).toBe('map 4+1');
    const alone = holding([map(2)]).plan([map(2), map(8), map(12)], { ...probe, separate });
    expect(brief(alone)).toEqual(['map 8+1', 'map 12+1']);
  });

  it('needs no batch when there is only one other message', () => {
    expect(brief(holding([map(4)]).plan([map(8)], probe))).toEqual(['unmap 4+1', 'map 8+1']);
    expect(brief(new AddressSpace(0, LIMITS).plan([map(8)], probe))).toEqual(['map 8+1']);
  });

  it('is nothing where nothing is mapped', () => {
    expect(brief(holding([map(4), map(6)]).plan([], probe))).toEqual(['begin', 'unmap 4+1', 'unmap 6+1', 'end']);
    expect(holding([map(4)]).plan([map(4)], probe)).toEqual([]);
  });
});

describe('a reset', () => {
  const PERSIST = (1n << 8n) | (1n << 3n);
  const reset: Operation = { op: 'setStatus', status: 0 };
  const acknowledge = (features: bigint): Operation => ({ op: 'setBackendFeatures', features });

  it('loses what the device had, and vhost keeps it: it is sent again', () => {
    const space = holding([map(0), map(4)]);
    space.apply([reset], [OK]);
    expect(space.lost).toBe(true);
    expect(space.held).toEqual([map(0), map(4)]);
    const plan = space.plan([map(0), map(4)]);
    expect(brief(plan)).toEqual(['begin', 'unmap 0+1', 'unmap 4+1', 'map 0+1', 'map 4+1', 'end']);
    carryOut(space, plan);
    expect(space.lost).toBe(false);
    expect(space.plan([map(0), map(4)])).toEqual([]);
  });

  it('loses nothing when IOTLB_PERSIST was acknowledged, and everything when that was taken back', () => {
    const space = holding([map(0)]);
    space.apply([acknowledge(PERSIST), reset], [OK, OK]);
    expect(space.lost).toBe(false);
    expect(space.plan([map(0)])).toEqual([]);
    // A request that failed has changed nothing.
    space.apply([acknowledge(0n)], [FAILED]);
    space.apply([reset], [OK]);
    expect(space.lost).toBe(false);
    space.apply([acknowledge(0n), reset], [OK, OK]);
    expect(space.lost).toBe(true);
  });

  it('that failed may have lost them; one that did not run, and any other status, has not', () => {
    const space = holding([map(0)]);
    space.apply([reset, { op: 'setStatus', status: 3 }], [NOT_RUN, OK]);
    expect(space.lost).toBe(false);
    space.apply([reset], [FAILED]);
    expect(space.lost).toBe(true);
  });

  it('is left to the caller who says so', () => {
    const space = holding([map(0)]);
    space.apply([reset], [OK]);
    expect(space.plan([map(0)], { remap: false })).toEqual([]);
    expect(brief(space.plan([map(0)]))).toEqual(['begin', 'unmap 0+1', 'map 0+1', 'end']);
  });

  it('does not concern maps that were made afterwards', () => {
    const space = holding([map(0)]);
    space.apply([reset], [OK]);
    carryOut(space, space.plan([map(0), map(8)], { remap: false }));
    expect(space.lost).toBe(true);
    expect(brief(space.plan([map(0), map(8)]))).toEqual(['begin', 'unmap 0+1', 'map 0+1', 'end']);
    carryOut(space, space.plan([map(8)]));
    expect(space.lost).toBe(false);
  });

  it('ends with the file: a new one has nothing, and nothing acknowledged', () => {
    const space = holding([map(0)]);
    space.apply([acknowledge(PERSIST), reset, { op: 'open', path: '/dev/vhost-vdpa-0' }], [OK, OK, FAILED]);
    expect(space.held).toEqual([map(0)]);
    space.apply([{ op: 'open', path: '/dev/vhost-vdpa-0' }], [OK]);
    expect(space.held).toEqual([]);
    carryOut(space, space.plan([map(0)]));
    space.apply([reset], [OK]);
    expect(space.lost).toBe(true);
  });
});

describe('the mirror', () => {
  const change: readonly IovaMap[] = [map(0), map(8), map(10)];
  const begin: Operation = { op: 'iotlbBatchBegin', asid: 0 };
  const end: Operation = { op: 'iotlbBatchEnd', asid: 0, always: true };
  const planned = () => {
    const space = holding([map(0), map(2), map(4)]);
    return { space, plan: space.plan(change) };
  };

  it('holds what was wanted once all of it ran', () => {
    const { space, plan } = planned();
    carryOut(space, plan);
    expect(space.held).toEqual(change);
  });

  // begin, unmap 2, unmap 4, map 8, map 10, end
  it.each([
    [0, [0, 2, 4]],
    [1, [0, 4]],
    [2, [0]],
    [3, [0]],
    [4, [0, 8]],
    [5, [0, 8, 10]],
  ])('holds what surely is there when operation %d failed', (failed, pages) => {
    const { space, plan } = planned();
    expect(plan).toHaveLength(6);
    const results = plan.map((o, i) => (i === failed ? FAILED : i < failed || o.always ? OK : NOT_RUN));
    space.apply(plan, results);
    expect(space.held).toEqual(pages.map(page => map(page)));
    // And the next plan repairs it: the range of the message that failed is unmapped first, whether it is there or not.
    const repair = space.plan(change);
    const doubtful = plan[failed]!;
    if (doubtful.op === 'iotlbUpdate' || doubtful.op === 'iotlbInvalidate') {
      const { iova, size } = doubtful;
      expect(repair).toContainEqual({ op: 'iotlbInvalidate', asid: 0, iova, size });
    }
    carryOut(space, repair);
    expect(space.held).toEqual(change);
    expect(space.doubtful).toEqual([]);
  });

  it('doubts everything after a map at address 0 failed: the kernel may have dropped all', () => {
    const space = holding([map(2), map(4)]);
    const plan = space.plan([map(0), map(2), map(4)]);
    expect(brief(plan)).toEqual(['map 0+1']);
    space.apply(plan, [FAILED]);
    expect(space.held).toEqual([]);
    expect(space.doubtful.map(({ iova }) => iova / PAGE)).toEqual([0, 2, 4]);
    expect(brief(space.plan([map(2), map(4)]))).toEqual([
      'begin',
      'unmap 0+1',
      'unmap 2+1',
      'unmap 4+1',
      'map 2+1',
      'map 4+1',
      'end',
    ]);
  });

  it('doubts what a failed message touches, and no longer once a map was taken there', () => {
    const space = holding([map(4), map(8)]);
    space.apply([{ op: 'iotlbUpdate', asid: 0, ...map(3, 3) }], [FAILED]);
    expect(space.held).toEqual([map(8)]);
    expect(space.doubtful).toEqual([
      { iova: 3 * PAGE, size: 3 * PAGE },
      { iova: 4 * PAGE, size: PAGE },
    ]);
    space.apply([{ op: 'iotlbUpdate', asid: 0, ...map(4) }], [OK]);
    expect(space.doubtful).toEqual([]);
    expect(space.held).toEqual([map(4), map(8)]);
  });

  it('makes a parent that takes whole tables take its own again when it may have another', () => {
    const space = holding([map(4), map(8)]);
    space.apply([{ op: 'iotlbUpdate', asid: 0, ...map(12) }], [FAILED]);
    expect(space.unsynced).toBe(true);
    carryOut(space, [{ op: 'iotlbInvalidate', asid: 0, iova: 12 * PAGE, size: PAGE }]);
    expect(space.unsynced).toBe(false);
    expect(space.plan([map(4), map(8)])).toEqual([]);
    // The end of a batch is such a message, and one that failed is not.
    space.apply([begin, end], [OK, FAILED]);
    expect(brief(space.plan([map(4), map(8)]))).toEqual(['begin', 'end']);
    expect(brief(space.plan([map(4)]))).toEqual(['begin', 'unmap 8+1', 'end']);
    carryOut(space, space.plan([map(4), map(8)]));
    expect(space.plan([map(4), map(8)])).toEqual([]);
    // Inside a batch nothing reaches it yet.
    space.apply([begin, { op: 'iotlbUpdate', asid: 0, ...map(12) }, end], [OK, FAILED, OK]);
    expect(space.unsynced).toBe(false);
  });

  it('makes the address space before it unmaps what is in doubt: without one the kernel refuses', () => {
    const space = new AddressSpace(0, LIMITS);
    space.apply([{ op: 'iotlbUpdate', asid: 0, ...map(4) }], [FAILED]);
    expect(brief(space.plan([]))).toEqual(['begin', 'unmap 4+1', 'end']);
  });

  it('counts the same results once', () => {
    const space = holding([map(0), map(4)]);
    const plan = space.plan([map(4)]);
    const results = plan.map(() => OK);
    space.apply(plan, results);
    expect(() => space.apply(plan, results)).not.toThrow();
    expect(space.held).toEqual([map(4)]);
  });

  it('takes results that are missing as not run', () => {
    const { space, plan } = planned();
    space.apply(plan, [OK, OK]);
    expect(space.held).toEqual([map(0), map(4)]);
  });

  it('leaves messages for another address space alone', () => {
    const space = holding([map(0)], LIMITS, 1);
    const operations: Operation[] = [
      { op: 'iotlbUpdate', asid: 0, ...map(4) },
      { op: 'iotlbInvalidate', asid: 0, iova: 0, size: PAGE },
    ];
    space.apply(operations, [OK, OK]);
    expect(space.held).toEqual([map(0)]);
  });

  it('survives a reset and ends with the file', () => {
    const space = holding([map(0)]);
    space.apply([{ op: 'setStatus', status: 0 }], [OK]);
    expect(space.held).toEqual([map(0)]);
    space.apply([{ op: 'close' }], [NOT_RUN]);
    expect(space.held).toEqual([map(0)]);
    // Whatever close(2) answers, the file is gone, and with it what was in doubt.
    space.apply([{ op: 'iotlbUpdate', asid: 0, ...map(4) }, { op: 'close' }], [FAILED, FAILED]);
    expect(space.held).toEqual([]);
    expect(space.doubtful).toEqual([]);
    expect(space.plan([])).toEqual([]);
  });

  it('builds on nothing that is not made of whole granules', () => {
    const space = new AddressSpace(0, { ...LIMITS, granule: 4 * PAGE });
    carryOut(space, [{ op: 'iotlbUpdate', asid: 0, ...map(4) }]);
    expect(brief(space.plan([map(4, 4)]))).toEqual(['begin', 'unmap 4+1', 'map 4+4', 'end']);
  });

  it('refuses an unmap that is not exactly a map: the kernel would take the whole entry', () => {
    const space = holding([map(0, 4)]);
    const part: Operation[] = [{ op: 'iotlbInvalidate', asid: 0, iova: 0, size: PAGE }];
    expect(() => space.apply(part, [OK])).toThrow(AddressError);
    expect(() => space.apply(part, [OK])).toThrow('0x0-0xfff (4096 bytes) was unmapped');
    expect(space.held).toEqual([map(0, 4)]);
  });
});

describe('what the kernel would refuse without a reason', () => {
  const refused = (maps: readonly IovaMap[], limits: Partial<IovaLimits> = {}, asid = 0): AddressError => {
    const space = new AddressSpace(asid, { ...LIMITS, ...limits });
    try {
      space.plan(maps);
    } catch (error) {
      expect(error).toBeInstanceOf(AddressError);
      expect(space.held).toEqual([]);
      return error as AddressError;
    }
    expect.unreachable('it was not refused');
  };
  const accepted = (maps: readonly IovaMap[], limits: Partial<IovaLimits> = {}) =>
    expect(new AddressSpace(0, { ...LIMITS, ...limits }).plan(maps)).not.toEqual([]);

  it('an overlap, in whatever order', () => {
    const error = refused([map(6, 2), map(4, 3)]);
    expect(error.code).toBe('ERR_VDPA_ADDRESS');
    expect(error.message).toContain('Map 0x6000-0x7fff overlaps Map 0x4000-0x6fff');
    expect(error.details).toEqual({ iova: 0x6000, size: 0x2000, other: 0x4000 });
    refused([map(4), map(4)]);
    accepted([map(4), map(5)]);
  });

  it.each<[string, Partial<IovaMap>]>([
    ['an address inside a page', { iova: 0x1800 }],
    ['a size that is no whole number of pages', { size: 100 }],
    ['an offset inside a page', { offset: 512 }],
    ['no size', { size: 0 }],
    ['a negative size', { size: -PAGE }],
    ['an address that is no number', { iova: Number.NaN }],
    ['a size without end', { size: Number.POSITIVE_INFINITY }],
  ])('%s', (_what, other) => {
    expect(refused([map(1, 1, other)]).message).toContain('is not made of whole pages of 4096 bytes');
  });

  it('an address below the first', () => {
    const limits = { first: 0x10000n };
    accepted([map(16)], limits);
    const error = refused([map(15)], limits);
    expect(error.message).toContain("outside the device's range 0x10000 to 0xffffffffffffffff");
    expect(error.details).toMatchObject({ iova: 0xf000, size: PAGE });
    refused([map(15, 2)], limits);
  });

  it('an end above the last, which is inclusive', () => {
    accepted([map(15)], { last: 0xffffn });
    accepted([map(0, 16)], { last: 0xffffn });
    refused([map(15, 2)], { last: 0xffffn });
    refused([map(16)], { last: 0xffffn });
    refused([map(15)], { last: 0xfffen });
  });

  it('what ends above 2^53 - 1, even where the device goes to 2^64 - 1', () => {
    const top = 2 ** 53;
    accepted([map(1, 1, { iova: top - PAGE })]);
    expect(refused([map(1, 1, { iova: top })]).message).toContain('ends above 0x1fffffffffffff');
    expect(refused([map(1, 2, { iova: top - PAGE })]).message).toContain('ends above 0x1fffffffffffff');
    refused([map(1, 1, { iova: -PAGE })]);
  });

  it('an address space that does not exist', () => {
    const error = refused([map(0)], {}, 2);
    expect(error.message).toContain('Address space 2 does not exist: the device has 2');
    expect(error.details).toEqual({ asid: 2, asids: 2 });
    // Also when there is nothing to map there.
    refused([], { asids: 0 });
  });

  it('more entries than the kernel takes', () => {
    const maps = Array.from({ length: 5 }, (_, i) => map(2 * i));
    accepted(maps, { maxEntries: 5 });
    const error = refused(maps, { maxEntries: 4 });
    expect(error.message).toContain("5 maps exceed the kernel's cap of 4 (vhost_vdpa.max_iotlb_entries)");
    expect(error.code).toBe('ERR_VDPA_ADDRESS');
    expect(error.details).toMatchObject({ maps: 5, maxEntries: 4 });
    // What can be one entry counts once.
    accepted([map(0), map(1), map(2), map(3), map(5)], { maxEntries: 2 });
  });

  it('more entries than the device takes', () => {
    const maps = [map(0), map(2), map(4)];
    const limits = { maxEntries: 10, deviceMaxEntries: 2, deviceMaxEntriesName: 'vdpa_sim.max_iotlb_entries' };
    accepted(maps.slice(1), limits);
    expect(refused(maps, limits).message).toContain("3 maps exceed the kernel's cap of 2 (vdpa_sim.max_iotlb_entries)");
  });

  it("a reserved window, but for one that is only firmware's", () => {
    const window = { first: 0xfee00000, last: 0xfeefffff };
    const msi = { reserved: [{ ...window, type: 'msi' }] };
    const at = (iova: number, size = PAGE) => [map(0, 1, { iova, size })];
    const error = refused(at(0xfee01000), msi);
    expect(error.message).toContain('Map 0xfee01000-0xfee01fff is on the reserved window 0xfee00000-0xfeefffff (msi)');
    expect(error.details).toMatchObject({ iova: 0xfee01000, type: 'msi' });
    refused(at(0xfedff000, 2 * PAGE), msi);
    refused(at(0xfeeff000), msi);
    refused(at(0, 2 ** 33), msi);
    accepted(at(0xfedff000), msi);
    accepted(at(0xfef00000), msi);
    for (const type of ['direct', 'reserved']) refused(at(0xfee00000), { reserved: [{ ...window, type }] });
    accepted(at(0xfee00000), { reserved: [{ ...window, type: 'direct-relaxable' }] });
  });

  it('what is not made of whole granules, where they are larger than pages', () => {
    accepted([map(4, 4)], { granule: 4 * PAGE });
    for (const bad of [map(5, 4), map(4, 5), map(4, 4, { offset: PAGE })]) {
      expect(refused([bad], { granule: 4 * PAGE }).message).toContain('is not made of whole pages of 16384 bytes');
    }
    for (const granule of [2048, 12288, 0, Number.NaN]) {
      expect(() => new AddressSpace(0, { ...LIMITS, granule })).toThrow(
        expect.objectContaining({ code: 'ERR_VDPA_INVALID_ARGUMENT' }),
      );
    }
  });

  it('a permission there is not', () => {
    expect(refused([map(1, 1, { perm: 'none' as 'ro' })]).message).toContain('has the permission "none"');
  });

  it('an address space that cannot be told from the first', () => {
    const space = new AddressSpace(1, LIMITS);
    space.apply([{ op: 'setBackendFeatures', features: 0x6n }], [OK]);
    expect(() => space.plan([map(0)])).toThrow(/VHOST_BACKEND_F_IOTLB_ASID/);
    space.apply([{ op: 'setBackendFeatures', features: 0xen }], [OK]);
    expect(() => space.plan([map(0)])).not.toThrow();
  });

  it('more memory than may be pinned', () => {
    accepted([map(0, 2), map(4)], { pinnable: () => 3 * PAGE });
    const error = refused([map(0, 2), map(4)], { pinnable: () => 3 * PAGE - 1 });
    expect(error.code).toBe('ERR_VDPA_MEMLOCK');
    expect(error.details).toEqual({ bytes: 3 * PAGE, pinnable: 3 * PAGE - 1 });
    expect(error.message).toContain('ulimit -l');
  });

  it('more memory than may be pinned now: what is held is given back, what others pin meanwhile is not', () => {
    let left = 3 * PAGE;
    const space = holding([map(0, 2)], { ...LIMITS, pinnable: () => left });
    left = PAGE;
    expect(() => space.plan([map(8, 3)])).not.toThrow();
    left = 0;
    expect(() => space.plan([map(8, 3)])).toThrow(expect.objectContaining({ code: 'ERR_VDPA_MEMLOCK' }));
    // What may be there counts as given back: a plan that mends things must not be refused for it.
    space.apply([{ op: 'iotlbUpdate', asid: 0, ...map(12) }], [FAILED]);
    expect(() => space.plan([map(8, 3)])).not.toThrow();
  });
});
