import { describe, expect, it } from 'vitest';
import { VdpaError } from '../../lib/errors.js';
import { type RingAreas, ringLayout } from '../../lib/ring/areas.js';
import { SplitDevice } from '../../lib/ring/split-device.js';
import { SplitDriver } from '../../lib/ring/split-driver.js';

function areasOf(bytes: number, descOffset = 0, driverOffset = 0, deviceOffset = 0): RingAreas {
  const window = () => new ArrayBuffer(bytes);
  return { desc: window(), descOffset, driver: window(), driverOffset, device: window(), deviceOffset };
}

function refused(call: () => unknown, text: RegExp): void {
  expect(call).toThrow(VdpaError);
  expect(call).toThrow(expect.objectContaining({ code: 'ERR_VDPA_INVALID_ARGUMENT' }));
  expect(call).toThrow(text);
}

describe('ringLayout', () => {
  it('places the areas one after another, the device area on its own page', () => {
    expect(ringLayout(1)).toEqual({ descOffset: 0, driverOffset: 16, deviceOffset: 4096, bytes: 8192 });
    expect(ringLayout(256)).toEqual({ descOffset: 0, driverOffset: 4096, deviceOffset: 8192, bytes: 12288 });
    // 6 + 8 * 512 bytes of used ring no longer fit one page.
    expect(ringLayout(512)).toEqual({ descOffset: 0, driverOffset: 8192, deviceOffset: 12288, bytes: 20480 });
    expect(ringLayout(32768)).toEqual({ descOffset: 0, driverOffset: 524288, deviceOffset: 593920, bytes: 860160 });
  });

  it.each([1, 2, 256, 32768])('is enough for a queue of %i', size => {
    const { bytes, ...offsets } = ringLayout(size);
    const block = new ArrayBuffer(bytes);
    const areas = { desc: block, driver: block, device: block, ...offsets };
    expect(() => new SplitDriver(areas, size, 0)).not.toThrow();
    expect(() => new SplitDevice(areas, size, 0)).not.toThrow();
  });
});

describe.each([
  ['SplitDriver', SplitDriver],
  ['SplitDevice', SplitDevice],
])('the constructor of %s', (_, Side) => {
  it.each([0, 3, 65536, -8, 1.5, Number.NaN])('refuses the size %d', size => {
    refused(() => new Side(areasOf(1 << 20), size, 0), /power of two from 1 to 32768/);
  });

  it.each([-1, 65536, 0.5, Number.NaN])('refuses the base %d', base => {
    refused(() => new Side(areasOf(4096), 8, base), /base/);
  });

  it('refuses windows that are too short, by one byte', () => {
    const areas = areasOf(4096);
    const fits = { ...areas, desc: new ArrayBuffer(128), driver: new ArrayBuffer(22), device: new ArrayBuffer(70) };
    expect(() => new Side(fits, 8, 0)).not.toThrow();
    refused(() => new Side({ ...fits, desc: new ArrayBuffer(127) }, 8, 0), /descriptor table/);
    refused(() => new Side({ ...fits, driver: new ArrayBuffer(21) }, 8, 0), /driver area/);
    refused(() => new Side({ ...fits, device: new ArrayBuffer(69) }, 8, 0), /device area/);
    refused(() => new Side({ ...fits, descOffset: -16 }, 8, 0), /descriptor table/);
  });

  it('refuses misaligned areas: 16, 2 and 4 bytes', () => {
    expect(() => new Side(areasOf(4096, 16, 2, 4), 8, 0)).not.toThrow();
    refused(() => new Side(areasOf(4096, 8), 8, 0), /descriptor table must be aligned to 16/);
    refused(() => new Side(areasOf(4096, 0, 1), 8, 0), /driver area must be aligned to 2/);
    refused(() => new Side(areasOf(4096, 0, 0, 2), 8, 0), /device area must be aligned to 4/);
  });
});
