import { beforeEach, describe, expect, it } from 'vitest';
import { Chain } from '../../lib/ring/chain.js';
import { SplitDevice } from '../../lib/ring/split-device.js';
import { buffersOf, faultOf, INDIRECT, NEXT, RingMemory, WRITE } from './ring-memory.js';

const SIZE = 4;

describe('SplitDevice', () => {
  let memory: RingMemory;
  let device: SplitDevice;
  const chain = new Chain(SIZE);

  beforeEach(() => {
    memory = new RingMemory(SIZE);
    device = new SplitDevice(memory.areas, SIZE, 0);
    for (let i = 0; i < SIZE; i++) memory.setDesc(i, 0x1000 * (i + 1), 0x10 + i, WRITE);
  });

  it('writes nothing when it is made', () => {
    const before = memory.bytes.slice();
    expect(new SplitDevice(memory.areas, SIZE, 7)).toMatchObject({
      availIndex: 7,
      usedIndex: 7,
      inFlight: 0,
      size: SIZE,
    });
    expect(new SplitDevice(memory.areas, SIZE, 1, 0xffff)).toMatchObject({ availIndex: 1, usedIndex: 0xffff });
    expect(memory.bytes).toEqual(before);
  });

  it('takes a chain as the driver linked it', () => {
    memory.setDesc(2, 0x1f_ffff_ffff_fff0n, 0xffff_fff0, NEXT, 0);
    memory.setDesc(0, 0x8000_0000n, 0x0f, NEXT | WRITE, 3);
    memory.setDesc(3, 0n, 1, WRITE, 0xffff);
    memory.offer(2);
    expect(device.pop(chain)).toBe(true);
    expect(buffersOf(chain)).toEqual([
      [0x1f_ffff_ffff_fff0, 0xffff_fff0, 'r'],
      [0x8000_0000, 0x0f, 'w'],
      [0, 1, 'w'],
    ]);
    expect(chain).toMatchObject({ head: 2, count: 3, readable: 1, readableBytes: 0xffff_fff0, writableBytes: 16 });
    expect(device).toMatchObject({ availIndex: 1, usedIndex: 0, inFlight: 1 });
    expect(device.pop(chain)).toBe(false);
  });

  it('takes a chain as long as the queue', () => {
    for (let i = 0; i < SIZE; i++) memory.setDesc(i, i, 1, i + 1 < SIZE ? NEXT : 0, i + 1);
    memory.offer(0);
    expect(device.pop(chain)).toBe(true);
    expect(chain.count).toBe(SIZE);
  });

  it('reads avail.idx once per batch', () => {
    memory.offer(0);
    memory.offer(1);
    expect(device.pop(chain)).toBe(true);
    memory.availIdx = 50;
    expect(device.pop(chain)).toBe(true);
    expect(faultOf(() => device.pop(chain)).kind).toBe('avail-jump');
  });

  it('returns chains in its own order, and shows them only with publish', () => {
    memory.offer(3);
    memory.offer(1);
    device.pop(chain);
    device.pop(chain);
    device.push(1, 5);
    device.push(3, 0xffff_ffff);
    expect(memory.usedIdx).toBe(0);
    expect(device).toMatchObject({ usedIndex: 2, inFlight: 0 });
    device.publish();
    expect(memory.usedIdx).toBe(2);
    expect([memory.usedElem(0), memory.usedElem(1)]).toEqual([
      { id: 1, len: 5 },
      { id: 3, len: 0xffff_ffff },
    ]);
    memory.checkGuards();
  });

  it.each([0, 2, SIZE, -1, 1.5])('refuses to return head %d, which is not in flight', head => {
    memory.offer(1);
    device.pop(chain);
    const before = memory.bytes.slice();
    expect(() => device.push(head, 0)).toThrow(expect.objectContaining({ code: 'ERR_VDPA_INVALID_ARGUMENT' }));
    expect(memory.bytes).toEqual(before);
    expect(device).toMatchObject({ usedIndex: 0, inFlight: 1 });
  });

  it('asks for a call unless the driver set NO_INTERRUPT', () => {
    expect(device.shouldCall()).toBe(true);
    memory.availFlags = 1;
    expect(device.shouldCall()).toBe(false);
    memory.availFlags = 0xfffe;
    expect(device.shouldCall()).toBe(true);
  });

  it('sets and clears NO_NOTIFY, and tells whether anything is left to take', () => {
    device.setNotify(false);
    expect(memory.usedFlags).toBe(1);
    expect(device.isEmpty()).toBe(true);
    memory.offer(0);
    device.setNotify(true);
    expect(memory.usedFlags).toBe(0);
    expect(device.isEmpty()).toBe(false);
    device.pop(chain);
    expect(device.isEmpty()).toBe(true);
  });

  it('gives the heads in flight in the order they were taken', () => {
    for (const head of [2, 0, 3]) {
      memory.offer(head);
      device.pop(chain);
    }
    device.push(2, 0);
    memory.offer(2);
    device.pop(chain);
    const heads = new Uint16Array(SIZE);
    expect(device.inFlightHeads(heads)).toBe(3);
    expect([...heads.subarray(0, 3)]).toEqual([0, 3, 2]);
  });

  it('takes over heads in flight from another device, with the used index behind the base', () => {
    memory.setDesc(3, 0x500, 1, NEXT, 1);
    const heir = new SplitDevice(memory.areas, SIZE, 10, 8);
    heir.chainAt(3, chain);
    expect(buffersOf(chain)).toEqual([
      [0x500, 1, 'r'],
      [0x2000, 0x11, 'w'],
    ]);
    heir.chainAt(0, chain);
    expect(heir).toMatchObject({ availIndex: 10, usedIndex: 8, inFlight: 2 });
    expect(faultOf(() => heir.chainAt(3, chain)).kind).toBe('in-flight');
    expect(faultOf(() => heir.chainAt(SIZE, chain)).kind).toBe('head-range');
    heir.push(0, 0);
    heir.push(3, 0);
    heir.publish();
    expect(memory.usedIdx).toBe(10);
  });

  it('refuses a chain object that is too small, and takes nothing', () => {
    memory.setDesc(0, 0, 1, NEXT, 1);
    memory.offer(0);
    expect(() => device.pop(new Chain(1))).toThrow(expect.objectContaining({ code: 'ERR_VDPA_INVALID_ARGUMENT' }));
    expect(device).toMatchObject({ availIndex: 0, inFlight: 0 });
    expect(device.pop(chain)).toBe(true);
  });

  describe('before a hostile guest', () => {
    /** The fault pop ends in; nothing may be consumed, and the next pop must fault again. */
    const popFault = () => {
      const before = { avail: device.availIndex, inFlight: device.inFlight };
      const fault = faultOf(() => device.pop(chain));
      expect(faultOf(() => device.pop(chain))).toEqual(fault);
      expect({ avail: device.availIndex, inFlight: device.inFlight }).toEqual(before);
      return fault;
    };

    it('finds avail.idx more than a queue ahead, and backwards', () => {
      memory.availIdx = SIZE + 1;
      expect(popFault()).toEqual({ kind: 'avail-jump', index: 0, avail_idx: SIZE + 1, size: SIZE });
      memory.availIdx = 0xffff;
      expect(popFault()).toMatchObject({ kind: 'avail-jump', avail_idx: 0xffff });
    });

    it('finds a head beyond the table', () => {
      memory.offer(SIZE);
      expect(popFault()).toMatchObject({ kind: 'head-range', index: 0, head: SIZE });
    });

    it('finds a link beyond the table', () => {
      memory.setDesc(1, 0, 1, NEXT, SIZE);
      memory.offer(1);
      expect(popFault()).toMatchObject({ kind: 'next-range', head: 1, descriptor: SIZE });
    });

    it('finds a loop: onto itself, and through the whole table', () => {
      memory.setDesc(1, 0, 1, NEXT, 1);
      memory.offer(1);
      expect(popFault()).toMatchObject({ kind: 'loop', head: 1 });
      for (let i = 0; i < SIZE; i++) memory.setDesc(i, 0, 1, NEXT, (i + 1) % SIZE);
      expect(popFault()).toMatchObject({ kind: 'loop', head: 1 });
    });

    it('finds an indirect descriptor, also inside a chain', () => {
      memory.setDesc(1, 0, 16, INDIRECT);
      memory.setDesc(0, 0, 16, NEXT, 1);
      memory.offer(0);
      expect(popFault()).toMatchObject({ kind: 'indirect', head: 0, descriptor: 1 });
    });

    it('finds a readable descriptor after a writable one', () => {
      memory.setDesc(0, 0, 1, NEXT | WRITE, 1);
      memory.setDesc(1, 0, 1, 0);
      memory.offer(0);
      expect(popFault()).toMatchObject({ kind: 'order', head: 0, descriptor: 1 });
    });

    it('finds a head that is still in flight', () => {
      memory.offer(0);
      memory.offer(0);
      expect(device.pop(chain)).toBe(true);
      expect(popFault()).toMatchObject({ kind: 'in-flight', index: 1, head: 0 });
      device.push(0, 0);
      expect(device.pop(chain)).toBe(true);
    });

    it('finds an address that a number cannot hold, and takes the highest that it can', () => {
      memory.setDesc(0, 2n ** 53n, 1, 0);
      memory.offer(0);
      expect(popFault()).toMatchObject({ kind: 'address', head: 0, descriptor: 0 });
      memory.setDesc(0, 2n ** 64n - 1n, 1, 0);
      expect(popFault()).toMatchObject({ kind: 'address' });
      memory.setDesc(0, 2n ** 53n - 1n, 1, 0);
      expect(device.pop(chain)).toBe(true);
      expect(chain.addr[0]).toBe(Number.MAX_SAFE_INTEGER);
    });

    it('finds a chain of more than 2^32 bytes, and takes one of exactly that', () => {
      memory.setDesc(0, 0, 0xffff_ffff, NEXT, 1);
      memory.setDesc(1, 0, 2, WRITE);
      memory.offer(0);
      expect(popFault()).toMatchObject({ kind: 'bytes', head: 0 });
      memory.setDesc(1, 0, 1, WRITE);
      expect(device.pop(chain)).toBe(true);
    });

    it('says in the message what, where and what to do', () => {
      memory.offer(9);
      expect(() => device.pop(chain)).toThrow(/driver broke.*head beyond.*index 0x0, head 0x9.*stop the queue/);
    });
  });
});
