/** From an errno to a message: what failed, with which values, why likely, what to do. */
import { type ErrorCode, type ErrorDetails, hex, OperationError } from '../errors.js';
import { errnoName } from '../uapi/errno.js';
import type { Operation, OperationName, OperationResult } from '../uapi/operation.js';
import { requestOf } from '../uapi/requests.js';
import { statusNames } from '../uapi/status.js';
import { whyNotMapped } from './explain-map.js';

interface Explanation {
  readonly code?: ErrorCode;
  readonly why: string;
}

type Explain = (operation: Operation, path: string) => Explanation;

const because =
  (why: string, code?: ErrorCode): Explain =>
  () =>
    code ? { code, why } : { why };

/** Keyed by operation and errno name; the kernel's reasons, found by reading drivers/vhost/vdpa.c. */
const REASONS: Partial<Record<OperationName, Record<string, Explain>>> = {
  open: {
    ENOENT: because(
      'There is no such file. "svq devices" lists the devices; the modules are vdpa, vhost_vdpa and a parent driver.',
      'ERR_VDPA_NO_DEVICE',
    ),
    ENODEV: because(
      'The file is there but no device is behind it. "svq devices" lists the devices.',
      'ERR_VDPA_NO_DEVICE',
    ),
    ENXIO: because(
      'The file is there but no device is behind it. "svq devices" lists the devices.',
      'ERR_VDPA_NO_DEVICE',
    ),
    ENOTTY: because('It is not a character device, so it is not a vhost-vdpa device.', 'ERR_VDPA_NOT_VHOST_VDPA'),
    EISDIR: because('It is a directory, not a vhost-vdpa device.', 'ERR_VDPA_NOT_VHOST_VDPA'),
    EACCES: because('Give yourself access, for example: sudo setfacl -m u:$USER:rw PATH', 'ERR_VDPA_PERMISSION'),
    EPERM: because('The kernel does not let this user open the device.', 'ERR_VDPA_PERMISSION'),
    EBUSY: because(
      'Another process has it open; one opener at a time is allowed. Find it with: fuser -v PATH',
      'ERR_VDPA_BUSY',
    ),
    ENOTSUPP: because(
      'Its IOMMU is missing or not cache coherent (the kernel log has a line about it).',
      'ERR_VDPA_UNSUPPORTED',
    ),
    ETIMEDOUT: because('The device did not answer its reset in time.', 'ERR_VDPA_TIMEOUT'),
  },
  getDeviceId: {
    ENOTTY: because(
      'The file answers no vhost-vdpa request, so it is not a vhost-vdpa device.',
      'ERR_VDPA_NOT_VHOST_VDPA',
    ),
  },
  setOwner: { EBUSY: because('The device already has an owner.') },
  suspend: {
    EOPNOTSUPP: because('The device cannot be suspended (no VHOST_BACKEND_F_SUSPEND).', 'ERR_VDPA_UNSUPPORTED'),
  },
  resume: { EOPNOTSUPP: because('The device cannot resume (no VHOST_BACKEND_F_RESUME).', 'ERR_VDPA_UNSUPPORTED') },
  setFeatures: {
    EBUSY: because('Features cannot change after FEATURES_OK; reset the device first.'),
    EINVAL: because('The device refuses this set; most need VERSION_1 and ACCESS_PLATFORM.'),
  },
  setBackendFeatures: {
    EOPNOTSUPP: because('The device or the kernel does not offer one of these bits.', 'ERR_VDPA_UNSUPPORTED'),
  },
  setGroupAsid: {
    EINVAL: because('The group or the address space does not exist on this device.'),
    ENOBUFS: because('The group number is not below the number of queues.'),
    EBUSY: because('This kernel lets groups move only before DRIVER_OK.'),
    EOPNOTSUPP: because('The device has no groups to move.', 'ERR_VDPA_UNSUPPORTED'),
  },
  setVringAddr: { EINVAL: because('An area is not aligned, or the device is running and not suspended.') },
  setVringBase: { EINVAL: because('The base is no ring index, or the device is running and not suspended.') },
  getStatus: {
    EPROTO: because(
      'The device silently refused a status bit; the kernel answers such a request with success.',
      'ERR_VDPA_EXPECTATION',
    ),
  },
  iotlbUpdate: {
    EFAULT: (operation, path) => ({ code: 'ERR_VDPA_ADDRESS', why: whyNotMapped(operation, path) }),
  },
};

/** By errno alone, where the operation has no reason of its own. */
const GENERAL: Record<string, Explain> = {
  ENOTTY: because('This kernel does not know the request.', 'ERR_VDPA_UNSUPPORTED'),
  EOPNOTSUPP: because('The device does not have it.', 'ERR_VDPA_UNSUPPORTED'),
  EPERM: because('The request needs the owner of the device (VHOST_SET_OWNER).'),
  ENOBUFS: because('The queue does not exist on this device.'),
  EBADF: because('The device file is not open.', 'ERR_VDPA_CLOSED'),
  EPROTO: because('What was read is not what must hold here.', 'ERR_VDPA_EXPECTATION'),
  ETIMEDOUT: because('The device did not answer in time.', 'ERR_VDPA_TIMEOUT'),
};

/** The error for an operation that ran and failed. */
export function explainFailure(path: string, operation: Operation, result: OperationResult): OperationError {
  const errno = errnoName(result.errno);
  const explain = REASONS[operation.op]?.[errno] ?? GENERAL[errno];
  const { why, code } = explain?.(operation, path) ?? { why: 'The kernel log may have more (dmesg).' };
  const request = requestOf(operation.op);
  const values = describeArguments(operation, result);
  return new OperationError(
    code ?? 'ERR_VDPA_OPERATION',
    `${request} on ${path} failed: ${errno}${values && ` (${values})`}. ${why.replace('PATH', path)}`,
    { details: { request, path, errno: result.errno, ...argumentsOf(operation) } },
  );
}

/** An operation's arguments as text: `index 0, num 256`. */
export function describeArguments(operation: Operation, result?: OperationResult): string {
  const parts = Object.entries(argumentsOf(operation)).map(([name, value]) => `${name} ${format(name, value)}`);
  if (operation.op === 'getStatus' && operation.expect && result) {
    const read = Number(result.value ?? 0);
    parts.push(
      `status ${hex(read)} ${statusNames(read).join('|')}`,
      `expected ${hex(operation.expect.equals)} in ${hex(operation.expect.mask)}`,
    );
  }
  return parts.join(', ');
}

function argumentsOf(operation: Operation): ErrorDetails {
  const { op, always: _always, expect: _expect, ...values } = operation;
  // Every message names the path already.
  if (op === 'open') return {};
  return Object.fromEntries(
    Object.entries(values).map(([name, value]) => [
      name,
      value instanceof Uint8Array ? `${value.length} bytes` : value,
    ]),
  );
}

const DECIMAL = new Set(['index', 'num', 'fd', 'asid', 'group', 'region', 'length']);

function format(name: string, value: unknown): string {
  return (typeof value === 'number' && !DECIMAL.has(name) && value >= 0) || typeof value === 'bigint'
    ? hex(value)
    : String(value);
}
