/** What may follow `soft:`. */
import { describe, expect, it } from 'vitest';
import { parseSoftOptions } from '../../lib/device/soft/options.js';

const DEFAULTS = {
  type: 'blk',
  latencyNs: 0,
  capacity: 128 * 2 ** 20,
  disk: 'default',
  persist: true,
  suspend: true,
};

describe('a reference', () => {
  it.each([
    ['soft:blk', {}],
    ['soft:blk?', {}],
    ['soft:blk?latency=50us', { latencyNs: 50_000 }],
    ['soft:blk?latency=2ms', { latencyNs: 2_000_000 }],
    ['soft:blk?capacity=64M', { capacity: 64 * 2 ** 20 }],
    ['soft:blk?capacity=4G', { capacity: 2 ** 32 }],
    ['soft:blk?disk=other', { disk: 'other' }],
    ['soft:blk?persist=off&suspend=off', { persist: false, suspend: false }],
    ['soft:blk?persist=on&persist=off&persist=on', {}],
  ])('%s', (reference, options) => {
    expect(parseSoftOptions(reference)).toEqual({ ...DEFAULTS, ...options });
  });

  it.each(['soft', 'soft:', 'soft:net', 'soft:BLK', 'soft:blk2'])('%s is no device', reference => {
    expect(() => parseSoftOptions(reference)).toThrow(
      expect.objectContaining({ code: 'ERR_VDPA_NO_DEVICE', details: { reference } }),
    );
  });

  it.each([
    ['soft:blk?late=1ms', /no property "late"; it has latency, capacity, disk, persist, suspend/],
    ['soft:blk?constructor=1', /no property "constructor"/],
    ['soft:blk?latency=soon', /not a duration/],
    ['soft:blk?capacity=big', /not a size/],
    ['soft:blk?persist=yes', /"on" or "off", not "yes"/],
    ['soft:blk?suspend', /"on" or "off", not ""/],
  ])('%s is invalid', (reference, message) => {
    expect(() => parseSoftOptions(reference)).toThrow(
      expect.objectContaining({ code: 'ERR_VDPA_INVALID_ARGUMENT', message: expect.stringMatching(message) }),
    );
  });
});
