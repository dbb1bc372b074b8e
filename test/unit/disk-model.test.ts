import { describe, expect, test } from 'vitest';
import { DiskModel } from '../../lib/guest/disk-model.js';

const block = () => new Uint32Array(1024);

describe('what a block must hold', () => {
  test('is what was written last', () => {
    const model = new DiskModel(8);
    const [first, second] = [block(), block()];
    model.written(3, model.fill(3, first));
    expect(model.verify(3, first)).toBe(true);
    const write = model.fill(3, second);
    expect(model.verify(3, second)).toBe(false);
    model.written(3, write);
    expect(model.verify(3, second)).toBe(true);
    expect(model.verify(3, first)).toBe(false);
  });

  test('is found wrong by a single changed bit, in any word', () => {
    const model = new DiskModel(8);
    const data = block();
    model.written(0, model.fill(0, data));
    for (const i of [0, 1, 511, 1023]) {
      data[i]! ^= 1 << (i % 32);
      expect(model.verify(0, data)).toBe(false);
      data[i]! ^= 1 << (i % 32);
    }
    expect(model.verify(0, data)).toBe(true);
  });

  test('is not what another block holds', () => {
    const model = new DiskModel(8);
    const [one, two] = [block(), block()];
    model.written(1, model.fill(1, one));
    model.written(2, model.fill(2, two));
    expect(model.verify(1, two)).toBe(false);
  });

  test('is what the first read showed, where nothing was written', () => {
    const model = new DiskModel(8);
    const data = block().fill(7);
    expect(model.verify(5, data)).toBe(true);
    expect(model.verify(5, data)).toBe(true);
    data[1000] = 8;
    expect(model.verify(5, data)).toBe(false);
  });

  test('is open again after a write that failed', () => {
    const model = new DiskModel(8);
    const data = block();
    model.written(1, model.fill(1, data));
    model.forget(1);
    expect(model.verify(1, block())).toBe(true);
  });

  test('is unknown while a request is in flight', () => {
    const model = new DiskModel(8);
    model.begin(4);
    expect([model.isBusy(4), model.isBusy(5)]).toEqual([true, false]);
    model.end(4);
    expect(model.isBusy(4)).toBe(false);
  });
});
