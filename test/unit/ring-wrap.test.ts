import { describe, expect, it } from 'vitest';
import { Chain } from '../../lib/ring/chain.js';
import { SplitDevice } from '../../lib/ring/split-device.js';
import { SplitDriver } from '../../lib/ring/split-driver.js';
import { chainOf, RingMemory } from './ring-memory.js';

describe.each([1, 2, 256, 32768])('a queue of %i', size => {
  it('passes 65535 → 0 with both indices, one chain at a time', () => {
    const memory = new RingMemory(size);
    const driver = new SplitDriver(memory.areas, size, 0xfffc);
    const device = new SplitDevice(memory.areas, size, 0xfffc);
    const chain = new Chain(size);
    for (let i = 0; i < 8; i++) {
      const head = driver.add(chainOf([0x1000 + i, 64, 'w']));
      driver.publish();
      expect(memory.availIdx).toBe((0xfffd + i) & 0xffff);
      expect(device.pop(chain)).toBe(true);
      expect([chain.head, chain.addr[0]]).toEqual([head, 0x1000 + i]);
      device.push(head, i);
      device.publish();
      expect(memory.usedIdx).toBe((0xfffd + i) & 0xffff);
      expect([driver.poll(), driver.usedLength]).toEqual([head, i]);
    }
    expect([driver.availIndex, driver.usedIndex, device.availIndex, device.usedIndex]).toEqual([4, 4, 4, 4]);
    driver.check();
    memory.checkGuards();
  });

  it('passes 65535 → 0 with a full ring in flight', () => {
    const base = (0x1_0000 - (size >>> 1) - 1) & 0xffff;
    const memory = new RingMemory(size);
    const driver = new SplitDriver(memory.areas, size, base);
    const device = new SplitDevice(memory.areas, size, base);
    const chain = new Chain(size);
    for (let round = 0; round < 3; round++) {
      const added: number[] = [];
      for (let i = 0; i < size; i++) added.push(driver.add(chainOf([i, 4, 'w'])));
      expect(driver.add(chainOf([0, 1, 'r']))).toBe(-1);
      driver.publish();
      const popped: number[] = [];
      while (device.pop(chain)) popped.push(chain.head);
      expect(popped).toEqual(added);
      const heads = new Uint16Array(size);
      expect(driver.inFlightHeads(heads)).toBe(size);
      expect([...heads]).toEqual(added);
      expect(device.inFlightHeads(heads)).toBe(size);
      expect([...heads]).toEqual(added);
      const returned = popped.toReversed();
      for (const head of returned) device.push(head, 4);
      device.publish();
      const polled: number[] = [];
      for (let head = driver.poll(); head >= 0; head = driver.poll()) polled.push(head);
      expect(polled).toEqual(returned);
      driver.check();
    }
    expect(memory.availIdx).toBe((base + 3 * size) & 0xffff);
    expect(memory.usedIdx).toBe(memory.availIdx);
    memory.checkGuards();
  });
});
