/** A plan as text: columns, batches, sums. */
import { describe, expect, it } from 'vitest';
import { AddressSpace } from '../../lib/iova/address-space.js';
import type { IovaMap } from '../../lib/iova/map.js';
import { formatPlan, planTotals } from '../../lib/iova/print-plan.js';
import type { Operation } from '../../lib/uapi/operation.js';
import { NO_LIMITS } from './iova-support.js';

const GIB = 2 ** 30;
const unmap = (iova: number, size: number): Operation => ({ op: 'iotlbInvalidate', asid: 1, iova, size });
const map = (iova: number, size: number, other: Partial<IovaMap> = {}): Operation => ({
  op: 'iotlbUpdate',
  asid: 1,
  iova,
  size,
  region: 3,
  offset: 0,
  perm: 'rw',
  ...other,
});

const PLAN: readonly Operation[] = [
  { op: 'iotlbBatchBegin', asid: 1 },
  unmap(4 * GIB, 2 * GIB),
  map(0, 0xa0000),
  map(0xf0000, 0x10000, { perm: 'ro', region: 12, offset: 0x20000 }),
  { op: 'iotlbBatchEnd', asid: 1, always: true },
  map(4 * GIB, 128 * GIB, { offset: 3 * GIB }),
];

describe('a plan in print', () => {
  it('has a line for each message, in columns, and the sum', () => {
    expect(formatPlan(PLAN)).toEqual([
      'batch begin  space 1',
      '  unmap  0x0100000000-0x017fffffff    2 GiB',
      '  map    0x0000000000-0x000009ffff  640 KiB  rw  region 3 + 0x0',
      '  map    0x00000f0000-0x00000fffff   64 KiB  ro  region 12 + 0x20000',
      'batch end',
      'map    0x0100000000-0x20ffffffff  128 GiB  rw  region 3 + 0xc0000000',
      '1 unmap of 2 GiB, 3 maps of 128.0 GiB: 6 system calls',
    ]);
  });

  it('says when there is nothing to do, and counts one as one', () => {
    expect(formatPlan(new AddressSpace(0, { ...NO_LIMITS }).plan([]))).toEqual(['nothing to do']);
    expect(formatPlan([unmap(0, 4096), { op: 'setStatus', status: 0 }])).toEqual([
      'unmap  0x000-0xfff  4 KiB',
      '1 unmap of 4 KiB: 1 system call',
    ]);
    expect(formatPlan([PLAN[0]!, PLAN[4]!])).toEqual(['batch begin  space 1', 'batch end', '2 system calls']);
  });

  it('adds up for programs', () => {
    expect(planTotals(PLAN)).toEqual({
      unmaps: 1,
      unmappedBytes: 2 * GIB,
      maps: 3,
      mappedBytes: 128 * GIB + 0xb0000,
      batches: 1,
      calls: 6,
    });
  });
});
