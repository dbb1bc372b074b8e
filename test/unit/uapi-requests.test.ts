/** Golden test: every request of the vhost-vdpa interface against literals, in the library's table and in the addon's. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { native } from '../../lib/native.js';
import type { OperationName } from '../../lib/uapi/operation.js';
import { type Direction, ioc, operationOf, REQUESTS, requestOf } from '../../lib/uapi/requests.js';

const OWNER = true;

// Operation, kernel name, number and argument size as a compiler prints them from linux/vhost.h, and whether it needs the owner.
const GOLDEN: readonly [OperationName, string, number, number, boolean?][] = [
  ['open', 'open', 0, 0],
  ['close', 'close', 0, 0],
  ['getFeatures', 'VHOST_GET_FEATURES', 0x8008af00, 8],
  ['setFeatures', 'VHOST_SET_FEATURES', 0x4008af00, 8],
  ['setOwner', 'VHOST_SET_OWNER', 0xaf01, 0],
  ['resetOwner', 'VHOST_RESET_OWNER', 0xaf02, 0, OWNER],
  ['setMemTable', 'VHOST_SET_MEM_TABLE', 0x4008af03, 8, OWNER],
  ['setLogBase', 'VHOST_SET_LOG_BASE', 0x4008af04, 8],
  ['setLogFd', 'VHOST_SET_LOG_FD', 0x4004af07, 4],
  ['setVringNum', 'VHOST_SET_VRING_NUM', 0x4008af10, 8, OWNER],
  ['setVringAddr', 'VHOST_SET_VRING_ADDR', 0x4028af11, 40, OWNER],
  ['setVringBase', 'VHOST_SET_VRING_BASE', 0x4008af12, 8, OWNER],
  ['getVringBase', 'VHOST_GET_VRING_BASE', 0xc008af12, 8, OWNER],
  ['setVringEndian', 'VHOST_SET_VRING_ENDIAN', 0x4008af13, 8, OWNER],
  ['getVringEndian', 'VHOST_GET_VRING_ENDIAN', 0x4008af14, 8, OWNER],
  ['setVringKick', 'VHOST_SET_VRING_KICK', 0x4008af20, 8, OWNER],
  ['setVringCall', 'VHOST_SET_VRING_CALL', 0x4008af21, 8, OWNER],
  ['setVringErr', 'VHOST_SET_VRING_ERR', 0x4008af22, 8, OWNER],
  ['setVringBusyloopTimeout', 'VHOST_SET_VRING_BUSYLOOP_TIMEOUT', 0x4008af23, 8, OWNER],
  ['getVringBusyloopTimeout', 'VHOST_GET_VRING_BUSYLOOP_TIMEOUT', 0x4008af24, 8, OWNER],
  ['setBackendFeatures', 'VHOST_SET_BACKEND_FEATURES', 0x4008af25, 8],
  ['getBackendFeatures', 'VHOST_GET_BACKEND_FEATURES', 0x8008af26, 8],
  ['getDeviceId', 'VHOST_VDPA_GET_DEVICE_ID', 0x8004af70, 4],
  ['getStatus', 'VHOST_VDPA_GET_STATUS', 0x8001af71, 1],
  ['setStatus', 'VHOST_VDPA_SET_STATUS', 0x4001af72, 1],
  ['getConfig', 'VHOST_VDPA_GET_CONFIG', 0x8008af73, 8],
  ['setConfig', 'VHOST_VDPA_SET_CONFIG', 0x4008af74, 8],
  ['setVringEnable', 'VHOST_VDPA_SET_VRING_ENABLE', 0x4008af75, 8, OWNER],
  ['getVringNum', 'VHOST_VDPA_GET_VRING_NUM', 0x8002af76, 2],
  ['setConfigCall', 'VHOST_VDPA_SET_CONFIG_CALL', 0x4004af77, 4],
  ['getIovaRange', 'VHOST_VDPA_GET_IOVA_RANGE', 0x8010af78, 16],
  ['getConfigSize', 'VHOST_VDPA_GET_CONFIG_SIZE', 0x8004af79, 4],
  ['getAsNum', 'VHOST_VDPA_GET_AS_NUM', 0x8004af7a, 4],
  ['getVringGroup', 'VHOST_VDPA_GET_VRING_GROUP', 0xc008af7b, 8, OWNER],
  ['setGroupAsid', 'VHOST_VDPA_SET_GROUP_ASID', 0x4008af7c, 8, OWNER],
  ['suspend', 'VHOST_VDPA_SUSPEND', 0xaf7d, 0],
  ['resume', 'VHOST_VDPA_RESUME', 0xaf7e, 0],
  ['getVringDescGroup', 'VHOST_VDPA_GET_VRING_DESC_GROUP', 0xc008af7f, 8, OWNER],
  ['getVqsCount', 'VHOST_VDPA_GET_VQS_COUNT', 0x8004af80, 4],
  ['getGroupNum', 'VHOST_VDPA_GET_GROUP_NUM', 0x8004af81, 4],
  ['getVringSize', 'VHOST_VDPA_GET_VRING_SIZE', 0xc008af82, 8, OWNER],
  ['setForkFromOwner', 'VHOST_SET_FORK_FROM_OWNER', 0x4001af84, 1],
  ['getForkFromOwner', 'VHOST_GET_FORK_FROM_OWNER', 0x8001af85, 1],
  ['iotlbUpdate', 'VHOST_IOTLB_UPDATE', 0, 72, OWNER],
  ['iotlbInvalidate', 'VHOST_IOTLB_INVALIDATE', 0, 72, OWNER],
  ['iotlbBatchBegin', 'VHOST_IOTLB_BATCH_BEGIN', 0, 72, OWNER],
  ['iotlbBatchEnd', 'VHOST_IOTLB_BATCH_END', 0, 72, OWNER],
];

// What the addon's batches carry in place of the kernel's own argument (native/batch.h): -1 where the entry says how long it is,
// and memory named by region instead of by address in IOTLB messages.
const BATCH_SIZES: Readonly<Record<string, number>> = {
  open: -1,
  VHOST_VDPA_GET_CONFIG: -1,
  VHOST_VDPA_SET_CONFIG: -1,
  VHOST_IOTLB_UPDATE: 40,
  VHOST_IOTLB_INVALIDATE: 40,
  VHOST_IOTLB_BATCH_BEGIN: 40,
  VHOST_IOTLB_BATCH_END: 40,
};

const byName = (a: { name: string }, b: { name: string }) => (a.name < b.name ? -1 : 1);

describe('the table of requests', () => {
  it('has exactly the requests of the interface', () => {
    expect(Object.keys(REQUESTS).sort()).toEqual(GOLDEN.map(([op]) => op).sort());
  });

  it.each(GOLDEN)('%s is %s', (op, name, number, size, needsOwner = false) => {
    expect(REQUESTS[op]).toMatchObject({ name, number, size, needsOwner });
  });

  it('declares the direction and the size that its numbers carry', () => {
    const directions: Direction[] = ['none', 'write', 'read', 'readwrite'];
    for (const { number, size, direction } of Object.values(REQUESTS)) {
      if (number === 0) continue;
      expect(directions[number >>> 30]).toBe(direction);
      expect((number >>> 16) & 0x3fff).toBe(size);
    }
  });

  it('names the release only of what some release serves', () => {
    const unserved = GOLDEN.map(([op]) => op).filter(op => REQUESTS[op].since === undefined);
    expect(unserved.sort()).toEqual(['getVringEndian', 'resetOwner', 'setLogBase', 'setLogFd', 'setVringEndian']);
    expect(REQUESTS.resume.since).toBe('6.3');
    expect(REQUESTS.getVringSize.since).toBe('6.9');
  });
});

describe('operations and kernel names', () => {
  it.each(GOLDEN)('%s to %s and back', (op, name) => {
    expect(requestOf(op)).toBe(name);
    expect(operationOf(name)).toBe(op);
  });

  it('knows no other name', () => {
    for (const name of ['VHOST_NEW_WORKER', 'VHOST_IOTLB_MISS', 'vhost_get_features', 'toString', '']) {
      expect(operationOf(name)).toBeUndefined();
    }
  });
});

describe('ioc', () => {
  it('puts each field where the kernel macro does, and never goes negative', () => {
    const directions = fc.constantFrom<Direction>('none', 'write', 'read', 'readwrite');
    fc.assert(
      fc.property(directions, fc.nat(0xff), fc.nat(0x3fff), (direction, nr, size) => {
        const bits = { none: 0n, write: 1n, read: 2n, readwrite: 3n }[direction];
        expect(BigInt(ioc(direction, nr, size))).toBe((bits << 30n) + BigInt(size) * 65536n + 0xaf00n + BigInt(nr));
      }),
    );
  });
});

describe("the addon's table", () => {
  it('has the same names, numbers and sizes', () => {
    const expected = GOLDEN.map(([, name, number, size]) => ({ name, number, size: BATCH_SIZES[name] ?? size }));
    const actual = native()
      .requests()
      .map(({ name, number, size }) => ({ name, number, size }));
    expect(actual.sort(byName)).toEqual(expected.sort(byName));
  });
});
