/**
 * Operations as the bytes of a batch (native/batch.h) whose arguments are the structs of linux/vhost.h: every literal here
 * was typed from those headers, not from the codec.
 */
import { describe, expect, it } from 'vitest';
import { decodeBatch, encodeBatch, opcodesOf } from '../../lib/device/kernel/codec.js';
import { KernelDevice } from '../../lib/device/kernel/kernel-device.js';
import { MemoryRegion } from '../../lib/memory/region.js';
import { native } from '../../lib/native.js';
import type { Operation, OperationValue } from '../../lib/uapi/operation.js';
import { REQUESTS } from '../../lib/uapi/requests.js';

const HEADER = 48;
const REQUEST_NAMES = native()
  .requests()
  .map(({ name }) => name);
const OPCODES = opcodesOf(native().requests());

const bytes = (hex: string) => Uint8Array.from(hex.match(/[0-9a-f]{2}/g) ?? [], pair => Number.parseInt(pair, 16));
const zeroes = (length: number) => '00'.repeat(length);

/** Every operation, its request, and its argument as the kernel (or native/batch.h, for IOTLB messages) lays it out. */
const ENCODED: readonly [Operation, string, string][] = [
  [{ op: 'open', path: '/dev/x' }, 'open', '2f 64 65 76 2f 78 00'],
  [{ op: 'close' }, 'close', ''],
  [{ op: 'setOwner' }, 'VHOST_SET_OWNER', ''],
  [{ op: 'resetOwner' }, 'VHOST_RESET_OWNER', ''],
  [{ op: 'suspend' }, 'VHOST_VDPA_SUSPEND', ''],
  [{ op: 'resume' }, 'VHOST_VDPA_RESUME', ''],
  [{ op: 'getFeatures' }, 'VHOST_GET_FEATURES', zeroes(8)],
  [{ op: 'getBackendFeatures' }, 'VHOST_GET_BACKEND_FEATURES', zeroes(8)],
  [{ op: 'getDeviceId' }, 'VHOST_VDPA_GET_DEVICE_ID', zeroes(4)],
  [{ op: 'getStatus' }, 'VHOST_VDPA_GET_STATUS', zeroes(1)],
  [{ op: 'getVringNum' }, 'VHOST_VDPA_GET_VRING_NUM', zeroes(2)],
  [{ op: 'getConfigSize' }, 'VHOST_VDPA_GET_CONFIG_SIZE', zeroes(4)],
  [{ op: 'getAsNum' }, 'VHOST_VDPA_GET_AS_NUM', zeroes(4)],
  [{ op: 'getVqsCount' }, 'VHOST_VDPA_GET_VQS_COUNT', zeroes(4)],
  [{ op: 'getGroupNum' }, 'VHOST_VDPA_GET_GROUP_NUM', zeroes(4)],
  [{ op: 'getForkFromOwner' }, 'VHOST_GET_FORK_FROM_OWNER', zeroes(1)],
  [{ op: 'getIovaRange' }, 'VHOST_VDPA_GET_IOVA_RANGE', zeroes(16)],
  [{ op: 'setFeatures', features: 0x8877665544332211n }, 'VHOST_SET_FEATURES', '11 22 33 44 55 66 77 88'],
  [{ op: 'setBackendFeatures', features: 0x17en }, 'VHOST_SET_BACKEND_FEATURES', '7e 01 00 00 00 00 00 00'],
  [{ op: 'setStatus', status: 0x0b }, 'VHOST_VDPA_SET_STATUS', '0b'],
  [{ op: 'setForkFromOwner', value: 1 }, 'VHOST_SET_FORK_FROM_OWNER', '01'],
  [{ op: 'setConfigCall', fd: -1 }, 'VHOST_VDPA_SET_CONFIG_CALL', 'ff ff ff ff'],
  [{ op: 'setLogFd', fd: 7 }, 'VHOST_SET_LOG_FD', '07 00 00 00'],
  [{ op: 'setLogBase', base: 0x12_3456_789a }, 'VHOST_SET_LOG_BASE', '9a 78 56 34 12 00 00 00'],
  [{ op: 'setMemTable' }, 'VHOST_SET_MEM_TABLE', zeroes(8)],
  // struct vhost_vdpa_config: u32 off, u32 len, u8 buf[].
  [{ op: 'getConfig', offset: 0x14, length: 3 }, 'VHOST_VDPA_GET_CONFIG', '14 00 00 00 03 00 00 00 00 00 00'],
  [
    { op: 'setConfig', offset: 0x20, bytes: Uint8Array.of(0xaa, 0xbb) },
    'VHOST_VDPA_SET_CONFIG',
    '20 00 00 00 02 00 00 00 aa bb',
  ],
  // struct vhost_vring_state: u32 index, u32 num.
  [{ op: 'getVringBase', index: 2 }, 'VHOST_GET_VRING_BASE', '02 00 00 00 00 00 00 00'],
  [{ op: 'getVringGroup', index: 2 }, 'VHOST_VDPA_GET_VRING_GROUP', '02 00 00 00 00 00 00 00'],
  [{ op: 'getVringDescGroup', index: 2 }, 'VHOST_VDPA_GET_VRING_DESC_GROUP', '02 00 00 00 00 00 00 00'],
  [{ op: 'getVringSize', index: 2 }, 'VHOST_VDPA_GET_VRING_SIZE', '02 00 00 00 00 00 00 00'],
  [{ op: 'getVringEndian', index: 2 }, 'VHOST_GET_VRING_ENDIAN', '02 00 00 00 00 00 00 00'],
  [{ op: 'getVringBusyloopTimeout', index: 2 }, 'VHOST_GET_VRING_BUSYLOOP_TIMEOUT', '02 00 00 00 00 00 00 00'],
  [{ op: 'setVringNum', index: 1, num: 256 }, 'VHOST_SET_VRING_NUM', '01 00 00 00 00 01 00 00'],
  [{ op: 'setVringBase', index: 1, num: 0x80038005 }, 'VHOST_SET_VRING_BASE', '01 00 00 00 05 80 03 80'],
  [{ op: 'setVringEnable', index: 1, num: 1 }, 'VHOST_VDPA_SET_VRING_ENABLE', '01 00 00 00 01 00 00 00'],
  [{ op: 'setVringEndian', index: 1, num: 1 }, 'VHOST_SET_VRING_ENDIAN', '01 00 00 00 01 00 00 00'],
  [{ op: 'setVringBusyloopTimeout', index: 1, num: 50 }, 'VHOST_SET_VRING_BUSYLOOP_TIMEOUT', '01 00 00 00 32 00 00 00'],
  [{ op: 'setGroupAsid', group: 3, asid: 1 }, 'VHOST_VDPA_SET_GROUP_ASID', '03 00 00 00 01 00 00 00'],
  // struct vhost_vring_file: u32 index, s32 fd.
  [{ op: 'setVringKick', index: 1, fd: 17 }, 'VHOST_SET_VRING_KICK', '01 00 00 00 11 00 00 00'],
  [{ op: 'setVringCall', index: 1, fd: -1 }, 'VHOST_SET_VRING_CALL', '01 00 00 00 ff ff ff ff'],
  [{ op: 'setVringErr', index: 1, fd: 18 }, 'VHOST_SET_VRING_ERR', '01 00 00 00 12 00 00 00'],
  // struct vhost_vring_addr: u32 index, u32 flags, u64 desc_user_addr, used_user_addr, avail_user_addr, log_guest_addr.
  [
    { op: 'setVringAddr', index: 1, desc: 0x1f_ffff_ffff_f000, avail: 0x2000_0000_0000, used: 0x30_0000 },
    'VHOST_SET_VRING_ADDR',
    `01 00 00 00 00 00 00 00
     00 f0 ff ff ff ff 1f 00
     00 00 30 00 00 00 00 00
     00 00 00 00 00 20 00 00
     00 00 00 00 00 00 00 00`,
  ],
  // IotlbArgument: u64 iova, u64 size, u64 offset, u32 asid, u32 region, u8 perm, 7 bytes of padding.
  ...(['ro', 'wo', 'rw'] as const).map((perm, i): [Operation, string, string] => [
    { op: 'iotlbUpdate', asid: 1, iova: 0x1_0000_0000, size: 0x20_0000, region: 0x0102_0309, offset: 0x3000, perm },
    'VHOST_IOTLB_UPDATE',
    `00 00 00 00 01 00 00 00  00 00 20 00 00 00 00 00  00 30 00 00 00 00 00 00
     01 00 00 00 09 03 02 01  0${1 + i} 00 00 00 00 00 00 00`,
  ]),
  [
    { op: 'iotlbInvalidate', asid: 1, iova: 0x1000, size: 0x2000 },
    'VHOST_IOTLB_INVALIDATE',
    `00 10 00 00 00 00 00 00  00 20 00 00 00 00 00 00 ${zeroes(8)} 01 00 00 00 ${zeroes(12)}`,
  ],
  [{ op: 'iotlbBatchBegin', asid: 1 }, 'VHOST_IOTLB_BATCH_BEGIN', `${zeroes(24)} 01 00 00 00 ${zeroes(12)}`],
  [{ op: 'iotlbBatchEnd', asid: 1 }, 'VHOST_IOTLB_BATCH_END', `${zeroes(24)} 01 00 00 00 ${zeroes(12)}`],
];

describe('encoding', () => {
  it('is tried for every operation', () => {
    expect(new Set(ENCODED.map(([{ op }]) => op))).toEqual(new Set(Object.keys(REQUESTS)));
  });

  it.each(ENCODED)('%o is %s', (operation, request, argument) => {
    const batch = encodeBatch([operation], OPCODES);
    const view = new DataView(batch.buffer);
    const expected = bytes(argument);
    expect(REQUEST_NAMES[view.getUint32(0, true)]).toBe(request);
    expect(view.getUint32(8, true)).toBe(expected.length);
    expect(batch.slice(HEADER, HEADER + expected.length)).toEqual(expected);
    expect(batch.length).toBe(HEADER + Math.ceil(expected.length / 8) * 8);
  });

  it('writes the header that native/batch.h tells', () => {
    const operation: Operation = { op: 'getStatus', always: true, expect: { mask: 0xfe, equals: 0x0a } };
    const opcode = REQUEST_NAMES.indexOf('VHOST_VDPA_GET_STATUS');
    const header = new DataView(new ArrayBuffer(HEADER));
    header.setUint32(0, opcode, true);
    header.setUint32(4, 3, true);
    header.setUint32(8, 1, true);
    header.setUint32(40, 0xfe, true);
    header.setUint32(44, 0x0a, true);
    expect(encodeBatch([operation], OPCODES).slice(0, HEADER)).toEqual(new Uint8Array(header.buffer));
  });

  it.each<[Operation, number]>([
    [{ op: 'suspend' }, 0],
    [{ op: 'suspend', always: true }, 1],
    [{ op: 'suspend', always: false }, 0],
    [{ op: 'getStatus', expect: { mask: 0, equals: 0 } }, 2],
  ])('flags %o as %d', (operation, flags) => {
    expect(new DataView(encodeBatch([operation], OPCODES).buffer).getUint32(4, true)).toBe(flags);
  });

  it('puts entry after entry, each padded to 8 bytes', () => {
    const operations: Operation[] = [
      { op: 'setStatus', status: 1 },
      { op: 'suspend' },
      { op: 'getVringNum' },
      { op: 'setFeatures', features: 5n },
    ];
    const batch = encodeBatch(operations, OPCODES);
    const single = operations.map(operation => Buffer.from(encodeBatch([operation], OPCODES)));
    expect(Buffer.from(batch)).toEqual(Buffer.concat(single));
    expect(single.map(entry => entry.length)).toEqual([56, 48, 56, 56]);
  });

  it('says so when the addon lacks a request', () => {
    const older = opcodesOf(
      native()
        .requests()
        .filter(({ name }) => name !== 'VHOST_VDPA_RESUME'),
    );
    expect(() => encodeBatch([{ op: 'resume' }], older)).toThrow(expect.objectContaining({ code: 'ERR_VDPA_ADDON' }));
  });
});

/** A finished batch: the argument of each entry as the kernel left it. */
function finished(
  operations: readonly Operation[],
  entries: readonly { errno?: number; ran?: number; hex?: string }[],
) {
  const batch = encodeBatch(operations, OPCODES);
  const view = new DataView(batch.buffer);
  let at = 0;
  for (const [i, { errno = 0, ran = 1, hex = '' }] of entries.entries()) {
    view.setInt32(at + 12, errno, true);
    view.setUint32(at + 16, ran, true);
    if (ran) {
      view.setBigUint64(at + 24, 5_000_000n + BigInt(i) * 1_500_000n, true);
      view.setBigUint64(at + 32, 6_500_000n + BigInt(i) * 1_500_000n, true);
    }
    batch.set(bytes(hex), at + HEADER);
    at += HEADER + Math.ceil(view.getUint32(at + 8, true) / 8) * 8;
  }
  return batch;
}

describe('decoding', () => {
  const DECODED: readonly [Operation, string, OperationValue][] = [
    [{ op: 'getFeatures' }, '46 76 00 08 03 00 00 80', 0x8000000308007646n],
    [{ op: 'getBackendFeatures' }, '7e 01 00 00 00 00 00 00', 0x17en],
    [{ op: 'getDeviceId' }, '02 00 00 80', 0x80000002],
    [{ op: 'getStatus' }, '8f', 0x8f],
    [{ op: 'getForkFromOwner' }, '01', 1],
    [{ op: 'getVringNum' }, '00 81', 0x8100],
    [{ op: 'getConfigSize' }, '60 01 00 00', 0x160],
    [{ op: 'getAsNum' }, '02 00 00 00', 2],
    [{ op: 'getVqsCount' }, '03 00 00 00', 3],
    [{ op: 'getGroupNum' }, '04 00 00 00', 4],
    [{ op: 'getVringBase', index: 1 }, '01 00 00 00 05 80 03 80', 0x80038005],
    [{ op: 'getVringGroup', index: 1 }, '01 00 00 00 02 00 00 00', 2],
    [{ op: 'getVringDescGroup', index: 1 }, '01 00 00 00 03 00 00 00', 3],
    [{ op: 'getVringSize', index: 1 }, '01 00 00 00 00 01 00 00', 256],
    [{ op: 'getVringEndian', index: 1 }, '01 00 00 00 01 00 00 00', 1],
    [{ op: 'getVringBusyloopTimeout', index: 1 }, '01 00 00 00 32 00 00 00', 50],
    [
      { op: 'getIovaRange' },
      '00 10 00 00 00 00 00 00 ff ff ff ff ff ff ff ff',
      { first: 0x1000n, last: 0xffffffffffffffffn },
    ],
    [{ op: 'getConfig', offset: 4, length: 3 }, '04 00 00 00 03 00 00 00 aa bb cc', Uint8Array.of(0xaa, 0xbb, 0xcc)],
  ];

  it('is tried for every operation that reads', () => {
    const getters = Object.keys(REQUESTS).filter(op => op.startsWith('get'));
    expect(DECODED.map(([{ op }]) => op).sort()).toEqual(getters.sort());
  });

  it.each(DECODED)('%o of %s is %s', (operation, hex, value) => {
    expect(decodeBatch([operation], finished([operation], [{ hex }]))[0].value).toEqual(value);
  });

  it('gives what sets something no value', () => {
    for (const [operation] of ENCODED.filter(([{ op }]) => !op.startsWith('get'))) {
      expect(decodeBatch([operation], finished([operation], [{}]))[0].value).toBeUndefined();
    }
  });

  it('tells errno, whether it ran, and the times in milliseconds', () => {
    const operations: Operation[] = [{ op: 'getStatus' }, { op: 'suspend' }, { op: 'getVringNum' }];
    const results = decodeBatch(operations, finished(operations, [{ hex: '0f' }, { errno: 95 }, { ran: 0 }]));
    expect(results).toEqual([
      { ran: true, errno: 0, value: 15, started_ms: 5, duration_ms: 1.5 },
      { ran: true, errno: 95, value: undefined, started_ms: 6.5, duration_ms: 1.5 },
      { ran: false, errno: 0, value: undefined, started_ms: 0, duration_ms: 0 },
    ]);
  });

  it('copies config out of the batch, and reads a batch that is a part of a larger buffer', () => {
    const operation: Operation = { op: 'getConfig', offset: 0, length: 1 };
    const batch = finished([operation], [{ hex: '00 00 00 00 01 00 00 00 2a' }]);
    const larger = new Uint8Array(batch.length + 8);
    larger.set(batch, 8);
    const [{ value }] = decodeBatch([operation], larger.subarray(8));
    larger.fill(0);
    expect(value).toEqual(Uint8Array.of(42));
  });
});

describe('the kernel device', () => {
  const ENOTTY = 25;
  const NOTHING_OPEN = 9;

  it('takes every operation through the addon to a file that is no vhost-vdpa device', async () => {
    const region = MemoryRegion.create('null', 0x20_4000);
    const device = new KernelDevice('/dev/null');
    const ioctls = ENCODED.map(([operation]) => operation).filter(({ op }) => REQUESTS[op].number !== 0);
    const messages: Operation[] = [
      { op: 'iotlbBatchBegin', asid: 0 },
      { op: 'iotlbUpdate', asid: 0, iova: 0, size: 0x20_0000, region: region.id, offset: 0x4000, perm: 'rw' },
      { op: 'iotlbInvalidate', asid: 0, iova: 0, size: 0x20_0000 },
      { op: 'iotlbBatchEnd', asid: 0 },
    ];
    const [opened, ...written] = await device.submit([{ op: 'open', path: '/dev/null' }, ...messages]);
    expect([opened, ...written].map(({ ran, errno }) => [ran, errno])).toEqual(Array(5).fill([true, 0]));
    const refused = await device.submit(ioctls.map(operation => ({ ...operation, always: true })));
    expect(refused.map(({ ran, errno }) => [ran, errno])).toEqual(ioctls.map(() => [true, ENOTTY]));
    for (const { started_ms, duration_ms } of refused) {
      expect(started_ms).toBeGreaterThanOrEqual(opened.started_ms);
      expect(duration_ms).toBeGreaterThanOrEqual(0);
    }
    await device.close();
    region.close();
  });

  it('stops at the first failure, save what is to run always', async () => {
    const device = new KernelDevice('/dev/null');
    const results = await device.submit([
      { op: 'open', path: '/dev/null' },
      { op: 'suspend' },
      { op: 'iotlbBatchBegin', asid: 0 },
      { op: 'iotlbBatchEnd', asid: 0, always: true },
      { op: 'close', always: true },
    ]);
    expect(results.map(({ ran, errno }) => (ran ? errno : 'not run'))).toEqual([0, ENOTTY, 'not run', 0, 0]);
    await device.close();
  });

  it('answers for a file that is not there, or not open', async () => {
    const device = new KernelDevice('/nowhere');
    expect(await device.submit([{ op: 'open', path: '/nowhere' }])).toMatchObject([{ ran: true, errno: 2 }]);
    expect(await device.submit([{ op: 'getStatus' }])).toMatchObject([{ ran: true, errno: NOTHING_OPEN }]);
    await device.close();
  });

  it('has nothing to do for no operations', async () => {
    const device = new KernelDevice('/dev/null');
    expect(await device.submit([])).toEqual([]);
    await device.close();
  });

  it('refuses what is malformed before anything runs', async () => {
    const device = new KernelDevice('/dev/null');
    const map: Operation = { op: 'iotlbUpdate', asid: 0, iova: 0, size: 4096, region: 999_999, offset: 0, perm: 'rw' };
    await expect(device.submit([{ op: 'open', path: '/dev/null' }, map])).rejects.toThrow(
      expect.objectContaining({ code: 'ERR_VDPA_INVALID_ARGUMENT', details: { errno: 22 } }),
    );
    expect(await device.submit([{ op: 'close' }])).toMatchObject([{ errno: NOTHING_OPEN }]);
    await device.close();
  });

  it('runs only what is to run always once it was cancelled', async () => {
    const device = new KernelDevice('/dev/null');
    const results = await device.submit(
      [
        { op: 'open', path: '/dev/null' },
        { op: 'close', always: true },
      ],
      { signal: AbortSignal.abort() },
    );
    expect(results.map(({ ran, errno }) => (ran ? errno : 'not run'))).toEqual(['not run', NOTHING_OPEN]);
    expect(await device.submit([{ op: 'suspend' }], { signal: AbortSignal.abort() })).toMatchObject([{ ran: false }]);
    await device.close();
  });

  it('closes once, after what was submitted before, and takes nothing afterwards', async () => {
    const device = new KernelDevice('/dev/null');
    const opening = device.submit([{ op: 'open', path: '/dev/null' }]);
    const closing = device.close();
    expect(device.close()).toBe(closing);
    await closing;
    expect(await opening).toMatchObject([{ ran: true, errno: 0 }]);
    await expect(device.submit([{ op: 'getStatus' }])).rejects.toThrow(
      expect.objectContaining({ code: 'ERR_VDPA_CLOSED' }),
    );
  });
});
