/** One address space: what the planner sends, what it refuses and why, and what the mirror holds afterwards. */
import { describe, expect, it } from 'vitest';
import { AddressError } from '../../lib/errors.js';
import { AddressSpace } from '../../lib/iova/address-space.js';
import type { IovaLimits } from '../../lib/iova/limits.js';
import type { IovaMap } from '../../lib/iova/map.js';
import type { Operation, OperationResult } from '../../lib/uapi/operation.js';

const PAGE = 4096;
const EFAULT = 14;
const LIMITS: IovaLimits = {
  first: 0n,
  last: 2n ** 64n - 1n,
  asids: 2,
  maxEntries: undefined,
  pinnable: () => undefined,
};

const map = (page: number, pages = 1, other: Partial<IovaMap> = {}): IovaMap => ({
  iova: page * PAGE,
  size: pages * PAGE,
  region: 1,
  offset: page * PAGE,
  perm: 'rw',
  ...other,
});

const OK: OperationResult = { ran: true, errno: 0, value: undefined, started_ms: 1, duration_ms: 1 };
const FAILED: OperationResult = { ...OK, errno: EFAULT };
const NOT_RUN: OperationResult = { ...OK, ran: false };

/** A space that holds these maps. */
function holding(maps: readonly IovaMap[], limits = LIMITS, asid = 0): AddressSpace {
  const space = new AddressSpace(asid, limits);
  const plan = space.plan(maps);
  space.apply(
    plan,
    plan.map(() => OK),
  );
  return space;
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

  it.each<[string, Partial<IovaMap>]>([
    ['size', { size: 2 * PAGE }],
    ['region', { region: 2 }],
    ['offset', { offset: 0 }],
    ['permission', { perm: 'ro' }],
  ])('replaces a map of another %s', (_what, other) => {
    const plan = holding([map(4)]).plan([map(4, 1, other)]);
    expect(plan.map(({ op }) => op)).toEqual(['iotlbBatchBegin', 'iotlbInvalidate', 'iotlbUpdate', 'iotlbBatchEnd']);
    expect(plan[1]).toMatchObject({ iova: 4 * PAGE, size: PAGE });
    expect(plan[2]).toMatchObject(map(4, 1, other));
  });

  it('sends everything again for a device that lost its maps', () => {
    const plan = holding([map(0), map(4)]).plan([map(0), map(6)], { remap: true });
    expect(plan.map(o => ('iova' in o ? `${o.op} ${o.iova / PAGE}` : o.op))).toEqual([
      'iotlbBatchBegin',
      'iotlbInvalidate 0',
      'iotlbInvalidate 4',
      'iotlbUpdate 0',
      'iotlbUpdate 6',
      'iotlbBatchEnd',
    ]);
  });

  it('changes nothing by itself', () => {
    const space = holding([map(0)]);
    space.plan([map(8)]);
    expect(space.held).toEqual([map(0)]);
  });
});

describe('the mirror', () => {
  const change: readonly IovaMap[] = [map(0), map(8), map(10)];
  const planned = () => {
    const space = holding([map(0), map(2), map(4)]);
    return { space, plan: space.plan(change) };
  };

  it('holds what was wanted once all of it ran', () => {
    const { space, plan } = planned();
    space.apply(
      plan,
      plan.map(() => OK),
    );
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
    space.apply(
      repair,
      repair.map(() => OK),
    );
    expect(space.held).toEqual(change);
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
    expect(space.plan([])).toEqual([]);
  });

  it('refuses an unmap that is not exactly a map: the kernel would take the whole entry', () => {
    const space = holding([map(0, 4)]);
    const part: Operation[] = [{ op: 'iotlbInvalidate', asid: 0, iova: 0, size: PAGE }];
    expect(() => space.apply(part, [OK])).toThrow(AddressError);
    expect(() => space.apply(part, [OK])).toThrow('0x0 (4096 bytes) was unmapped');
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
    expect(new AddressSpace(0, { ...LIMITS, ...limits }).plan(maps)).toHaveLength(maps.length + 2);

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
  });
});
