import { describe, expect, test } from 'vitest';
import { DISTANCE as FAR, ForwarderBench, MEMORY, USED_RING_GPA } from './forwarder-bench.js';

const RING_PAGE = USED_RING_GPA / 4096;

/** Marked pages, but for the guest's used ring's. */
function dirtyPages(bench: ForwarderBench): number[] {
  const pages: number[] = [];
  for (let page = 0; page < MEMORY / 4096; page++)
    if (page !== RING_PAGE && bench.dirty.has(page * 4096)) pages.push(page);
  return pages;
}

describe('forwarding', () => {
  test('gives the device translated addresses and the guest its completion', () => {
    const bench = new ForwarderBench();
    const head = bench.offer(
      [[0x3000, 16]],
      [
        [0x5000, 512],
        [0x7000, 1],
      ],
    );
    expect(bench.forwarder.forward(8)).toBe(1);
    const taken = bench.take()!;
    expect(taken.buffers).toEqual([
      [FAR + 0x3000, 16, false],
      [FAR + 0x5000, 512, true],
      [FAR + 0x7000, 1, true],
    ]);
    bench.finish(taken.head, 513);
    expect(bench.forwarder.complete(8)).toBe(1);
    expect(bench.driver.poll()).toBe(head);
    expect(bench.driver.usedLength).toBe(513);
    expect(bench.forwarder.inFlight).toBe(0);
  });

  test('publishes and kicks once per batch, calls once per batch', () => {
    const bench = new ForwarderBench();
    for (let i = 0; i < 5; i++) bench.offer([[0x1000 * (i + 1), 8]]);
    expect(bench.forwarder.forward(64)).toBe(5);
    expect(bench.kicks).toBe(1);
    for (let taken = bench.take(); taken; taken = bench.take()) bench.device.push(taken.head, 0);
    bench.device.publish();
    expect(bench.forwarder.complete(64)).toBe(5);
    expect(bench.calls).toBe(1);
    expect(bench.forwarder.counters).toMatchObject({
      forwarded: 5,
      completed: 5,
      batches: 1,
      largest_batch: 5,
      kicks: 1,
      calls: 1,
    });
  });

  test('honours who does not want to be told', () => {
    const bench = new ForwarderBench();
    bench.device.setNotify(false);
    bench.driver.setInterrupts(false);
    bench.offer([[0x1000, 8]]);
    bench.forwarder.forward(8);
    bench.finish(bench.take()!.head, 0);
    bench.forwarder.complete(8);
    expect([bench.kicks, bench.calls]).toEqual([0, 0]);
  });

  test('moves no more than its budget', () => {
    const bench = new ForwarderBench();
    for (let i = 0; i < 5; i++) bench.offer([[0x1000, 8]]);
    expect([bench.forwarder.forward(2), bench.forwarder.forward(2), bench.forwarder.forward(2)]).toEqual([2, 2, 1]);
  });

  test('does not kick while held, and the requests stay in flight', () => {
    const bench = new ForwarderBench();
    bench.forwarder.kickDevice(false);
    bench.offer([[0x1000, 8]]);
    expect(bench.forwarder.forward(8)).toBe(1);
    expect([bench.kicks, bench.forwarder.inFlight]).toEqual([0, 1]);
  });

  test('takes nothing new while it does not accept', () => {
    const bench = new ForwarderBench();
    bench.offer([[0x1000, 8]]);
    bench.forwarder.accept(false);
    expect(bench.forwarder.forward(8)).toBe(0);
    bench.forwarder.accept(true);
    expect(bench.forwarder.forward(8)).toBe(1);
  });
});

describe('a buffer that spans maps', () => {
  const translation = [
    { from: 0, size: 0x2000, to: FAR, writable: true },
    { from: 0x2000, size: 0x2000, to: 3 * FAR, writable: true },
  ];

  test('becomes several descriptors, and its marks fall on the guest addresses', () => {
    const bench = new ForwarderBench({ translation });
    bench.offer([], [[0x1800, 0x1000]]);
    bench.forwarder.forward(8);
    const taken = bench.take()!;
    expect(taken.buffers).toEqual([
      [FAR + 0x1800, 0x800, true],
      [3 * FAR, 0x800, true],
    ]);
    bench.finish(taken.head, 0x1000);
    bench.forwarder.complete(8);
    expect(dirtyPages(bench)).toEqual([1, 2]);
  });
});

describe('a full shadow ring', () => {
  test('parks one request and goes on by itself', () => {
    const bench = new ForwarderBench({ shadowSize: 4 });
    for (let i = 0; i < 3; i++)
      bench.offer([
        [0x1000, 8],
        [0x2000, 8],
      ]);
    expect(bench.forwarder.forward(8)).toBe(2);
    expect(bench.forwarder.counters.parks).toBe(1);
    expect(bench.forwarder.inFlight).toBe(3);
    expect(bench.forwarder.forward(8)).toBe(0);
    bench.finish(bench.take()!.head, 0);
    expect(bench.forwarder.complete(8)).toBe(1);
    expect(bench.forwarder.forward(8)).toBe(1);
    expect(bench.forwarder.fault).toBeUndefined();
  });
});

describe('dirty pages', () => {
  test('are the buffers of what came back, by guest address, and the used ring', () => {
    const bench = new ForwarderBench();
    bench.offer(
      [[0x3000, 16]],
      [
        [0x5000, 0x1000],
        [0x9000, 0x1000],
      ],
    );
    bench.forwarder.forward(8);
    bench.finish(bench.take()!.head, 0x1001);
    bench.forwarder.complete(8);
    expect(dirtyPages(bench)).toEqual([5, 9]);
    expect(bench.dirty.has(USED_RING_GPA)).toBe(true);
  });

  test('do not depend on the length the device tells: a failed read tells 1 and writes its status behind the data', () => {
    const bench = new ForwarderBench();
    bench.offer(
      [],
      [
        [0x5000, 0x1000],
        [0x9000, 1],
      ],
    );
    bench.forwarder.forward(8);
    bench.finish(bench.take()!.head, 1);
    bench.forwarder.complete(8);
    expect(dirtyPages(bench)).toEqual([5, 9]);
  });

  test('include the used ring at a stop, whose flags change without a completion', () => {
    const bench = new ForwarderBench();
    bench.forwarder.stop();
    expect(bench.dirty.has(USED_RING_GPA)).toBe(true);
  });

  test('include every writable buffer still in flight at a stop', () => {
    const bench = new ForwarderBench();
    bench.offer(
      [[0x3000, 16]],
      [
        [0x5000, 0x1000],
        [0x9000, 1],
      ],
    );
    bench.forwarder.forward(8);
    bench.forwarder.stop();
    expect(dirtyPages(bench)).toEqual([5, 9]);
  });
});

describe('stop and replay', () => {
  test('a stop tells the heads in flight in the order they were taken; a replay gives the device exactly those first', () => {
    const bench = new ForwarderBench();
    const heads = [0x1000, 0x2000, 0x3000, 0x4000].map(addr => bench.offer([[addr, 8]]));
    bench.forwarder.forward(8);
    const first = bench.take()!;
    const second = bench.take()!;
    // Out of order: the second comes back, the first stays.
    bench.finish(second.head, 0);
    bench.forwarder.complete(8);
    expect(first.buffers[0]![0]).toBe(FAR + 0x1000);
    const inFlight = bench.forwarder.stop();
    expect(inFlight).toEqual([heads[0], heads[2], heads[3]]);

    const next = bench.successor();
    next.forwarder.replay(inFlight);
    expect(next.forwarder.inFlight).toBe(3);
    next.offer([[0x6000, 8]]);
    next.forwarder.forward(8);
    const addresses = [next.take(), next.take(), next.take(), next.take()].map(taken => taken!.buffers[0]![0] - FAR);
    expect(addresses).toEqual([0x1000, 0x3000, 0x4000, 0x6000]);
    expect(next.forwarder.inFlight).toBe(4);
  });
});

test('a replay that does not fit at once parks like anything else', () => {
  const translation = [
    { from: 0, size: 0x2000, to: FAR, writable: true },
    { from: 0x2000, size: 0x2000, to: 3 * FAR, writable: true },
  ];
  const bench = new ForwarderBench({ guestSize: 8, shadowSize: 8, translation });
  // Two descriptors each in the shadow: the fifth does not fit.
  for (let i = 0; i < 5; i++) bench.offer([[0x1800, 0x1000]]);
  bench.forwarder.forward(8);
  const heads = bench.forwarder.stop();
  expect(heads).toHaveLength(5);
  const next = bench.successor({ guestSize: 8, shadowSize: 8, translation });
  next.forwarder.replay(heads);
  expect(next.forwarder.inFlight).toBe(5);
  expect(next.forwarder.forward(8)).toBe(4);
  next.finish(next.take()!.head, 0);
  next.forwarder.complete(8);
  expect(next.forwarder.forward(8)).toBe(1);
  expect(next.forwarder.fault).toBeUndefined();
});

describe('faults', () => {
  test('a buffer outside guest memory stops the queue, and tells which', () => {
    const bench = new ForwarderBench();
    bench.offer([[0x1000, 8]]);
    bench.offer([[MEMORY, 8]]);
    bench.offer([[0x2000, 8]]);
    expect(bench.forwarder.forward(8)).toBe(1);
    expect(bench.forwarder.fault).toMatchObject({
      code: 'ERR_VDPA_RING',
      details: { kind: 'not-mapped', address: MEMORY },
    });
    expect(bench.forwarder.forward(8)).toBe(0);
    expect(bench.take()!.buffers[0]![0]).toBe(FAR + 0x1000);
    expect(bench.take()).toBeUndefined();
  });

  test('a writable buffer in read-only memory is refused', () => {
    const bench = new ForwarderBench({ translation: [{ from: 0, size: MEMORY, to: FAR, writable: false }] });
    bench.offer([[0x1000, 8]]);
    bench.offer([], [[0x1000, 8]]);
    expect(bench.forwarder.forward(8)).toBe(1);
    expect(bench.forwarder.fault?.details).toMatchObject({ kind: 'not-mapped', address: 0x1000 });
  });

  test('completions of what is in flight still reach the guest after the guest broke its ring', () => {
    const bench = new ForwarderBench();
    const good = bench.offer([[0x1000, 8]]);
    bench.forwarder.forward(8);
    bench.offer([[MEMORY, 8]]);
    bench.forwarder.forward(8);
    bench.finish(bench.take()!.head, 0);
    expect(bench.forwarder.complete(8)).toBe(1);
    expect(bench.driver.poll()).toBe(good);
  });

  test('a device that returns what it was not given stops the queue', () => {
    const bench = new ForwarderBench();
    bench.offer([[0x1000, 8]]);
    bench.forwarder.forward(8);
    bench.shadowRing.setUsedElem(0, 99, 0);
    bench.shadowRing.usedIdx = 1;
    expect(bench.forwarder.complete(8)).toBe(0);
    expect(bench.forwarder.fault?.details).toMatchObject({ kind: 'id-range', id: 99 });
    expect(bench.forwarder.complete(8)).toBe(0);
    expect(bench.forwarder.counters.faults).toBe(1);
    expect(bench.driver.poll()).toBe(-1);
  });

  test('a length beyond what was writable is refused', () => {
    const bench = new ForwarderBench();
    bench.offer([[0x1000, 8]], [[0x2000, 8]]);
    bench.forwarder.forward(8);
    bench.finish(bench.take()!.head, 9);
    expect(bench.forwarder.complete(8)).toBe(0);
    expect(bench.forwarder.fault?.details).toMatchObject({ kind: 'used-length', length: 9 });
  });
});

test('ten thousand requests of random shape, completed in random order, come back with their lengths', () => {
  const bench = new ForwarderBench({ guestSize: 64, shadowSize: 64 });
  let state = 12345;
  const random = (limit: number) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return (state >>> 8) % limit;
  };
  const expected = new Map<number, number>();
  const atDevice: { head: number; length: number; guest: number }[] = [];
  const order: number[] = [];
  let returned = 0;
  for (let made = 0; returned < 10_000; ) {
    const length = random(2000);
    if (made < 10_000 && bench.driver.freeCount >= 2) {
      const head = bench.offer([[random(1000) * 4096, 16]], [[random(1000) * 4096, length]]);
      order.push(head);
      expected.set(head, length);
      made++;
    }
    bench.forwarder.forward(1 + random(8));
    for (let taken = bench.take(); taken; taken = bench.take()) {
      const guest = order.shift()!;
      atDevice.push({ head: taken.head, length: taken.buffers[1]![1], guest });
    }
    if (atDevice.length > 0 && random(3) > 0) {
      const [done] = atDevice.splice(random(atDevice.length), 1);
      bench.finish(done!.head, done!.length);
    }
    bench.forwarder.complete(1 + random(8));
    for (let head = bench.driver.poll(); head >= 0; head = bench.driver.poll()) {
      expect(bench.driver.usedLength).toBe(expected.get(head));
      expected.delete(head);
      returned++;
    }
  }
  expect(expected.size).toBe(0);
  expect(bench.forwarder.inFlight).toBe(0);
  bench.driver.check();
  bench.forwarder.shadow.check();
});
