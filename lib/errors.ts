/**
 * Every error class and code of the library. Match on `code`; the text may change.
 * Each code is explained in docs/errors.md, and a test holds the two lists together.
 */

/** Stable error codes. */
export type ErrorCode =
  | 'ERR_VDPA_UNSUPPORTED_PLATFORM'
  | 'ERR_VDPA_ADDON'
  | 'ERR_VDPA_CLOSED'
  | 'ERR_VDPA_INVALID_ARGUMENT'
  | 'ERR_VDPA_NO_DEVICE'
  | 'ERR_VDPA_NOT_VHOST_VDPA'
  | 'ERR_VDPA_PERMISSION'
  | 'ERR_VDPA_BUSY'
  | 'ERR_VDPA_OPERATION'
  | 'ERR_VDPA_EXPECTATION'
  | 'ERR_VDPA_CANCELED'
  | 'ERR_VDPA_UNSUPPORTED'
  | 'ERR_VDPA_TIMEOUT'
  | 'ERR_VDPA_MEMORY'
  | 'ERR_VDPA_ADDRESS'
  | 'ERR_VDPA_MEMLOCK'
  | 'ERR_VDPA_RING'
  | 'ERR_VDPA_NOT_ALLOWED'
  | 'ERR_VDPA_TAKEOVER'
  | 'ERR_VDPA_MIGRATION';

/** Values that belong to a failure, for programs; the message repeats them for people. */
export type ErrorDetails = Readonly<Record<string, string | number | bigint | boolean | undefined>>;

export interface VdpaErrorOptions {
  readonly details?: ErrorDetails;
  readonly cause?: unknown;
}

/** Base of every error this library throws. */
export class VdpaError extends Error {
  readonly code: ErrorCode;
  readonly details: ErrorDetails;

  constructor(code: ErrorCode, message: string, options: VdpaErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = new.target.name;
    this.code = code;
    this.details = options.details ?? {};
  }
}

/** A device operation failed: `details` has the request's name, its errno and its arguments. */
export class OperationError extends VdpaError {}

/** A guest or a device broke the virtqueue contract: `details` has the queue, the index and the values. */
export class RingError extends VdpaError {
  constructor(message: string, options: VdpaErrorOptions = {}) {
    super('ERR_VDPA_RING', message, options);
  }
}

/** An address or a mapping is impossible: overlap, out of range, over a limit, not mapped. */
export class AddressError extends VdpaError {
  constructor(
    message: string,
    options: VdpaErrorOptions & { readonly code?: 'ERR_VDPA_ADDRESS' | 'ERR_VDPA_MEMLOCK' } = {},
  ) {
    super(options.code ?? 'ERR_VDPA_ADDRESS', message, options);
  }
}

/** The device or the kernel lacks something that was asked for. */
export class UnsupportedError extends VdpaError {
  constructor(message: string, options: VdpaErrorOptions = {}) {
    super('ERR_VDPA_UNSUPPORTED', message, options);
  }
}

/** The object was closed before this call. */
export class ClosedError extends VdpaError {
  constructor(what: string) {
    super('ERR_VDPA_CLOSED', `${what} is closed.`);
  }
}

/** A rehearsal could not be finished; `cause` is the first failure. */
export class MigrationError extends VdpaError {
  constructor(message: string, options: VdpaErrorOptions = {}) {
    super('ERR_VDPA_MIGRATION', message, options);
  }
}

/** Formats an address or a mask the way every message of this library does. */
export function hex(value: number | bigint): string {
  return `0x${value.toString(16)}`;
}
