/** From results to errors: which result is the failure, its code, and what its message says. */
import { describe, expect, it } from 'vitest';
import { numberAt, run, throwFailure } from '../../lib/device/device.js';
import { describeArguments, explainFailure } from '../../lib/device/explain.js';
import { type ErrorCode, OperationError } from '../../lib/errors.js';
import { ERRNO, type ErrnoName } from '../../lib/uapi/errno.js';
import type { Operation } from '../../lib/uapi/operation.js';
import { FakeDevice, NOT_RUN, result } from './device-fake.js';

const PATH = '/dev/vhost-vdpa-7';
const open: Operation = { op: 'open', path: PATH };
const map: Operation = {
  op: 'iotlbUpdate',
  asid: 0,
  iova: 0x1000,
  size: 0x2000,
  region: 3,
  offset: 0,
  perm: 'rw',
};

describe('a failure', () => {
  it.each<[Operation, ErrnoName, ErrorCode, RegExp]>([
    [open, 'ENOENT', 'ERR_VDPA_NO_DEVICE', /no such file.*svq devices/],
    [open, 'ENODEV', 'ERR_VDPA_NO_DEVICE', /no device is behind it/],
    [open, 'ENXIO', 'ERR_VDPA_NO_DEVICE', /no device is behind it/],
    [open, 'ENOTTY', 'ERR_VDPA_NOT_VHOST_VDPA', /not a character device/],
    [open, 'EISDIR', 'ERR_VDPA_NOT_VHOST_VDPA', /directory/],
    [open, 'EACCES', 'ERR_VDPA_PERMISSION', /setfacl -m u:\$USER:rw \/dev\/vhost-vdpa-7/],
    [open, 'EPERM', 'ERR_VDPA_PERMISSION', /does not let this user/],
    [open, 'EBUSY', 'ERR_VDPA_BUSY', /fuser -v \/dev\/vhost-vdpa-7/],
    [open, 'ENOTSUPP', 'ERR_VDPA_UNSUPPORTED', /IOMMU/],
    [open, 'ETIMEDOUT', 'ERR_VDPA_TIMEOUT', /did not answer/],
    [{ op: 'getDeviceId' }, 'ENOTTY', 'ERR_VDPA_NOT_VHOST_VDPA', /not a vhost-vdpa device/],
    [{ op: 'suspend' }, 'EOPNOTSUPP', 'ERR_VDPA_UNSUPPORTED', /VHOST_BACKEND_F_SUSPEND/],
    [{ op: 'resume' }, 'EOPNOTSUPP', 'ERR_VDPA_UNSUPPORTED', /VHOST_BACKEND_F_RESUME/],
    [{ op: 'setFeatures', features: 1n }, 'EBUSY', 'ERR_VDPA_OPERATION', /features 0x1.*FEATURES_OK/],
    [{ op: 'setFeatures', features: 1n }, 'EINVAL', 'ERR_VDPA_OPERATION', /ACCESS_PLATFORM/],
    [{ op: 'setBackendFeatures', features: 1n << 8n }, 'EOPNOTSUPP', 'ERR_VDPA_UNSUPPORTED', /0x100.*does not offer/],
    [{ op: 'setGroupAsid', group: 2, asid: 5 }, 'EINVAL', 'ERR_VDPA_OPERATION', /group 2, asid 5.*does not exist/],
    [{ op: 'setGroupAsid', group: 2, asid: 5 }, 'EBUSY', 'ERR_VDPA_OPERATION', /only before DRIVER_OK/],
    [{ op: 'setVringBase', index: 0, num: 7 }, 'EINVAL', 'ERR_VDPA_OPERATION', /not suspended/],
    [map, 'EFAULT', 'ERR_VDPA_ADDRESS', /iova 0x1000, size 0x2000.*every failure of a map with EFAULT/],
    // By errno alone.
    [{ op: 'getVringSize', index: 0 }, 'ENOTTY', 'ERR_VDPA_UNSUPPORTED', /does not know the request/],
    [{ op: 'getVringSize', index: 0 }, 'EOPNOTSUPP', 'ERR_VDPA_UNSUPPORTED', /does not have it/],
    [{ op: 'setVringNum', index: 9, num: 1 }, 'ENOBUFS', 'ERR_VDPA_OPERATION', /queue does not exist/],
    [{ op: 'setVringNum', index: 0, num: 1 }, 'EPERM', 'ERR_VDPA_OPERATION', /VHOST_SET_OWNER/],
    [{ op: 'getStatus' }, 'EBADF', 'ERR_VDPA_CLOSED', /not open/],
    [{ op: 'setStatus', status: 0 }, 'ETIMEDOUT', 'ERR_VDPA_TIMEOUT', /in time/],
    [{ op: 'setStatus', status: 0 }, 'EIO', 'ERR_VDPA_OPERATION', /dmesg/],
  ])('%o with %s is %s', (operation, errno, code, message) => {
    const error = explainFailure(PATH, operation, result({ errno: ERRNO[errno] }));
    expect(error).toBeInstanceOf(OperationError);
    expect(error.code).toBe(code);
    expect(error.message).toContain(` on ${PATH} failed: ${errno}`);
    expect(error.message).toMatch(message);
    expect(error.details).toMatchObject({ path: PATH, errno: ERRNO[errno] });
  });

  it('names the request, its arguments and an errno without a name', () => {
    const error = explainFailure(
      PATH,
      { op: 'setVringNum', index: 1, num: 300, always: true },
      result({ errno: 4000 }),
    );
    expect(error.message).toMatch(
      /^VHOST_SET_VRING_NUM on \/dev\/vhost-vdpa-7 failed: errno 4000 \(index 1, num 300\)\. /,
    );
    expect(error.details).toEqual({ request: 'VHOST_SET_VRING_NUM', path: PATH, errno: 4000, index: 1, num: 300 });
  });

  it('of a status tells what was read and what was expected', () => {
    const operation: Operation = { op: 'getStatus', expect: { mask: 0xff, equals: 0xb } };
    const refused = { ...result(3), errno: ERRNO.EPROTO };
    expect(explainFailure(PATH, operation, refused).message).toMatch(
      /EPROTO \(status 0x3 ACKNOWLEDGE\|DRIVER, expected 0xb in 0xff\)\. The device silently refused a status bit/,
    );
    expect(describeArguments(operation)).toBe('');
  });
});

describe('run', () => {
  it('gives the results when all succeeded', async () => {
    const results = await run(new FakeDevice(() => 5), [{ op: 'getAsNum' }, { op: 'getGroupNum' }]);
    expect(results.map(({ value }) => value)).toEqual([5, 5]);
  });

  it('throws the first failure, not what came of it', async () => {
    const device = new FakeDevice(({ op }) => ({ errno: op === 'suspend' ? ERRNO.EOPNOTSUPP : ERRNO.EIO }));
    const operations: Operation[] = [{ op: 'suspend' }, { op: 'resume' }, { op: 'setStatus', status: 0, always: true }];
    await expect(run(device, operations)).rejects.toThrow(
      expect.objectContaining({ code: 'ERR_VDPA_UNSUPPORTED', message: expect.stringContaining('VHOST_VDPA_SUSPEND') }),
    );
  });

  it('throws when something was not run without a failure', () => {
    const device = new FakeDevice();
    const operations: Operation[] = [{ op: 'suspend' }, { op: 'resume' }];
    const thrown = () => throwFailure(device, operations, [result(0), NOT_RUN]);
    expect(thrown).toThrow(expect.objectContaining({ code: 'ERR_VDPA_CANCELED' }));
    expect(thrown).toThrow('/dev/fake');
    expect(() => throwFailure(device, operations, [result(0), result(0)])).not.toThrow();
  });

  it('hands its signal on', async () => {
    const device = new FakeDevice();
    const { signal } = new AbortController();
    await run(device, [{ op: 'suspend' }], { signal });
    expect(device.options).toEqual([{ signal }]);
  });
});

it('reads numbers out of results', () => {
  expect(numberAt([result(7), result(9n)], 0)).toBe(7);
  expect(numberAt([result(7), result(9n)], 1)).toBe(9);
  expect(numberAt([], 3)).toBe(0);
});
