/** Sizes and durations as people write them. */
import { VdpaError } from './errors.js';

const SIZES: Record<string, number> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };
const DURATIONS: Record<string, number> = { ns: 1e-6, us: 1e-3, ms: 1, s: 1e3, m: 6e4, h: 36e5 };

/**
 * Bytes from `4096`, `4K`, `2M`, `1G` or `1T` (powers of two).
 * @throws VdpaError ERR_VDPA_INVALID_ARGUMENT
 */
export function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?$/i.exec(text.trim());
  const bytes = match ? Number(match[1]) * SIZES[match[2]!.toUpperCase()]! : Number.NaN;
  if (Number.isSafeInteger(bytes)) return bytes;
  throw new VdpaError(
    'ERR_VDPA_INVALID_ARGUMENT',
    bytes > Number.MAX_SAFE_INTEGER
      ? `"${text}" is too large: sizes are below 8192T, which is 2^53 bytes. Units are K, M, G and T.`
      : `"${text}" is not a size; write bytes, or 4K, 2M, 1G. Units are K, M, G and T, powers of two.`,
    { details: { text } },
  );
}

/**
 * Milliseconds from `500ms`, `10s`, `2m`, `50us`; a bare number is seconds.
 * @throws VdpaError ERR_VDPA_INVALID_ARGUMENT
 */
export function parseDuration(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*(ns|us|ms|s|m|h)?$/.exec(text.trim());
  if (match) return Number(match[1]) * DURATIONS[match[2] ?? 's']!;
  throw new VdpaError('ERR_VDPA_INVALID_ARGUMENT', `"${text}" is not a duration; write 500ms, 10s or 2m.`, {
    details: { text },
  });
}

/** `1 GiB`, `64 KiB`, `512 B`. */
export function formatSize(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  const power = bytes < 1 ? 0 : Math.min(Math.floor(Math.log2(bytes) / 10), units.length - 1);
  const value = bytes / 2 ** (10 * power);
  return `${Number.isInteger(value) ? value : value.toFixed(1)} ${units[power]}`;
}
