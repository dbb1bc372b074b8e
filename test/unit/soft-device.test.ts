/** The soft device in its own thread, behind the same waist as the kernel's; like every worker it runs the built library. */
import { readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import {
  acknowledged,
  type BlockDevice,
  type Device,
  DiskAccess,
  type Operation,
  observe,
  openBlockDevice,
  openDevice,
  run,
} from '../../dist/index.js';

const EPROTO = 71;
const EBUSY = 16;
const BLOCK = 4096;

const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const device of open.splice(0)) await device.close();
});
async function openSoft(reference = 'soft:blk'): Promise<Device> {
  const device = await openDevice(reference);
  open.push(device);
  return device;
}
async function openBlock(...args: Parameters<typeof openBlockDevice>): Promise<BlockDevice> {
  const block = await openBlockDevice(...args);
  open.push(block.device);
  return block;
}

const outcomes = (results: readonly { ran: boolean; errno: number }[]) =>
  results.map(({ ran, errno }) => (ran ? errno : 'not run'));

describe('a submission', () => {
  it('runs in order, stops at the first failure, and runs what is to run always', async () => {
    const device = await openSoft();
    const results = await device.submit([
      { op: 'getDeviceId' },
      { op: 'setOwner' },
      { op: 'getVqsCount' },
      { op: 'setStatus', status: 0, always: true },
    ]);
    expect(outcomes(results)).toEqual([0, EBUSY, 'not run', 0]);
    expect(results[0].value).toBe(2);
    expect(results[2]).toEqual({ ran: false, errno: 0, value: undefined, started_ms: 0, duration_ms: 0 });
  });

  it('is timed in chained stamps of the monotonic clock', async () => {
    const device = await openSoft();
    const before = Number(process.hrtime.bigint()) / 1e6;
    const results = await device.submit(Array(5).fill({ op: 'getStatus' }));
    const after = Number(process.hrtime.bigint()) / 1e6;
    expect(results[0].started_ms).toBeGreaterThan(before);
    for (const [i, { started_ms, duration_ms }] of results.entries()) {
      const end = results[i + 1]?.started_ms ?? after;
      if (i < 4) expect(started_ms + duration_ms).toBeCloseTo(end, 5);
      else expect(started_ms + duration_ms).toBeLessThan(end);
    }
  });

  it.each<[Operation, number]>([
    [{ op: 'getStatus', expect: { mask: 0xff, equals: 0 } }, 0],
    [{ op: 'getStatus', expect: { mask: 0xff, equals: 1 } }, EPROTO],
    [{ op: 'getVringNum', expect: { mask: 0x0ff, equals: 0 } }, 0],
    [{ op: 'getVringNum', expect: { mask: 0x1ff, equals: 0 } }, EPROTO],
    [{ op: 'getFeatures', expect: { mask: 0xffff_ffff, equals: 0x246 } }, 0],
    [{ op: 'getForkFromOwner', expect: { mask: 0xffff_fffe, equals: 0 } }, 0],
  ])('with %o answers %d', async (operation, errno) => {
    const device = await openSoft();
    expect(outcomes(await device.submit([operation, { op: 'getStatus' }]))).toEqual([errno, errno ? 'not run' : 0]);
  });

  it('compares all 32 bits of what it expects', async () => {
    const device = await openSoft();
    const base: Operation = { op: 'setVringBusyloopTimeout', index: 0, num: 0x8000_0001 };
    const check: Operation = {
      op: 'getVringBusyloopTimeout',
      index: 0,
      expect: { mask: 0xffff_ffff, equals: 0x8000_0001 },
    };
    expect(outcomes(await device.submit([base, check]))).toEqual([0, 0]);
  });

  it('that was cancelled runs only what is to run always', async () => {
    const device = await openSoft();
    const operations: Operation[] = [{ op: 'getStatus' }, { op: 'setStatus', status: 0, always: true }];
    const results = await device.submit(operations, { signal: AbortSignal.abort() });
    expect(outcomes(results)).toEqual(['not run', 0]);
  });

  it('of nothing has no results', async () => {
    expect(await (await openSoft()).submit([])).toEqual([]);
  });
});

describe('closing', () => {
  it('happens once, after what was submitted, and ends everything', async () => {
    const device = await openSoft();
    const last = device.submit([{ op: 'getDeviceId' }]);
    const closing = device.close();
    expect(device.close()).toBe(closing);
    await closing;
    expect((await last)[0].value).toBe(2);
    await expect(device.submit([{ op: 'getStatus' }])).rejects.toThrow(
      expect.objectContaining({ code: 'ERR_VDPA_CLOSED' }),
    );
  });
});

describe('opening', () => {
  it.each([
    ['soft:net', 'ERR_VDPA_NO_DEVICE'],
    ['soft:blk?size=1', 'ERR_VDPA_INVALID_ARGUMENT'],
    ['/nowhere/vhost-vdpa-0', 'ERR_VDPA_NO_DEVICE'],
    ['/dev', 'ERR_VDPA_NOT_VHOST_VDPA'],
    ['/dev/null', 'ERR_VDPA_NOT_VHOST_VDPA'],
    ['nosuchdevice', 'ERR_VDPA_NO_DEVICE'],
  ])('%s fails with %s', async (reference, code) => {
    await expect(openDevice(reference)).rejects.toThrow(expect.objectContaining({ code }));
  });

  it('makes the caller the owner', async () => {
    const device = await openSoft();
    expect(outcomes(await device.submit([{ op: 'setOwner' }]))).toEqual([EBUSY]);
  });
});

describe('a block device', () => {
  it('is described and negotiated', async () => {
    const block = await openBlock('soft:blk?capacity=1M&disk=described');
    expect(block).toMatchObject({
      // VERSION_1, ACCESS_PLATFORM, SIZE_MAX, SEG_MAX, BLK_SIZE and FLUSH.
      features: 0x3_0000_0246n,
      backendFeatures: 0x13en,
      capacity: 2 ** 20,
      readOnly: false,
      limits: { first: 0n, last: 2n ** 64n - 1n, asids: 1, maxEntries: undefined, pinnable: expect.any(Function) },
    });
    expect(acknowledged(block)).toEqual([
      'IOTLB_MSG_V2',
      'IOTLB_BATCH',
      'IOTLB_ASID',
      'SUSPEND',
      'RESUME',
      'IOTLB_PERSIST',
    ]);
  });

  it('does not acknowledge what it is told not to', async () => {
    const block = await openBlock('soft:blk', { withoutBackendFeatures: 1n << 8n });
    expect(block.backendFeatures).toBe(0x3en);
  });

  it('lets a wrapper see everything from the start', async () => {
    const seen: string[] = [];
    await openBlock('soft:blk', { wrap: device => observe(device, list => seen.push(...list.map(({ op }) => op))) });
    expect(seen).toContain('getConfig');
  });

  /** The soft device with one answer changed. */
  const answering = (op: Operation['op'], value: number | bigint, closed: string[]) => (device: Device) => ({
    path: device.path,
    close: () => {
      closed.push(device.path);
      return device.close();
    },
    submit: async (...args: Parameters<Device['submit']>) => {
      const results = await device.submit(...args);
      return results.map((result, i) => (args[0][i].op === op ? { ...result, value } : result));
    },
  });

  it.each<[string, Operation['op'], number | bigint, RegExp]>([
    ['another type', 'getDeviceId', 1, /is a .*net.* device; this needs a block device/i],
    ['no VERSION_1', 'getFeatures', 0x2_0000_0246n, /VIRTIO_F_VERSION_1/],
  ])('of %s is refused and closed', async (_what, op, value, message) => {
    const closed: string[] = [];
    await expect(openBlockDevice('soft:blk', { wrap: answering(op, value, closed) })).rejects.toThrow(
      expect.objectContaining({ code: 'ERR_VDPA_UNSUPPORTED', message: expect.stringMatching(message) }),
    );
    expect(closed).toEqual(['soft:blk']);
  });

  it('negotiates no feature that our guest does not know, and sees a read-only disk', async () => {
    const all = 0xffff_ffff_ffff_ffffn;
    const block = await openBlock('soft:blk', { wrap: answering('getFeatures', all, []) });
    expect(block.features).toBe(0x3_0000_0266n);
    expect(block.readOnly).toBe(true);
  });
});

describe('a disk', () => {
  const pattern = (seed: number) => Uint8Array.from({ length: BLOCK }, (_, i) => (seed + i * 7) % 256);
  const writeTo = (block: BlockDevice, at: number, data: Uint8Array) =>
    DiskAccess.use(block, disk => disk.write(at, data));
  const readFrom = (block: BlockDevice, at: number) => DiskAccess.use(block, disk => disk.read(at));

  it('is shared by devices that name it, and by no others', async () => {
    const first = await openBlock('soft:blk?disk=shared');
    const second = await openBlock('soft:blk?disk=shared&latency=1ms');
    const other = await openBlock('soft:blk?disk=apart');
    await writeTo(first, 5, pattern(1));
    expect(await readFrom(second, 5)).toEqual(pattern(1));
    expect(await readFrom(other, 5)).toEqual(new Uint8Array(BLOCK));
  });

  it('lives as long as a device uses it', async () => {
    const first = await openBlock('soft:blk?disk=kept');
    const second = await openBlock('soft:blk?disk=kept');
    await writeTo(first, 0, pattern(9));
    await first.device.close();
    expect(await readFrom(second, 0)).toEqual(pattern(9));
    const third = await openBlock('soft:blk?disk=kept');
    expect(await readFrom(third, 0)).toEqual(pattern(9));
    await second.device.close();
    await third.device.close();
    expect(await readFrom(await openBlock('soft:blk?disk=kept'), 0)).toEqual(new Uint8Array(BLOCK));
  });

  it('that is in use cannot be larger for another device', async () => {
    await openBlock('soft:blk?disk=small&capacity=1M');
    await expect(openDevice('soft:blk?disk=small&capacity=2M')).rejects.toThrow(
      expect.objectContaining({ code: 'ERR_VDPA_INVALID_ARGUMENT' }),
    );
    expect((await openBlock('soft:blk?disk=small&capacity=512K')).capacity).toBe(2 ** 19);
  });

  it('outlives resets with and without IOTLB_PERSIST, and access after access works', async () => {
    for (const reference of ['soft:blk?disk=resets', 'soft:blk?disk=resets&persist=off']) {
      const block = await openBlock(reference);
      await writeTo(block, 3, pattern(3));
      expect(await readFrom(block, 3)).toEqual(pattern(3));
      await run(block.device, [{ op: 'getStatus', expect: { mask: 0xff, equals: 0 } }]);
    }
  });

  it('answers what lies beyond its end with an error', async () => {
    const block = await openBlock('soft:blk?disk=end&capacity=64K');
    expect(await readFrom(block, 15)).toEqual(new Uint8Array(BLOCK));
    await expect(readFrom(block, 16)).rejects.toThrow(
      expect.objectContaining({ code: 'ERR_VDPA_OPERATION', details: { block: 16, type: 0, status: 1 } }),
    );
  });

  it('takes its time when it has a latency', async () => {
    const block = await openBlock('soft:blk?disk=slow&latency=30ms');
    await DiskAccess.use(block, async disk => {
      const start = performance.now();
      await Promise.all([disk.read(0), sleep(1)]);
      expect(performance.now() - start).toBeGreaterThanOrEqual(30);
    });
  });
});

it('gives back every file descriptor when it is closed', async () => {
  const cycle = async () => (await openDevice('soft:blk')).close();
  const descriptors = () => readdirSync('/proc/self/fd').length;
  await cycle();
  const before = descriptors();
  for (let i = 0; i < 10; i++) await cycle();
  // Fewer is fine: a thread may still have been ending.
  await expect.poll(descriptors).toBeLessThanOrEqual(before);
});
