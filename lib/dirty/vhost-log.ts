/**
 * The dirty log of vhost: what other programs of this field give and take as "the dirty bitmap" of a guest.
 *
 * One bit per page of 4 KiB of guest memory (VHOST_LOG_PAGE, whatever the host's page), in 64-bit words, page p in bit p % 64 of word
 * p / 64. The kernel sets bits with the lowest first in bytes too, on the little-endian machines this library runs on.
 * A log in use is written by others at any time: here it must be at rest, a copy or between two uses.
 */
import { AddressError, VdpaError } from '../errors.js';
import type { DirtyMarks } from './dirty-bitmap.js';
import type { DirtyView } from './dirty-view.js';
import { IovaBitmap } from './iova-bitmap.js';

export const VHOST_LOG_PAGE = 0x1000;
const WORD_BYTES = 8;

/** Bytes of a log for a memory of this size: whole words. */
export function vhostLogSize(bytes: number): number {
  return Math.ceil(bytes / (VHOST_LOG_PAGE * 8 * WORD_BYTES)) * WORD_BYTES;
}

/**
 * Sets the bits of all pages that are marked, whatever page size they are marked in. Bits that are set stay so.
 * @throws VdpaError ERR_VDPA_INVALID_ARGUMENT when the log is too short for the memory.
 */
export function exportVhostLog(marked: DirtyView, log: Uint8Array): void {
  const bitmap = logOf(log, marked.bytes);
  marked.forEachRun((offset, length) => bitmap.set(offset, length));
}

/**
 * Marks what the log says is dirty, of a memory of `bytes` bytes that `marks` is for.
 * @throws VdpaError ERR_VDPA_INVALID_ARGUMENT when the log is too short for the memory; AddressError, before anything is marked, when
 * it has pages beyond the memory.
 */
export function importVhostLog(log: Uint8Array, bytes: number, marks: DirtyMarks): void {
  const bitmap = logOf(log, bytes);
  const all = new IovaBitmap(0, log.length * 8 * VHOST_LOG_PAGE, VHOST_LOG_PAGE, log);
  const beyond = all.count() - bitmap.count();
  if (beyond > 0) {
    throw new AddressError(
      `The log has ${beyond} dirty pages beyond the memory of ${bytes} bytes: it is of another memory.`,
      { details: { pages: beyond, bytes } },
    );
  }
  bitmap.forEachRun((offset, length) => marks.mark(offset, length));
}

function logOf(log: Uint8Array, bytes: number): IovaBitmap {
  const least = vhostLogSize(bytes);
  if (log.length < least) {
    throw new VdpaError(
      'ERR_VDPA_INVALID_ARGUMENT',
      `A log of ${log.length} bytes is too short for a memory of ${bytes} bytes, which takes ${least}.`,
      { details: { log_bytes: log.length, bytes } },
    );
  }
  return new IovaBitmap(0, bytes, VHOST_LOG_PAGE, log);
}
