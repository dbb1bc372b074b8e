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

/**
 * Calls back with the counter, after it was read, whenever the eventfd is signalled; does not keep the process alive.
 * @returns the watch, for `unwatchFd`.
 * @throws VdpaError ERR_VDPA_MEMORY when there are no more file descriptors.
 */
export function watchFd(fd: number, callback: (count: number) => void): number {
  const watch = native().watchStart(fd, callback);
  if (watch < 0) {
    const text = `Eventfd ${fd} cannot be watched: ${errnoName(-watch)}. Is there a limit on open files (ulimit -n)?`;
    throw new VdpaError('ERR_VDPA_MEMORY', text, { details: { fd, errno: -watch } });
  }
  native().watchUnref(watch);
  return watch;
}

export function unwatchFd(watch: number): void {
  native().watchStop(watch);
}

/** Adds one to the counter, which wakes whoever watches it. */
export function signalEventFd(fd: number): void {
  native().eventfdWrite(fd);
}

export function closeFd(fd: number): void {
  native().fdClose(fd);
}
