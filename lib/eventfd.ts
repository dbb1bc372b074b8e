/** eventfds: how drivers and devices wake each other. */
import { VdpaError } from './errors.js';
import { native } from './native.js';
import { errnoName } from './uapi/errno.js';

/** @throws VdpaError ERR_VDPA_MEMORY when there are no more file descriptors. */
export function createEventFd(): number {
  const fd = native().eventfdCreate();
  if (fd >= 0) return fd;
  throw new VdpaError('ERR_VDPA_MEMORY', `No eventfd: ${errnoName(-fd)}. Is there a limit on open files (ulimit -n)?`);
}

/** Adds one to the counter, which wakes whoever watches it. */
export function signalEventFd(fd: number): void {
  native().eventfdWrite(fd);
}

export function closeFd(fd: number): void {
  native().fdClose(fd);
}
