/** Which request is allowed when, and what it answers, as Linux 7.2 answers it with vdpa_sim_blk behind. */
import { afterEach, describe, expect, it } from 'vitest';
import type { Answer } from '../../lib/device/soft/model.js';
import { ERRNO, type ErrnoName } from '../../lib/uapi/errno.js';
import type { Operation, OperationValue } from '../../lib/uapi/operation.js';
import { REQUESTS } from '../../lib/uapi/requests.js';
import { FEATURES, MEMORY, PAGE, PERSIST, SoftMachine } from './soft-support.js';

const ASID = 1n << 3n;

const machines: SoftMachine[] = [];
function machine(properties?: string): SoftMachine {
  const made = new SoftMachine(properties);
  machines.push(made);
  return made;
}
afterEach(() => {
  for (const made of machines.splice(0)) made.close();
});

/** The ways a device can stand. */
const STATES = {
  closed: () => machine(),
  open: () => {
    const opened = machine();
    opened.do({ op: 'open', path: 'soft:blk' });
    return opened;
  },
  owned: () => machine().own(),
  'ASIDs acknowledged': () => machine().own(ASID),
  FEATURES_OK: () => {
    const owned = machine().own();
    owned.do(
      { op: 'setStatus', status: 1 },
      { op: 'setStatus', status: 3 },
      { op: 'setFeatures', features: FEATURES },
      { op: 'setStatus', status: 0xb },
    );
    return owned;
  },
  running: () => machine().run(),
  suspended: () => {
    const running = machine().run();
    running.do({ op: 'suspend' });
    return running;
  },
  'reset while suspended': () => {
    const running = machine().run();
    running.do({ op: 'suspend' }, { op: 'setStatus', status: 0 });
    return running;
  },
  'running without suspend': () => machine('suspend=off').run(),
  'open without suspend': () => {
    const opened = machine('suspend=off');
    opened.do({ op: 'open', path: 'soft:blk' });
    return opened;
  },
  'open without persist': () => {
    const opened = machine('persist=off');
    opened.do({ op: 'open', path: 'soft:blk' });
    return opened;
  },
} as const;

type State = keyof typeof STATES;
/** An errno by name, or the value of a success; undefined is a success without a value. */
type Expected = ErrnoName | { readonly value: OperationValue } | undefined;

/** A part of the address space that nothing is mapped in. */
const free = (other: object = {}): Operation => ({
  op: 'iotlbUpdate',
  asid: 0,
  iova: 0x10_0000,
  size: PAGE,
  region: 1,
  offset: 0,
  perm: 'rw',
  ...other,
});
const addresses = (other: object = {}): Operation => ({
  op: 'setVringAddr',
  index: 0,
  desc: 0x1000,
  avail: 0x2000,
  used: 0x3000,
  ...other,
});
const backend = (...bits: number[]): Operation => ({
  op: 'setBackendFeatures',
  features: bits.reduce((sum, bit) => sum | (1n << BigInt(bit)), 0n),
});
const config = (offset: number, length: number): Operation => ({ op: 'getConfig', offset, length });
const setConfig = (offset: number, length: number): Operation => ({
  op: 'setConfig',
  offset,
  bytes: new Uint8Array(length),
});
const NO_FD = 999_999;

const RULES: readonly [State, Operation, Expected][] = [
  ['closed', { op: 'getStatus' }, 'EBADF'],
  ['closed', { op: 'setOwner' }, 'EBADF'],
  ['closed', { op: 'close' }, 'EBADF'],
  ['closed', { op: 'setVringNum', index: 0, num: 8 }, 'EBADF'],
  ['closed', free({ size: 0 }), 'EBADF'],

  ['open', { op: 'open', path: 'soft:blk' }, 'EBUSY'],
  ['open', { op: 'getDeviceId' }, { value: 2 }],
  ['open', { op: 'getStatus' }, { value: 0 }],
  ['open', { op: 'getFeatures' }, { value: 0x3_0000_0246n }],
  ['open', { op: 'getBackendFeatures' }, { value: 0x17en }],
  ['open', { op: 'getVqsCount' }, { value: 1 }],
  ['open', { op: 'getVringNum' }, { value: 256 }],
  ['open', { op: 'getAsNum' }, { value: 1 }],
  ['open', { op: 'getGroupNum' }, { value: 1 }],
  ['open', { op: 'getConfigSize' }, { value: 96 }],
  ['open', { op: 'getIovaRange' }, { value: { first: 0n, last: 0xffff_ffff_ffff_ffffn } }],
  ['open', { op: 'getForkFromOwner' }, { value: 1 }],
  ['open', { op: 'setForkFromOwner', value: 0 }, undefined],
  ['open', { op: 'setForkFromOwner', value: 2 }, 'EINVAL'],
  ['open', { op: 'setFeatures', features: FEATURES }, undefined],
  ['open', { op: 'setFeatures', features: 1n << 32n }, 'EINVAL'],
  ['open', { op: 'setFeatures', features: FEATURES | (1n << 57n) }, undefined],
  ['open', { op: 'suspend' }, undefined],
  ['open', { op: 'resume' }, undefined],
  ['open', { op: 'setLogBase', base: 0 }, 'ENOTTY'],
  ['open', { op: 'setLogFd', fd: -1 }, 'ENOTTY'],
  ['open', { op: 'setConfigCall', fd: -1 }, undefined],
  ['open', { op: 'setConfigCall', fd: NO_FD }, 'EBADF'],
  ['open', { op: 'setConfigCall', fd: -2 }, 'EBADF'],
  ['open', { op: 'setConfigCall', fd: 1 }, 'EINVAL'],

  ['open', backend(1, 2, 3, 4, 5, 6, 8), undefined],
  ['open', backend(), undefined],
  ['open', backend(0), 'EOPNOTSUPP'],
  ['open', backend(9), 'EOPNOTSUPP'],
  ['open', backend(63), 'EOPNOTSUPP'],
  ['open', backend(7), 'EINVAL'],
  ['open', backend(3, 7), 'EOPNOTSUPP'],
  ['open', backend(0, 7), 'EOPNOTSUPP'],
  ['open without suspend', { op: 'getBackendFeatures' }, { value: 0x14en }],
  ['open without suspend', backend(4), 'EOPNOTSUPP'],
  ['open without suspend', backend(5), 'EOPNOTSUPP'],
  ['open without suspend', backend(4, 7), 'EOPNOTSUPP'],
  ['open without suspend', { op: 'suspend' }, undefined],
  ['open without persist', { op: 'getBackendFeatures' }, { value: 0x7en }],
  ['open without persist', backend(8), 'EOPNOTSUPP'],
  ['open without persist', backend(7, 8), 'EINVAL'],

  ['open', config(0, 8), { value: Uint8Array.of(128, 0, 0, 0, 0, 0, 0, 0) }],
  ['open', config(8, 8), { value: Uint8Array.of(0, 0x10, 0, 0, 32, 0, 0, 0) }],
  ['open', config(20, 4), { value: Uint8Array.of(0, 2, 0, 0) }],
  ['open', config(34, 2), { value: Uint8Array.of(1, 0) }],
  ['open', config(95, 1), { value: Uint8Array.of(0) }],
  ['open', config(0, 0), 'EINVAL'],
  ['open', config(95, 2), 'EINVAL'],
  ['open', config(96, 1), 'EINVAL'],
  ['open', config(97, 0), 'EINVAL'],
  ['open', setConfig(0, 96), undefined],
  ['open', setConfig(0, 97), 'EINVAL'],
  ['open', setConfig(4, 0), 'EINVAL'],

  // Whoever does not own the device.
  ['open', { op: 'resetOwner' }, 'EPERM'],
  ['open', { op: 'setMemTable' }, 'EPERM'],
  ['open', { op: 'setVringNum', index: 0, num: 8 }, 'EPERM'],
  ['open', { op: 'setVringNum', index: 5, num: 0 }, 'EPERM'],
  ['open', { op: 'getVringBase', index: 0 }, 'EPERM'],
  ['open', { op: 'setGroupAsid', group: 0, asid: 0 }, 'EPERM'],
  ['open', { op: 'getVringEndian', index: 0 }, 'EPERM'],
  ['open', free(), 'EFAULT'],
  ['open', free({ size: 0 }), 'EINVAL'],
  ['open', { op: 'iotlbInvalidate', asid: 0, iova: 0, size: PAGE }, 'EFAULT'],
  ['open', { op: 'iotlbBatchBegin', asid: 0 }, 'EFAULT'],
  ['open', { op: 'iotlbBatchEnd', asid: 0 }, 'EFAULT'],

  ['owned', { op: 'setOwner' }, 'EBUSY'],
  ['owned', { op: 'setForkFromOwner', value: 0 }, 'EBUSY'],
  ['owned', { op: 'resetOwner' }, 'ENOTTY'],
  ['owned', { op: 'setMemTable' }, undefined],
  ['owned', { op: 'setVringEndian', index: 0, num: 1 }, 'ENOTTY'],
  ['owned', { op: 'getVringEndian', index: 0 }, 'ENOTTY'],
  ['owned', { op: 'getVringBase', index: 0 }, { value: 0 }],
  ['owned', { op: 'getVringGroup', index: 0 }, { value: 0 }],
  ['owned', { op: 'getVringDescGroup', index: 0 }, 'EOPNOTSUPP'],
  ['owned', { op: 'getVringSize', index: 0 }, 'EOPNOTSUPP'],
  ['owned', { op: 'getVringBusyloopTimeout', index: 0 }, { value: 0 }],
  ['owned', { op: 'setVringEnable', index: 0, num: 1 }, undefined],
  ['owned', { op: 'setVringNum', index: 0, num: 256 }, undefined],
  ['owned', { op: 'setVringNum', index: 0, num: 1 }, undefined],
  ['owned', { op: 'setVringNum', index: 0, num: 0 }, 'EINVAL'],
  ['owned', { op: 'setVringNum', index: 0, num: 3 }, 'EINVAL'],
  ['owned', { op: 'setVringNum', index: 0, num: 512 }, 'EINVAL'],
  ['owned', { op: 'setVringNum', index: 0, num: 0x1_0000 }, 'EINVAL'],
  ['owned', { op: 'setVringBase', index: 0, num: 0xffff }, undefined],
  ['owned', { op: 'setVringBase', index: 0, num: 0x1_0000 }, 'EINVAL'],
  ['owned', addresses(), undefined],
  // The alignment of the descriptors is not checked.
  ['owned', addresses({ desc: 0x1001, avail: 0x2002, used: 0x3004 }), undefined],
  ['owned', addresses({ avail: 0x2001 }), 'EINVAL'],
  ['owned', addresses({ used: 0x3002 }), 'EINVAL'],
  ['owned', { op: 'setGroupAsid', group: 0, asid: 0 }, undefined],
  ['owned', { op: 'setGroupAsid', group: 0, asid: 1 }, 'EINVAL'],
  ['owned', { op: 'setGroupAsid', group: 1, asid: 0 }, 'ENOBUFS'],
  ...(['setVringKick', 'setVringCall', 'setVringErr'] as const).flatMap((op): [State, Operation, Expected][] => [
    ['owned', { op, index: 0, fd: -1 }, undefined],
    ['owned', { op, index: 0, fd: -2 }, 'EBADF'],
    ['owned', { op, index: 0, fd: NO_FD }, 'EBADF'],
    ['owned', { op, index: 0, fd: 1 }, 'EINVAL'],
    ['owned', { op, index: 1, fd: NO_FD }, 'ENOBUFS'],
  ]),
  // The second queue, which the device does not have.
  ['owned', { op: 'setVringNum', index: 1, num: 0 }, 'ENOBUFS'],
  ['owned', addresses({ index: 1, avail: 1 }), 'ENOBUFS'],
  ['owned', { op: 'setVringBase', index: 1, num: 0x1_0000 }, 'ENOBUFS'],
  ['owned', { op: 'getVringBase', index: 1 }, 'ENOBUFS'],
  ['owned', { op: 'setVringEnable', index: 1, num: 1 }, 'ENOBUFS'],
  ['owned', { op: 'getVringGroup', index: 1 }, 'ENOBUFS'],
  ['owned', { op: 'getVringDescGroup', index: 1 }, 'ENOBUFS'],
  ['owned', { op: 'getVringEndian', index: 1 }, 'ENOBUFS'],

  // An address space comes into being with its first UPDATE or BATCH_BEGIN.
  ['owned', free(), undefined],
  ['owned', free({ size: 0 }), 'EINVAL'],
  ['owned', { op: 'iotlbBatchBegin', asid: 0 }, undefined],
  ['owned', { op: 'iotlbInvalidate', asid: 0, iova: 0, size: PAGE }, 'EFAULT'],
  ['owned', { op: 'iotlbBatchEnd', asid: 0 }, 'EFAULT'],
  ['running', { op: 'iotlbInvalidate', asid: 0, iova: 0, size: PAGE }, undefined],
  ['running', { op: 'iotlbBatchEnd', asid: 0 }, undefined],
  ['running', free({ iova: MEMORY }), 'EFAULT'],
  ['running', free({ iova: MEMORY - PAGE, size: 2 * PAGE }), 'EFAULT'],
  ['running', free({ iova: MEMORY - PAGE }), undefined],
  ['owned', free({ iova: 2 ** 64 - 2 ** 20, size: 2 ** 20 }), undefined],
  ['owned', free({ iova: 2 ** 64 - 2 ** 20, size: 2 ** 21 }), 'EFAULT'],
  // The address space of a message counts once IOTLB_ASID is acknowledged.
  ['owned', free({ asid: 7 }), undefined],
  ['ASIDs acknowledged', free({ asid: 1 }), 'EFAULT'],
  ['ASIDs acknowledged', { op: 'iotlbBatchBegin', asid: 1 }, 'EFAULT'],
  ['ASIDs acknowledged', free(), undefined],

  ['FEATURES_OK', { op: 'getStatus' }, { value: 0xb }],
  ['FEATURES_OK', { op: 'setFeatures', features: FEATURES }, 'EBUSY'],
  ['FEATURES_OK', { op: 'setFeatures', features: 0n }, 'EBUSY'],
  ['FEATURES_OK', { op: 'setStatus', status: 0xb }, undefined],
  ['FEATURES_OK', { op: 'setStatus', status: 0x3 }, 'EINVAL'],
  ['FEATURES_OK', { op: 'setStatus', status: 0x7 }, 'EINVAL'],
  ['FEATURES_OK', { op: 'setStatus', status: 0x8b }, undefined],
  ['FEATURES_OK', { op: 'setStatus', status: 0 }, undefined],
  ['FEATURES_OK', { op: 'setGroupAsid', group: 0, asid: 0 }, undefined],

  ['running', { op: 'getStatus' }, { value: 0xf }],
  ['running', { op: 'setStatus', status: 0xb }, 'EINVAL'],
  ['running', addresses(), 'EINVAL'],
  ['running', { op: 'setVringBase', index: 0, num: 0 }, 'EINVAL'],
  ['running', { op: 'setVringNum', index: 0, num: 16 }, undefined],
  ['running', { op: 'setVringCall', index: 0, fd: -1 }, undefined],
  ['running', { op: 'setVringEnable', index: 0, num: 0 }, undefined],
  ['running', { op: 'setGroupAsid', group: 0, asid: 0 }, 'EBUSY'],
  ['running', { op: 'setGroupAsid', group: 0, asid: 1 }, 'EINVAL'],
  ['running', { op: 'setGroupAsid', group: 1, asid: 0 }, 'ENOBUFS'],
  ['running', backend(1, 3), undefined],
  ['running', { op: 'suspend' }, undefined],
  ['running', { op: 'resume' }, undefined],
  ['running without suspend', { op: 'suspend' }, 'EOPNOTSUPP'],
  ['running without suspend', { op: 'resume' }, 'EOPNOTSUPP'],

  ['suspended', { op: 'getStatus' }, { value: 0xf }],
  ['suspended', { op: 'suspend' }, undefined],
  ['suspended', addresses(), undefined],
  ['suspended', addresses({ used: 0x3002 }), 'EINVAL'],
  ['suspended', { op: 'setVringBase', index: 0, num: 5 }, undefined],
  ['suspended', { op: 'setVringBase', index: 0, num: 0x1_0000 }, 'EINVAL'],
  ['suspended', { op: 'setGroupAsid', group: 0, asid: 0 }, 'EBUSY'],
  ['suspended', config(0, 1), { value: Uint8Array.of(128) }],

  ['reset while suspended', { op: 'getStatus' }, { value: 0 }],
  ['reset while suspended', { op: 'setOwner' }, 'EBUSY'],
  ['reset while suspended', { op: 'setFeatures', features: FEATURES }, undefined],
  ['reset while suspended', { op: 'getVringBase', index: 0 }, { value: 0 }],
];

const resolve = (expected: Expected): Answer =>
  typeof expected === 'string' ? { errno: ERRNO[expected] } : { errno: 0, ...expected };

describe('the answer', () => {
  it.each(RULES.map(([state, operation, expected]) => ({ state, operation, expected })))(
    'while $state to $operation is $expected',
    ({ state, operation, expected }) => {
      expect(STATES[state]().ask(operation)).toEqual(resolve(expected));
    },
  );

  it('to every request that needs the owner is a refusal without one', () => {
    const owned = Object.entries(REQUESTS).filter(([, { needsOwner }]) => needsOwner);
    const opened = STATES.open();
    for (const [op] of owned) {
      const operation = { op, index: 0, num: 8, fd: -1, size: PAGE, group: 0, asid: 0 } as unknown as Operation;
      expect([op, opened.ask(operation).errno]).toEqual([op, op.startsWith('iotlb') ? ERRNO.EFAULT : ERRNO.EPERM]);
    }
  });
});

describe('what was set', () => {
  it('backend features stay as they were when a set is refused', () => {
    const owned = machine().own(ASID);
    owned.ask(backend(0));
    expect(owned.ask(free({ asid: 1 })).errno).toBe(ERRNO.EFAULT);
  });

  it('backend features, owner and busy-loop time outlive a reset and end with the file', () => {
    const owned = machine().own(ASID);
    owned.do({ op: 'setVringBusyloopTimeout', index: 0, num: 50 }, { op: 'setStatus', status: 0 });
    expect(owned.ask({ op: 'getVringBusyloopTimeout', index: 0 })).toEqual({ errno: 0, value: 50 });
    expect(owned.ask(free({ asid: 1 })).errno).toBe(ERRNO.EFAULT);
    owned.do({ op: 'close' }, { op: 'open', path: 'soft:blk' });
    expect(owned.ask(free()).errno).toBe(ERRNO.EFAULT);
    owned.do({ op: 'setOwner' });
    expect(owned.ask({ op: 'getVringBusyloopTimeout', index: 0 })).toEqual({ errno: 0, value: 0 });
    owned.do(free({ asid: 1 }));
  });

  it('whom a worker is forked from is told', () => {
    const opened = STATES.open();
    opened.do({ op: 'setForkFromOwner', value: 0 });
    expect(opened.ask({ op: 'getForkFromOwner' })).toEqual({ errno: 0, value: 0 });
  });

  it('a base is told until a reset', () => {
    const owned = machine().own();
    owned.do({ op: 'setVringBase', index: 0, num: 0xfffe });
    expect(owned.base()).toBe(0xfffe);
    owned.do({ op: 'setStatus', status: 0 });
    expect(owned.base()).toBe(0);
  });

  it('a config cannot be written', () => {
    const opened = STATES.open();
    const before = opened.ask(config(0, 96));
    opened.do(setConfig(0, 96));
    expect(opened.ask(config(0, 96))).toEqual(before);
  });

  it('a status with DRIVER_OK leaves the device suspended in the eyes of vhost', () => {
    const suspended = STATES.suspended();
    suspended.do({ op: 'setStatus', status: 0xf }, addresses());
    suspended.do({ op: 'resume' });
    expect(suspended.ask(addresses()).errno).toBe(ERRNO.EINVAL);
  });
});

describe('the IOTLB', () => {
  it.each([0n, PERSIST])('survives a reset, with backend features %d', features => {
    const running = machine().run(features);
    running.do({ op: 'setStatus', status: 0 });
    expect(running.ask(running.map()).errno).toBe(ERRNO.EFAULT);
    running.do(running.unmap(), running.map());
  });

  it('ends with the file', () => {
    const running = machine().run();
    running.do({ op: 'close' });
    running.own();
    running.do(running.map());
  });

  it('loses whole entries to a partial unmap', () => {
    const owned = machine().own();
    owned.do(owned.map(0, 4 * PAGE), owned.map(4 * PAGE, PAGE), owned.unmap(PAGE, PAGE));
    owned.do(owned.map(0, PAGE));
    expect(owned.ask(owned.map(4 * PAGE, PAGE)).errno).toBe(ERRNO.EFAULT);
  });

  it('loses everything to an unmap of nothing from 0 on', () => {
    const owned = machine().own();
    owned.do(owned.map(0, PAGE), owned.map(8 * PAGE, PAGE), { op: 'iotlbInvalidate', asid: 0, iova: 0, size: 0 });
    owned.do(owned.map());
  });

  it('keeps its batch open through a refusal and a reset', async () => {
    const owned = machine().own();
    owned.do({ op: 'iotlbBatchBegin', asid: 0 }, { op: 'iotlbBatchBegin', asid: 0 }, owned.map());
    expect(owned.ask(owned.map()).errno).toBe(ERRNO.EFAULT);
    owned.do({ op: 'setStatus', status: 0 });
    owned.start();
    owned.request(0, { type: 0, room: 512 });
    owned.kick();
    // Mapped for vhost, but the device is told at the end of the batch.
    expect(await owned.isIdle()).toBe(true);
    owned.do({ op: 'iotlbBatchEnd', asid: 0 });
    owned.kick();
    expect((await owned.completion()).length).toBe(513);
  });
});
