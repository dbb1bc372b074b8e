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

/** The bytes of a log: a view of any kind, or all of a buffer. */
export type VhostLog = ArrayBufferView | ArrayBufferLike;

/** Bytes of a log for a memory of this size: whole words. */
export function vhostLogSize(bytes: number): number {
  return Math.ceil(bytes / (VHOST_LOG_PAGE * 8 * WORD_BYTES)) * WORD_BYTES;
}

/**
 * Sets the bits of all pages that are marked, whatever page size they are marked in. Bits that are set stay so.
 * @throws VdpaError ERR_VDPA_INVALID_ARGUMENT when the log has no bytes, or too few for the memory.
 */
export function exportVhostLog(marked: DirtyView, log: VhostLog): void {
  const bitmap = bitmapOn(bytesOf(log), marked.bytes);
  marked.forEachRun((offset, length) => bitmap.set(offset, length));
}

/**
 * Marks what the log says is dirty, of a memory of `bytes` bytes that `marks` is for.
 * @throws VdpaError ERR_VDPA_INVALID_ARGUMENT when the log has no bytes, or too few for the memory; AddressError, before anything is marked, when
 * it has pages beyond the memory.
 */
export function importVhostLog(log: VhostLog, bytes: number, marks: DirtyMarks): void {
  const data = bytesOf(log);
  const bitmap = bitmapOn(data, bytes);
  const all = new IovaBitmap(0, data.length * 8 * VHOST_LOG_PAGE, VHOST_LOG_PAGE, data);
  const beyond = all.count() - bitmap.count();
  if (beyond > 0) {
    throw new AddressError(
      `The log has ${beyond} dirty pages beyond the memory of ${bytes} bytes: it is of another memory.`,
      { details: { pages: beyond, bytes } },
    );
  }
  bitmap.forEachRun((offset, length) => marks.mark(offset, length));
}

/** The same bytes, whatever the units in which the caller sees them. */
function bytesOf(log: VhostLog): Uint8Array {
  if (ArrayBuffer.isView(log)) return new Uint8Array(log.buffer, log.byteOffset, log.byteLength);
  if (log instanceof ArrayBuffer || log instanceof SharedArrayBuffer) return new Uint8Array(log);
  throw new VdpaError(
    'ERR_VDPA_INVALID_ARGUMENT',
    `A log is an ArrayBuffer or a view on one, such as a Uint8Array, not ${log === null ? 'null' : typeof log}.`,
  );
}

function bitmapOn(log: Uint8Array, bytes: number): IovaBitmap {
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
