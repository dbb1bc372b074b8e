/**
 * Every request of the vhost-vdpa interface that an operation stands for: kernel name, request number, argument size
 * (linux/vhost.h). Requests of the vhost core that every vhost-vdpa device answers with ENOTTY and that have no operation
 * (workers, feature arrays) are left out.
 */
import { IOTLB_MSG_SIZE } from './iotlb.js';
import type { OperationName } from './operation.js';

/** Where the argument goes, as the kernel's macro declares it: `write` is user to kernel. */
export type Direction = 'none' | 'write' | 'read' | 'readwrite';

export interface Request {
  /** Kernel name; `open` and `close` for those calls. */
  readonly name: string;
  /** The ioctl request number; 0 for open, close and IOTLB messages, which are no ioctls. */
  readonly number: number;
  /** Bytes of the argument struct. The bytes of a config access come after it and are not counted. */
  readonly size: number;
  readonly direction: Direction;
  /** EPERM unless VHOST_SET_OWNER came before, from this process. */
  readonly needsOwner: boolean;
  /**
   * The first Linux release with it, for messages; undefined where no release serves it. Stable kernels carry backports:
   * what a device can do is asked of the device.
   */
  readonly since: string | undefined;
}

const VHOST_VIRTIO = 0xaf;
const IOC_DIRECTION = { none: 0, write: 1, read: 2, readwrite: 3 } as const;

/** The _IOC() of asm-generic (x86, arm64, riscv, s390): direction in bits 30-31, size in 16-29, type in 8-15, number in 0-7. */
export function ioc(direction: Direction, nr: number, size: number): number {
  return ((IOC_DIRECTION[direction] << 30) | (size << 16) | (VHOST_VIRTIO << 8) | nr) >>> 0;
}

const INT = 4;
const U8 = 1;
const U16 = 2;
const U32 = 4;
const U64 = 8;
/** struct vhost_vring_state and vhost_vring_file: u32 index, then a u32 number or an s32 file descriptor. */
const VRING = 8;
/** struct vhost_vring_addr: u32 index, u32 flags, u64 desc, u64 used, u64 avail, u64 log: used stands before avail. */
const VRING_ADDR = 40;
/** struct vhost_memory without regions: u32 nregions, u32 padding. */
const MEMORY = 8;
/** struct vhost_vdpa_config without its bytes: u32 off, u32 len. */
const CONFIG = 8;
/** struct vhost_vdpa_iova_range: u64 first, u64 last, both inclusive. */
const IOVA_RANGE = 16;

export const REQUESTS: Readonly<Record<OperationName, Request>> = {
  open: call('open'),
  close: call('close'),

  getFeatures: free('VHOST_GET_FEATURES', 'read', 0x00, U64, '5.7'),
  setFeatures: free('VHOST_SET_FEATURES', 'write', 0x00, U64, '5.7'),
  setOwner: free('VHOST_SET_OWNER', 'none', 0x01, 0, '5.7'),
  resetOwner: owned('VHOST_RESET_OWNER', 'none', 0x02, 0),
  setMemTable: owned('VHOST_SET_MEM_TABLE', 'write', 0x03, MEMORY, '5.7'),
  setLogBase: free('VHOST_SET_LOG_BASE', 'write', 0x04, U64),
  setLogFd: free('VHOST_SET_LOG_FD', 'write', 0x07, INT),
  setVringNum: owned('VHOST_SET_VRING_NUM', 'write', 0x10, VRING, '5.7'),
  setVringAddr: owned('VHOST_SET_VRING_ADDR', 'write', 0x11, VRING_ADDR, '5.7'),
  setVringBase: owned('VHOST_SET_VRING_BASE', 'write', 0x12, VRING, '5.7'),
  getVringBase: owned('VHOST_GET_VRING_BASE', 'readwrite', 0x12, VRING, '5.7'),
  setVringEndian: owned('VHOST_SET_VRING_ENDIAN', 'write', 0x13, VRING),
  // These two getters are declared as writes; the kernel answers into the struct all the same.
  getVringEndian: owned('VHOST_GET_VRING_ENDIAN', 'write', 0x14, VRING),
  getVringBusyloopTimeout: owned('VHOST_GET_VRING_BUSYLOOP_TIMEOUT', 'write', 0x24, VRING, '5.7'),
  setVringBusyloopTimeout: owned('VHOST_SET_VRING_BUSYLOOP_TIMEOUT', 'write', 0x23, VRING, '5.7'),
  setVringKick: owned('VHOST_SET_VRING_KICK', 'write', 0x20, VRING, '5.7'),
  setVringCall: owned('VHOST_SET_VRING_CALL', 'write', 0x21, VRING, '5.7'),
  setVringErr: owned('VHOST_SET_VRING_ERR', 'write', 0x22, VRING, '5.7'),
  setBackendFeatures: free('VHOST_SET_BACKEND_FEATURES', 'write', 0x25, U64, '5.9'),
  getBackendFeatures: free('VHOST_GET_BACKEND_FEATURES', 'read', 0x26, U64, '5.9'),

  getDeviceId: free('VHOST_VDPA_GET_DEVICE_ID', 'read', 0x70, U32, '5.7'),
  getStatus: free('VHOST_VDPA_GET_STATUS', 'read', 0x71, U8, '5.7'),
  setStatus: free('VHOST_VDPA_SET_STATUS', 'write', 0x72, U8, '5.7'),
  getConfig: free('VHOST_VDPA_GET_CONFIG', 'read', 0x73, CONFIG, '5.7'),
  setConfig: free('VHOST_VDPA_SET_CONFIG', 'write', 0x74, CONFIG, '5.7'),
  setVringEnable: owned('VHOST_VDPA_SET_VRING_ENABLE', 'write', 0x75, VRING, '5.7'),
  getVringNum: free('VHOST_VDPA_GET_VRING_NUM', 'read', 0x76, U16, '5.7'),
  setConfigCall: free('VHOST_VDPA_SET_CONFIG_CALL', 'write', 0x77, INT, '5.8'),
  getIovaRange: free('VHOST_VDPA_GET_IOVA_RANGE', 'read', 0x78, IOVA_RANGE, '5.11'),
  getConfigSize: free('VHOST_VDPA_GET_CONFIG_SIZE', 'read', 0x79, U32, '5.18'),
  getAsNum: free('VHOST_VDPA_GET_AS_NUM', 'read', 0x7a, U32, '5.19'),
  getVringGroup: owned('VHOST_VDPA_GET_VRING_GROUP', 'readwrite', 0x7b, VRING, '5.19'),
  setGroupAsid: owned('VHOST_VDPA_SET_GROUP_ASID', 'write', 0x7c, VRING, '5.19'),
  suspend: free('VHOST_VDPA_SUSPEND', 'none', 0x7d, 0, '6.0'),
  resume: free('VHOST_VDPA_RESUME', 'none', 0x7e, 0, '6.3'),
  getVringDescGroup: owned('VHOST_VDPA_GET_VRING_DESC_GROUP', 'readwrite', 0x7f, VRING, '6.7'),
  getVqsCount: free('VHOST_VDPA_GET_VQS_COUNT', 'read', 0x80, U32, '5.18'),
  getGroupNum: free('VHOST_VDPA_GET_GROUP_NUM', 'read', 0x81, U32, '5.19'),
  getVringSize: owned('VHOST_VDPA_GET_VRING_SIZE', 'readwrite', 0x82, VRING, '6.9'),

  setForkFromOwner: free('VHOST_SET_FORK_FROM_OWNER', 'write', 0x84, U8, '6.17'),
  getForkFromOwner: free('VHOST_GET_FORK_FROM_OWNER', 'read', 0x85, U8, '6.17'),

  iotlbUpdate: message('VHOST_IOTLB_UPDATE', '5.7'),
  iotlbInvalidate: message('VHOST_IOTLB_INVALIDATE', '5.7'),
  iotlbBatchBegin: message('VHOST_IOTLB_BATCH_BEGIN', '5.9'),
  iotlbBatchEnd: message('VHOST_IOTLB_BATCH_END', '5.9'),
};

const OPERATIONS: ReadonlyMap<string, OperationName> = new Map(
  Object.entries(REQUESTS).map(([op, { name }]) => [name, op as OperationName]),
);

/** The kernel name of what an operation asks for. */
export function requestOf(op: OperationName): string {
  return REQUESTS[op].name;
}

/** The operation of a kernel name, or undefined when there is none. */
export function operationOf(name: string): OperationName | undefined {
  return OPERATIONS.get(name);
}

function call(name: string): Request {
  return { name, number: 0, size: 0, direction: 'none', needsOwner: false, since: '5.7' };
}

/** An ioctl that anyone who has the file open may send. */
function free(name: string, direction: Direction, nr: number, size: number, since?: string): Request {
  return { name, number: ioc(direction, nr, size), size, direction, needsOwner: false, since };
}

/** An ioctl that needs the owner. */
function owned(name: string, direction: Direction, nr: number, size: number, since?: string): Request {
  return { ...free(name, direction, nr, size, since), needsOwner: true };
}

/** An IOTLB message, written to the file. */
function message(name: string, since: string): Request {
  return { name, number: 0, size: IOTLB_MSG_SIZE, direction: 'write', needsOwner: true, since };
}
