import { beforeEach, describe, expect, it } from 'vitest';
import { Chain } from '../../lib/ring/chain.js';
import { SplitDriver } from '../../lib/ring/split-driver.js';
import { chainOf, faultOf, NEXT, RingMemory, WRITE } from './ring-memory.js';

const SIZE = 4;

describe('SplitDriver', () => {
  let memory: RingMemory;
  let driver: SplitDriver;
  const start = (base = 0) => {
    driver = new SplitDriver(memory.areas, SIZE, base);
  };
  const addOne = (bytes = 8) => driver.add(chainOf([0x1000, bytes, 'w']));

  beforeEach(() => {
    memory = new RingMemory(SIZE);
    start();
  });

  it('initialises the areas afresh, with used.idx preset to the base', () => {
    memory.setDesc(3, 1n, 2, WRITE);
    memory.availFlags = 1;
    memory.usedFlags = 1;
    memory.setAvailHead(2, 9);
    memory.setUsedElem(1, 7, 7);
    start(0xfffe);
    expect([memory.availIdx, memory.usedIdx, memory.availFlags, memory.usedFlags]).toEqual([0xfffe, 0xfffe, 0, 0]);
    expect(memory.desc(3)).toEqual({ addr: 0n, len: 0, flags: 0, next: 0 });
    expect(memory.availHead(2)).toBe(0);
    expect(memory.usedElem(1)).toEqual({ id: 0, len: 0 });
    expect(driver).toMatchObject({ availIndex: 0xfffe, usedIndex: 0xfffe, freeCount: SIZE, inFlight: 0, size: SIZE });
    memory.checkGuards();
  });

  it('writes a chain as linked descriptors, readable ones first', () => {
    const address = 0x1f_ffff_8765_4321;
    const head = driver.add(chainOf([address, 16, 'r'], [0xf000_0000, 0xffff_ffff, 'w'], [0x2000, 1, 'w']));
    const first = memory.desc(head);
    expect(first).toMatchObject({ addr: BigInt(address), len: 16, flags: NEXT });
    const second = memory.desc(first.next);
    expect(second).toMatchObject({ addr: 0xf000_0000n, len: 0xffff_ffff, flags: NEXT | WRITE });
    expect(memory.desc(second.next)).toEqual({ addr: 0x2000n, len: 1, flags: WRITE, next: 0 });
    expect(memory.availHead(0)).toBe(head);
    expect(driver).toMatchObject({ freeCount: 1, inFlight: 1, availIndex: 1 });
  });

  it('shows nothing before publish, and the whole batch after it', () => {
    addOne();
    addOne();
    expect(memory.availIdx).toBe(0);
    driver.publish();
    expect(memory.availIdx).toBe(2);
  });

  it('adds all or nothing: a chain that does not fit leaves ring and books as they were', () => {
    driver.add(chainOf([1, 1, 'r'], [2, 2, 'r'], [3, 3, 'w']));
    driver.publish();
    const before = memory.bytes.slice();
    expect(driver.add(chainOf([4, 4, 'r'], [5, 5, 'w']))).toBe(-1);
    expect(memory.bytes).toEqual(before);
    expect(driver).toMatchObject({ freeCount: 1, inFlight: 1, availIndex: 1 });
    driver.check();
    expect(addOne()).toBeGreaterThanOrEqual(0);
  });

  it('refuses a chain that can never fit, and an empty one', () => {
    const five = Array.from({ length: 5 }, (_, i) => [i, 1, 'r'] as const);
    expect(faultOf(() => driver.add(chainOf(...five)))).toEqual({ kind: 'chain-size', count: 5, size: 4 });
    expect(() => driver.add(new Chain(1))).toThrow(expect.objectContaining({ code: 'ERR_VDPA_INVALID_ARGUMENT' }));
    driver.check();
  });

  it('asks for a kick unless the device set NO_NOTIFY', () => {
    expect(driver.shouldKick()).toBe(true);
    memory.usedFlags = 1;
    expect(driver.shouldKick()).toBe(false);
    memory.usedFlags = 0xfffe;
    expect(driver.shouldKick()).toBe(true);
  });

  it('sets and clears NO_INTERRUPT', () => {
    driver.setInterrupts(false);
    expect(memory.availFlags).toBe(1);
    driver.setInterrupts(true);
    expect(memory.availFlags).toBe(0);
  });

  it('takes chains back in the order the device returns them', () => {
    const [a, b, c] = [addOne(10), addOne(20), addOne(30)];
    driver.publish();
    expect(driver.poll()).toBe(-1);
    expect(driver.hasUsed()).toBe(false);
    memory.complete(c, 30);
    memory.complete(a, 0);
    expect(driver.hasUsed()).toBe(true);
    expect([driver.poll(), driver.usedLength]).toEqual([c, 30]);
    expect([driver.poll(), driver.usedLength]).toEqual([a, 0]);
    expect(driver.hasUsed()).toBe(false);
    expect(driver.poll()).toBe(-1);
    const heads = new Uint16Array(SIZE);
    expect([driver.inFlightHeads(heads), heads[0]]).toEqual([1, b]);
    expect(driver).toMatchObject({ freeCount: 3, inFlight: 1, usedIndex: 2 });
    driver.check();
  });

  it('looks at used.idx once per batch', () => {
    const [a, b] = [addOne(), addOne()];
    driver.publish();
    memory.complete(a, 1);
    memory.complete(b, 1);
    expect(driver.poll()).toBe(a);
    memory.usedIdx = 9;
    expect(driver.poll()).toBe(b);
    expect(faultOf(() => driver.poll()).kind).toBe('used-jump');
  });

  it('lets the device write 2^32 - 1 bytes of a longer chain', () => {
    const head = driver.add(chainOf([0, 0xffff_ffff, 'w'], [2 ** 33, 0xffff_ffff, 'w']));
    driver.publish();
    memory.complete(head, 0xffff_ffff);
    expect(driver.poll()).toBe(head);
    expect(driver.usedLength).toBe(0xffff_ffff);
  });

  it('gives the heads in flight in the order they were added', () => {
    const heads = [addOne(), addOne(), addOne()];
    driver.publish();
    memory.complete(heads[0], 0);
    driver.poll();
    heads.push(addOne());
    const out = new Uint16Array(SIZE);
    expect(driver.inFlightHeads(out)).toBe(3);
    expect([...out.subarray(0, 3)]).toEqual(heads.slice(1));
  });

  describe('before a hostile device', () => {
    /** The fault poll ends in; the books must not have moved, and the next poll must fault again. */
    const pollFault = () => {
      const before = { used: driver.usedIndex, free: driver.freeCount, inFlight: driver.inFlight };
      const fault = faultOf(() => driver.poll());
      expect(faultOf(() => driver.poll())).toEqual(fault);
      expect({ used: driver.usedIndex, free: driver.freeCount, inFlight: driver.inFlight }).toEqual(before);
      driver.check();
      return fault;
    };

    it('finds used.idx ahead of what was made available, by one and backwards', () => {
      addOne();
      driver.publish();
      memory.usedIdx = 2;
      expect(pollFault()).toEqual({ kind: 'used-jump', index: 0, used_idx: 2, available: 1 });
      memory.usedIdx = 0xffff;
      expect(pollFault()).toMatchObject({ kind: 'used-jump', used_idx: 0xffff });
    });

    it('does not count what was added but not published', () => {
      addOne();
      memory.usedIdx = 1;
      expect(pollFault()).toMatchObject({ kind: 'used-jump', available: 0 });
    });

    it('finds an id beyond the table', () => {
      addOne();
      driver.publish();
      memory.complete(SIZE, 0);
      expect(pollFault()).toMatchObject({ kind: 'id-range', index: 0, id: SIZE });
      memory.setUsedElem(0, 0x1_0000, 0);
      expect(pollFault()).toMatchObject({ kind: 'id-range', id: 0x1_0000 });
    });

    it('finds an id that is not in flight: a free one, the inside of a chain, one returned twice', () => {
      const head = driver.add(chainOf([1, 1, 'r'], [2, 2, 'w']));
      const other = addOne();
      driver.publish();
      memory.complete(memory.desc(head).next, 0);
      expect(pollFault()).toMatchObject({ kind: 'not-in-flight', id: memory.desc(head).next });
      memory.setUsedElem(0, 3, 0);
      expect(pollFault()).toMatchObject({ kind: 'not-in-flight', id: 3 });
      memory.setUsedElem(0, other, 0);
      memory.complete(other, 0);
      expect(driver.poll()).toBe(other);
      expect(pollFault()).toMatchObject({ kind: 'not-in-flight', index: 1, id: other });
    });

    it('finds an id that was added but not published', () => {
      addOne();
      driver.publish();
      const hidden = addOne();
      memory.complete(hidden, 0);
      expect(pollFault()).toMatchObject({ kind: 'not-in-flight', id: hidden });
      driver.publish();
      expect(driver.poll()).toBe(hidden);
    });

    it('finds a length above what was writable', () => {
      const head = driver.add(chainOf([1, 100, 'r'], [2, 8, 'w'], [3, 8, 'w']));
      driver.publish();
      memory.complete(head, 17);
      expect(pollFault()).toEqual({ kind: 'used-length', index: 0, id: head, length: 17, writable: 16 });
      memory.setUsedElem(0, head, 16);
      expect(driver.poll()).toBe(head);
    });

    it('never follows links the device overwrote in the shared table', () => {
      const head = driver.add(chainOf([1, 1, 'r'], [2, 2, 'w']));
      driver.publish();
      for (let i = 0; i < SIZE; i++) memory.setDesc(i, 0, 0, NEXT, head);
      memory.complete(head, 2);
      expect(driver.poll()).toBe(head);
      driver.check();
      const heads = [addOne(), addOne(), addOne(), addOne()];
      expect(new Set(heads).size).toBe(SIZE);
      driver.check();
    });

    it('says in the message what, where and what to do', () => {
      addOne();
      driver.publish();
      memory.complete(0x20, 0);
      expect(() => driver.poll()).toThrow(/device broke.*head beyond.*index 0x0, id 0x20.*reset the device/);
    });
  });
});
