/**
 * Device operations as data: the narrow waist between the library and any device.
 *
 * Each operation is one system call on a vhost-vdpa file: an ioctl, an IOTLB message (write), open or close.
 * Memory is named by region and offset, never by a raw address, so that a list of operations can be printed, replayed,
 * given to a soft device, and cannot name private memory by mistake.
 */

/** Device access of a mapping, seen from the device (VHOST_ACCESS_RO, _WO, _RW of linux/vhost_types.h). */
export type Permission = 'ro' | 'wo' | 'rw';

/** What must hold for the value an operation read: `(value & mask) === equals`. */
export interface Expectation {
  readonly mask: number;
  readonly equals: number;
}

interface Common {
  /** Run it even when an earlier operation of the list failed: the tail that leaves a device safe. */
  readonly always?: boolean;
  /** Fails the operation with EPROTO when the value it read is another: several requests answer 0 without effect. */
  readonly expect?: Expectation;
}

/** Requests without an argument. */
export type PlainOp = 'close' | 'setOwner' | 'resetOwner' | 'suspend' | 'resume';

/** Requests that read one number. */
export type GetterOp =
  | 'getFeatures'
  | 'getBackendFeatures'
  | 'getDeviceId'
  | 'getStatus'
  | 'getVringNum'
  | 'getConfigSize'
  | 'getAsNum'
  | 'getVqsCount'
  | 'getGroupNum'
  | 'getForkFromOwner';

/** Requests that read one number of a queue. */
export type VringGetterOp =
  | 'getVringBase'
  | 'getVringGroup'
  | 'getVringDescGroup'
  | 'getVringSize'
  | 'getVringEndian'
  | 'getVringBusyloopTimeout';

/** Requests that set one number of a queue. */
export type VringSetterOp =
  | 'setVringNum'
  | 'setVringBase'
  | 'setVringEnable'
  | 'setVringEndian'
  | 'setVringBusyloopTimeout';

/** Requests that bind a file descriptor to a queue; -1 unbinds. */
export type VringFdOp = 'setVringKick' | 'setVringCall' | 'setVringErr';

export type Operation = Common &
  (
    | { readonly op: 'open'; readonly path: string }
    | { readonly op: PlainOp }
    | { readonly op: GetterOp }
    | { readonly op: VringGetterOp; readonly index: number }
    | { readonly op: VringSetterOp; readonly index: number; readonly num: number }
    | { readonly op: VringFdOp; readonly index: number; readonly fd: number }
    | {
        readonly op: 'setVringAddr';
        readonly index: number;
        readonly desc: number;
        readonly avail: number;
        readonly used: number;
      }
    | { readonly op: 'setFeatures'; readonly features: bigint }
    | { readonly op: 'setBackendFeatures'; readonly features: bigint }
    | { readonly op: 'setStatus'; readonly status: number }
    | { readonly op: 'getConfig'; readonly offset: number; readonly length: number }
    | { readonly op: 'setConfig'; readonly offset: number; readonly bytes: Uint8Array }
    | { readonly op: 'setConfigCall'; readonly fd: number }
    | { readonly op: 'getIovaRange' }
    | { readonly op: 'setGroupAsid'; readonly group: number; readonly asid: number }
    | { readonly op: 'setMemTable' }
    | { readonly op: 'setLogBase'; readonly base: number }
    | { readonly op: 'setLogFd'; readonly fd: number }
    | { readonly op: 'setForkFromOwner'; readonly value: number }
    | {
        readonly op: 'iotlbUpdate';
        readonly asid: number;
        readonly iova: number;
        readonly size: number;
        /** Id of a memory region (`MemoryRegion.id`). */
        readonly region: number;
        readonly offset: number;
        readonly perm: Permission;
      }
    | { readonly op: 'iotlbInvalidate'; readonly asid: number; readonly iova: number; readonly size: number }
    | { readonly op: 'iotlbBatchBegin' | 'iotlbBatchEnd'; readonly asid: number }
  );

export type OperationName = Operation['op'];

/** First and last usable IOVA, both inclusive, as VHOST_VDPA_GET_IOVA_RANGE gives them. */
export interface IovaRange {
  readonly first: bigint;
  readonly last: bigint;
}

/** What an operation read: a feature word is a bigint, config is bytes, everything else a number. */
export type OperationValue = number | bigint | Uint8Array | IovaRange | undefined;

export interface OperationResult {
  /** False when an earlier failure, or a cancellation, kept the operation from starting. */
  readonly ran: boolean;
  /** 0, or the kernel's errno (positive). 71 (EPROTO) when `expect` did not hold. */
  readonly errno: number;
  readonly value: OperationValue;
  /** When the system call began, in milliseconds of CLOCK_MONOTONIC (the clock of `process.hrtime`); 0 when it did not run. */
  readonly started_ms: number;
  /** Time of the one system call, in milliseconds. */
  readonly duration_ms: number;
}
