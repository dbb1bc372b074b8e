/**
 * vhost-vdpa in front of a simulated parent: which request is allowed when, and what it answers, errno for errno
 * (drivers/vhost/vdpa.c and drivers/vdpa/vdpa_sim/ of Linux 7.2).
 */
import { readlinkSync } from 'node:fs';
import {
  VHOST_BACKEND_F_DESC_ASID,
  VHOST_BACKEND_F_ENABLE_AFTER_DRIVER_OK,
  VHOST_BACKEND_F_IOTLB_ASID,
  VHOST_BACKEND_F_IOTLB_BATCH,
  VHOST_BACKEND_F_IOTLB_MSG_V2,
  VHOST_BACKEND_F_IOTLB_PERSIST,
  VHOST_BACKEND_F_RESUME,
  VHOST_BACKEND_F_SUSPEND,
} from '../../uapi/backend-features.js';
import { ERRNO, type ErrnoName } from '../../uapi/errno.js';
import type { Operation, OperationValue } from '../../uapi/operation.js';
import { REQUESTS } from '../../uapi/requests.js';
import { VIRTIO_CONFIG_S_DRIVER_OK, VIRTIO_CONFIG_S_FEATURES_OK } from '../../uapi/status.js';
import { BlkParent } from './blk-parent.js';
import { Iotlb } from './iotlb.js';
import type { SoftSetup } from './soft-device.js';

export interface Answer {
  readonly errno: number;
  readonly value?: OperationValue;
}

const OK: Answer = { errno: 0 };
const refuse = (name: ErrnoName): Answer => ({ errno: ERRNO[name] });
const answer = (value: OperationValue): Answer => ({ errno: 0, value });

type Of<Name extends Operation['op']> = Extract<Operation, { op: Name }>;

export class SoftModel {
  readonly #parent: BlkParent;
  readonly #iotlb = new Iotlb();
  readonly #offered: bigint;
  #open = false;
  #owned = false;
  #acknowledged = 0n;
  #status = 0;
  #suspended = false;
  #batching = false;
  /** An address space comes into being with its first map or batch, and stays until close. */
  #spaceMade = false;
  #busyloopTimeout = 0;
  /** VHOST_FORK_OWNER_TASK. */
  #forkFromOwner = 1;

  constructor(setup: SoftSetup) {
    this.#parent = new BlkParent(setup);
    const { persist, suspend } = setup.options;
    this.#offered =
      VHOST_BACKEND_F_IOTLB_MSG_V2 |
      VHOST_BACKEND_F_IOTLB_BATCH |
      VHOST_BACKEND_F_IOTLB_ASID |
      VHOST_BACKEND_F_ENABLE_AFTER_DRIVER_OK |
      (suspend ? VHOST_BACKEND_F_SUSPEND | VHOST_BACKEND_F_RESUME : 0n) |
      (persist ? VHOST_BACKEND_F_IOTLB_PERSIST : 0n);
  }

  /** Carries out one operation. */
  execute(operation: Operation): Answer {
    if (operation.op === 'open') return this.#openFile();
    if (!this.#open) return refuse('EBADF');
    if (operation.op === 'iotlbUpdate' && operation.size === 0) return refuse('EINVAL');
    if (!this.#owned && REQUESTS[operation.op].needsOwner) {
      return refuse(operation.op.startsWith('iotlb') ? 'EFAULT' : 'EPERM');
    }
    if ('index' in operation && operation.index >= this.#parent.vqs) return refuse('ENOBUFS');
    return this.#request(operation);
  }

  #request(operation: Operation): Answer {
    const parent = this.#parent;
    switch (operation.op) {
      case 'close':
        return this.#closeFile();
      case 'setOwner':
        if (this.#owned) return refuse('EBUSY');
        this.#owned = true;
        return OK;
      case 'getFeatures':
        return answer(parent.features);
      case 'setFeatures':
        if (this.#status & VIRTIO_CONFIG_S_FEATURES_OK) return refuse('EBUSY');
        return parent.setFeatures(operation.features) ? OK : refuse('EINVAL');
      case 'getBackendFeatures':
        return answer(this.#offered);
      case 'setBackendFeatures':
        return this.#setBackendFeatures(operation.features);
      case 'getDeviceId':
        return answer(parent.deviceId);
      case 'getStatus':
        return answer(this.#status);
      case 'setStatus':
        return this.#setStatus(operation.status);
      case 'getVqsCount':
        return answer(parent.vqs);
      case 'getVringNum':
        return answer(parent.vringNumMax);
      case 'getAsNum':
      case 'getGroupNum':
        return answer(1);
      case 'getVringGroup':
        return answer(0);
      case 'setGroupAsid':
        return this.#setGroupAsid(operation);
      case 'getIovaRange':
        return answer({ first: 0n, last: 2n ** 64n - 1n });
      case 'getConfigSize':
        return answer(parent.config.length);
      case 'getConfig':
        return this.#getConfig(operation.offset, operation.length);
      case 'setConfig':
        return this.#getConfig(operation.offset, operation.bytes.length).errno === 0 ? OK : refuse('EINVAL');
      case 'setConfigCall':
      case 'setVringErr':
        return bindable(operation.fd);
      case 'setMemTable':
        return OK;
      case 'setVringBusyloopTimeout':
        this.#busyloopTimeout = operation.num;
        return OK;
      case 'getVringBusyloopTimeout':
        return answer(this.#busyloopTimeout);
      case 'setForkFromOwner':
        if (this.#owned) return refuse('EBUSY');
        if (operation.value > 1) return refuse('EINVAL');
        this.#forkFromOwner = operation.value;
        return OK;
      case 'getForkFromOwner':
        return answer(this.#forkFromOwner);
      case 'suspend':
      case 'resume':
        return this.#suspend(operation.op === 'suspend');
      default:
        return this.#vringOrIotlb(operation);
    }
  }

  #vringOrIotlb(operation: Operation): Answer {
    const parent = this.#parent;
    switch (operation.op) {
      case 'setVringNum': {
        const { index, num } = operation;
        if (num === 0 || num > parent.vringNumMax || (num & (num - 1)) !== 0) return refuse('EINVAL');
        parent.setNum(index, num);
        return OK;
      }
      case 'setVringAddr':
        if (operation.avail % 2 !== 0 || operation.used % 4 !== 0 || this.#running()) return refuse('EINVAL');
        parent.setAddresses(operation);
        return OK;
      case 'setVringBase':
        if (operation.num > 0xffff || this.#running()) return refuse('EINVAL');
        parent.setBase(operation.index, operation.num);
        return OK;
      case 'getVringBase':
        return answer(parent.base(operation.index));
      case 'setVringKick':
      case 'setVringCall': {
        const { op, index, fd } = operation;
        const bound = bindable(fd);
        if (bound.errno !== 0) return bound;
        if (op === 'setVringKick') parent.setKick(index, fd);
        else parent.setCall(index, fd);
        return OK;
      }
      case 'setVringEnable':
        parent.setEnable(operation.index, operation.num !== 0);
        return OK;
      case 'getVringSize':
      case 'getVringDescGroup':
        return refuse('EOPNOTSUPP');
      case 'iotlbUpdate':
      case 'iotlbInvalidate':
      case 'iotlbBatchBegin':
      case 'iotlbBatchEnd':
        return this.#message(operation);
      default:
        // RESET_OWNER, the log requests and ENDIAN: vhost-vdpa does not serve them.
        return refuse('ENOTTY');
    }
  }

  #openFile(): Answer {
    if (this.#open) return refuse('EBUSY');
    this.#open = true;
    this.#parent.open();
    return OK;
  }

  /** Release: reset, drop every map, forget owner and backend features. */
  #closeFile(): Answer {
    this.#reset();
    this.#iotlb.clear();
    this.#parent.setMaps(undefined);
    this.#parent.close();
    this.#open = this.#owned = this.#batching = this.#spaceMade = false;
    this.#acknowledged = 0n;
    this.#busyloopTimeout = 0;
    this.#forkFromOwner = 1;
    return OK;
  }

  #setBackendFeatures(features: bigint): Answer {
    // ENABLE_AFTER_DRIVER_OK is accepted whether offered or not.
    const lacking = features & ~(this.#offered | VHOST_BACKEND_F_ENABLE_AFTER_DRIVER_OK);
    const late = VHOST_BACKEND_F_DESC_ASID | VHOST_BACKEND_F_IOTLB_PERSIST;
    // In the kernel's order: what DESC_ASID itself needs is looked at before whether the device has these two.
    if ((lacking & ~late) !== 0n) return refuse('EOPNOTSUPP');
    if ((features & VHOST_BACKEND_F_DESC_ASID) !== 0n && (features & VHOST_BACKEND_F_IOTLB_ASID) === 0n)
      return refuse('EINVAL');
    if (lacking !== 0n) return refuse('EOPNOTSUPP');
    this.#acknowledged = features;
    return OK;
  }

  #setStatus(status: number): Answer {
    if (status === 0) this.#reset();
    else if ((this.#status & ~status) !== 0) return refuse('EINVAL');
    this.#status = status;
    this.#parent.setDriverOk((status & VIRTIO_CONFIG_S_DRIVER_OK) !== 0);
    return OK;
  }

  /** The vhost IOTLB survives; the device's own copy only when IOTLB_PERSIST was acknowledged. */
  #reset(): void {
    this.#status = 0;
    this.#suspended = false;
    this.#parent.reset();
    if ((this.#acknowledged & VHOST_BACKEND_F_IOTLB_PERSIST) === 0n) this.#parent.setMaps(undefined);
  }

  #running(): boolean {
    return (this.#status & VIRTIO_CONFIG_S_DRIVER_OK) !== 0 && !this.#suspended;
  }

  #suspend(suspend: boolean): Answer {
    if ((this.#status & VIRTIO_CONFIG_S_DRIVER_OK) === 0) return OK;
    if ((this.#offered & VHOST_BACKEND_F_SUSPEND) === 0n) return refuse('EOPNOTSUPP');
    this.#suspended = suspend;
    this.#parent.setSuspended(suspend);
    return OK;
  }

  #setGroupAsid({ group, asid }: Of<'setGroupAsid'>): Answer {
    if (group >= this.#parent.vqs) return refuse('ENOBUFS');
    if (group >= 1 || asid >= 1) return refuse('EINVAL');
    return (this.#status & VIRTIO_CONFIG_S_DRIVER_OK) !== 0 ? refuse('EBUSY') : OK;
  }

  #getConfig(offset: number, length: number): Answer {
    const { config } = this.#parent;
    if (length === 0 || offset + length > config.length) return refuse('EINVAL');
    return answer(config.slice(offset, offset + length));
  }

  /** Every refusal is EFAULT: vhost_chr_write_iter flattens them. */
  #message(operation: Of<'iotlbUpdate' | 'iotlbInvalidate' | 'iotlbBatchBegin' | 'iotlbBatchEnd'>): Answer {
    const asid = (this.#acknowledged & VHOST_BACKEND_F_IOTLB_ASID) === 0n ? 0 : operation.asid;
    if (asid >= 1) return refuse('EFAULT');
    if (operation.op === 'iotlbUpdate' || operation.op === 'iotlbBatchBegin') this.#spaceMade = true;
    if (!this.#spaceMade) return refuse('EFAULT');
    switch (operation.op) {
      case 'iotlbUpdate':
        if (!this.#iotlb.update(operation)) return refuse('EFAULT');
        break;
      case 'iotlbInvalidate':
        this.#iotlb.invalidate(operation.iova, operation.size);
        break;
      case 'iotlbBatchBegin':
        this.#batching = true;
        break;
      case 'iotlbBatchEnd':
        if (!this.#batching) return OK;
        this.#batching = false;
    }
    if (!this.#batching) this.#parent.setMaps(this.#iotlb.tree);
    return OK;
  }
}

/** Whether a file descriptor can be bound: -1, which unbinds, or an eventfd (eventfd_ctx_fdget). */
function bindable(fd: number): Answer {
  if (fd === -1) return OK;
  try {
    return readlinkSync(`/proc/self/fd/${fd}`) === 'anon_inode:[eventfd]' ? OK : refuse('EINVAL');
  } catch {
    return refuse('EBADF');
  }
}
