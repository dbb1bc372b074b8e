/** Sizes and durations, as people write them. */
import { describe, expect, it } from 'vitest';
import { formatSize, parseDuration, parseSize } from '../../lib/units.js';

describe('parseSize', () => {
  it.each([
    ['0', 0],
    ['4096', 4096],
    ['512B', 512],
    ['4K', 4096],
    ['4k', 4096],
    ['4KiB', 4096],
    ['4KB', 4096],
    ['2M', 2 ** 21],
    ['1G', 2 ** 30],
    ['1.5G', 1.5 * 2 ** 30],
    ['8T', 2 ** 43],
    [' 1 G ', 2 ** 30],
    ['9007199254740991', Number.MAX_SAFE_INTEGER],
  ])('takes %j', (text, bytes) => {
    expect(parseSize(text)).toBe(bytes);
  });

  it.each(['', 'G', '1X', '-1', '1e3', '0x10', '1.3K', '1,5G'])('refuses %j', text => {
    expect(() => parseSize(text)).toThrow(expect.objectContaining({ code: 'ERR_VDPA_INVALID_ARGUMENT' }));
    expect(() => parseSize(text)).toThrow(
      `"${text}" is not a size; write bytes, or 4K, 2M, 1G. Units are K, M, G and T`,
    );
  });

  it.each(['9007199254740992', '8192T', '1000000000000000000000G'])('refuses %j as too large', text => {
    expect(() => parseSize(text)).toThrow(expect.objectContaining({ code: 'ERR_VDPA_INVALID_ARGUMENT' }));
    expect(() => parseSize(text)).toThrow(`"${text}" is too large: sizes are below 8192T`);
  });
});

describe('parseDuration', () => {
  it.each([
    ['10', 10_000],
    ['0', 0],
    ['10s', 10_000],
    ['500ms', 500],
    ['50us', 0.05],
    ['100ns', 0.0001],
    ['1.5s', 1500],
    ['2m', 120_000],
    ['1h', 3_600_000],
    [' 2 s ', 2000],
  ])('takes %j', (text, ms) => {
    expect(parseDuration(text)).toBeCloseTo(ms, 9);
  });

  it.each(['', 's', '-1s', '1S', '1d', '1e3', 'ten', '1m30s'])('refuses %j', text => {
    expect(() => parseDuration(text)).toThrow(expect.objectContaining({ code: 'ERR_VDPA_INVALID_ARGUMENT' }));
    expect(() => parseDuration(text)).toThrow(`"${text}" is not a duration`);
  });
});

describe('formatSize', () => {
  it.each([
    [0, '0 B'],
    [512, '512 B'],
    [1023, '1023 B'],
    [1024, '1 KiB'],
    [65536, '64 KiB'],
    [1536, '1.5 KiB'],
    [2 ** 20, '1 MiB'],
    [2 ** 30, '1 GiB'],
    [3.25 * 2 ** 30, '3.3 GiB'],
    [2 ** 40, '1 TiB'],
    [2 ** 52, '4096 TiB'],
  ])('%d is %s', (bytes, text) => {
    expect(formatSize(bytes)).toBe(text);
  });
});
