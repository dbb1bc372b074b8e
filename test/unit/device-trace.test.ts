/** What an observer sees, and how an operation is written down. */
import { describe, expect, it } from 'vitest';
import { formatTrace, observe } from '../../lib/device/trace.js';
import type { Operation } from '../../lib/uapi/operation.js';
import { type FakeAnswer, FakeDevice, NOT_RUN, result } from './device-fake.js';

describe('an observed device', () => {
  it('answers as before, and shows every submission once it is done', async () => {
    const inner = new FakeDevice(({ op }) => (op === 'suspend' ? { errno: 95 } : 1));
    const seen: unknown[] = [];
    const device = observe(inner, (operations, results) => seen.push([operations, results]));
    const { signal } = new AbortController();
    const operations: Operation[] = [{ op: 'getStatus' }, { op: 'suspend' }];
    const results = await device.submit(operations, { signal });
    expect(results.map(({ errno }) => errno)).toEqual([0, 95]);
    expect(seen).toEqual([[operations, results]]);
    expect(inner.options).toEqual([{ signal }]);
    expect(device.path).toBe('/dev/fake');
    await device.close();
    expect(inner.closed).toBe(1);
  });
});

describe('a line of a trace', () => {
  it.each<[Operation, FakeAnswer, string]>([
    [{ op: 'setStatus', status: 15 }, undefined, 'VHOST_VDPA_SET_STATUS(status 0xf) = 0'],
    [{ op: 'getStatus' }, 11, 'VHOST_VDPA_GET_STATUS() = 11'],
    [{ op: 'getFeatures' }, 0x308007646n, 'VHOST_GET_FEATURES() = 0x308007646'],
    [{ op: 'getVringBase', index: 2 }, 77, 'VHOST_GET_VRING_BASE(index 2) = 77'],
    [{ op: 'setVringKick', index: 0, fd: -1 }, undefined, 'VHOST_SET_VRING_KICK(index 0, fd -1) = 0'],
    [{ op: 'suspend' }, { errno: 95 }, 'VHOST_VDPA_SUSPEND() = -1 EOPNOTSUPP'],
    [
      { op: 'setVringAddr', index: 0, desc: 0x1000, avail: 0x2000, used: 0x3000 },
      undefined,
      'VHOST_SET_VRING_ADDR(index 0, desc 0x1000, avail 0x2000, used 0x3000) = 0',
    ],
    [
      { op: 'getConfig', offset: 16, length: 8 },
      new Uint8Array(8),
      'VHOST_VDPA_GET_CONFIG(offset 0x10, length 8) = 8 bytes',
    ],
    [
      { op: 'setConfig', offset: 16, bytes: new Uint8Array(2) },
      undefined,
      'VHOST_VDPA_SET_CONFIG(offset 0x10, bytes 2 bytes) = 0',
    ],
    [
      { op: 'getIovaRange' },
      { first: 0n, last: 0xffff_ffff_ffff_ffffn },
      'VHOST_VDPA_GET_IOVA_RANGE() = 0x0-0xffffffffffffffff',
    ],
    [
      { op: 'iotlbUpdate', asid: 0, iova: 0x200000, size: 0x1000, region: 12, offset: 0, perm: 'rw', always: true },
      { errno: 14 },
      'VHOST_IOTLB_UPDATE(asid 0, iova 0x200000, size 0x1000, region 12, offset 0x0, perm rw) = -1 EFAULT',
    ],
  ])('of %o', (operation, answer, line) => {
    expect(formatTrace('/dev/vhost-vdpa-0', operation, result(answer))).toBe(`/dev/vhost-vdpa-0 ${line} <0.002000>`);
  });

  it('tells what was not run', () => {
    expect(formatTrace('soft:blk', { op: 'resume' }, NOT_RUN)).toBe('soft:blk VHOST_VDPA_RESUME() = not run');
  });
});
