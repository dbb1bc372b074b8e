/** How the command ends, one table for help, docs and tests. */
import { type ErrorCode, VdpaError } from '../errors.js';

export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  negative: 3,
  noDevice: 4,
  permission: 5,
  unsupported: 6,
  timeout: 7,
  interrupted: 130,
} as const;

export const EXIT_TEXT = `Exit codes: 0 ok; 1 failed; 2 usage; 3 verdict negative; 4 no such device; 5 permission; 6 unsupported; 7 timeout; 130 interrupted.`;

const BY_CODE: Partial<Record<ErrorCode, number>> = {
  ERR_VDPA_INVALID_ARGUMENT: EXIT.usage,
  ERR_VDPA_NOT_ALLOWED: EXIT.usage,
  ERR_VDPA_NO_DEVICE: EXIT.noDevice,
  ERR_VDPA_NOT_VHOST_VDPA: EXIT.noDevice,
  ERR_VDPA_PERMISSION: EXIT.permission,
  ERR_VDPA_UNSUPPORTED: EXIT.unsupported,
  ERR_VDPA_UNSUPPORTED_PLATFORM: EXIT.unsupported,
  ERR_VDPA_TIMEOUT: EXIT.timeout,
  ERR_VDPA_CANCELED: EXIT.interrupted,
};

export function exitCodeOf(error: unknown): number {
  return (error instanceof VdpaError && BY_CODE[error.code]) || EXIT.failed;
}
