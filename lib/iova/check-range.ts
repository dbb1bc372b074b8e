/** What any range of addresses must be. */
import { AddressError, hex } from '../errors.js';

/** Above this an address is no longer exact in a JavaScript number. */
export const MAX_ADDRESS = Number.MAX_SAFE_INTEGER;

/** @throws AddressError when it is empty, no range of whole bytes, or ends above 2^53 - 1. */
export function checkRange(start: number, size: number): void {
  if (!Number.isSafeInteger(start) || !Number.isSafeInteger(size) || start < 0 || size < 1) {
    throw new AddressError(`${size} bytes from ${start} on are not a range of addresses.`, {
      details: { start, size },
    });
  }
  if (start > MAX_ADDRESS - size + 1) {
    throw new AddressError(
      `The range of ${hex(size)} bytes at ${hex(start)} ends above ${hex(MAX_ADDRESS)}, the highest address this library handles.`,
      { details: { start, size } },
    );
  }
}

/** @throws AddressError when it is no range, or not one of whole pages. */
export function checkPages(start: number, size: number, granule: number): void {
  checkRange(start, size);
  if (start % granule === 0 && size % granule === 0) return;
  throw new AddressError(
    `${hex(start)}-${hex(start + size - 1)} is not made of whole pages of ${granule} bytes: round it before.`,
    { details: { start, size, granule } },
  );
}
