/** Driver side against device side, and both against a model made of plain arrays. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Chain } from '../../lib/ring/chain.js';
import { SplitDevice } from '../../lib/ring/split-device.js';
import { SplitDriver } from '../../lib/ring/split-driver.js';
import { buffersOf, chainOf, RingMemory } from '../unit/ring-memory.js';

interface Request {
  head: number;
  buffers: [number, number, 'r' | 'w'][];
  used?: number;
}

type Command =
  | { do: 'add'; lengths: number[]; readable: number }
  | { do: 'pop' }
  | { do: 'push'; which: number; part: number }
  | { do: 'poll' }
  | { do: 'driverPublish' }
  | { do: 'devicePublish' }
  | { do: 'setInterrupts' | 'setNotify'; enabled: boolean };

const command: fc.Arbitrary<Command> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('add' as const),
      lengths: fc.array(fc.integer({ min: 0, max: 0x3fff_ffff }), { minLength: 1, maxLength: 3 }),
      readable: fc.nat(3),
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('pop' as const) }) },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('push' as const),
      which: fc.nat(),
      part: fc.double({ min: 0, max: 1, noNaN: true }),
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('poll' as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('driverPublish' as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('devicePublish' as const) }) },
  fc.record({ do: fc.constantFrom('setInterrupts' as const, 'setNotify' as const), enabled: fc.boolean() }),
);

/** A queue and the six places a request can be in, oldest first. */
class Model {
  readonly memory: RingMemory;
  readonly driver: SplitDriver;
  readonly device: SplitDevice;
  readonly chain: Chain;
  added: Request[] = [];
  available: Request[] = [];
  taken: Request[] = [];
  pushed: Request[] = [];
  used: Request[] = [];
  interrupts = true;
  notify = true;
  #address = 0;
  /** Requests in the order they were added, as long as they are in flight. */
  #order: Request[] = [];

  constructor(size: number, base: number) {
    this.memory = new RingMemory(size);
    this.driver = new SplitDriver(this.memory.areas, size, base);
    this.device = new SplitDevice(this.memory.areas, size, base);
    this.chain = new Chain(size);
  }

  get free(): number {
    return this.memory.size - this.#order.reduce((sum, request) => sum + request.buffers.length, 0);
  }

  step(command: Command): void {
    switch (command.do) {
      case 'add':
        this.#add(command.lengths.slice(0, this.memory.size), command.readable);
        break;
      case 'pop':
        this.#pop();
        break;
      case 'push':
        this.#push(command.which, command.part);
        break;
      case 'poll':
        this.#poll();
        break;
      case 'driverPublish':
        this.driver.publish();
        this.available.push(...this.added.splice(0));
        expect(this.driver.shouldKick()).toBe(this.notify);
        break;
      case 'devicePublish':
        this.device.publish();
        this.used.push(...this.pushed.splice(0));
        expect(this.device.shouldCall()).toBe(this.interrupts);
        break;
      case 'setInterrupts':
        this.driver.setInterrupts(command.enabled);
        this.interrupts = command.enabled;
        break;
      case 'setNotify':
        this.device.setNotify(command.enabled);
        this.notify = command.enabled;
    }
  }

  check(): void {
    this.driver.check();
    expect(this.driver.freeCount).toBe(this.free);
    expect(this.driver.inFlight).toBe(this.#order.length);
    expect(this.device.inFlight).toBe(this.taken.length);
    expect(this.device.isEmpty()).toBe(this.available.length === 0);
    expect(this.driver.hasUsed()).toBe(this.used.length > 0);
    const heads = new Uint16Array(this.memory.size);
    expect([...heads.subarray(0, this.driver.inFlightHeads(heads))]).toEqual(this.#order.map(({ head }) => head));
    expect([...heads.subarray(0, this.device.inFlightHeads(heads))]).toEqual(this.taken.map(({ head }) => head));
  }

  #add(lengths: number[], readable: number): void {
    const buffers = lengths.map((length, i): [number, number, 'r' | 'w'] => {
      this.#address += 0x1_2345_6789;
      return [this.#address, length, i < readable ? 'r' : 'w'];
    });
    const fits = buffers.length <= this.free;
    const head = this.driver.add(chainOf(...buffers));
    expect(head >= 0).toBe(fits);
    if (!fits) return;
    const request = { head, buffers };
    this.added.push(request);
    this.#order.push(request);
  }

  #pop(): void {
    const expected = this.available.shift();
    expect(this.device.pop(this.chain)).toBe(expected !== undefined);
    if (!expected) return;
    expect(this.chain.head).toBe(expected.head);
    expect(buffersOf(this.chain)).toEqual(expected.buffers);
    this.taken.push(expected);
  }

  #push(which: number, part: number): void {
    if (this.taken.length === 0) return;
    const [request] = this.taken.splice(which % this.taken.length, 1);
    const writable = request.buffers.reduce((sum, [, length, access]) => sum + (access === 'w' ? length : 0), 0);
    request.used = Math.floor(writable * part);
    this.device.push(request.head, request.used);
    this.pushed.push(request);
  }

  #poll(): void {
    const expected = this.used.shift();
    expect(this.driver.poll()).toBe(expected?.head ?? -1);
    if (!expected) return;
    expect(this.driver.usedLength).toBe(expected.used);
    this.#order.splice(this.#order.indexOf(expected), 1);
  }
}

describe('the two sides of a split queue', () => {
  it.each([1, 2, 4, 16])('agree with the model at size %i, whatever the order of steps', size => {
    const base = fc.oneof(fc.integer({ min: 0xfff0, max: 0xffff }), fc.integer({ min: 0, max: 0xffff }));
    fc.assert(
      fc.property(base, fc.array(command, { minLength: 1, maxLength: 200, size: 'max' }), (start, commands) => {
        const model = new Model(size, start);
        for (const step of commands) {
          model.step(step);
          model.check();
        }
        model.memory.checkGuards();
      }),
      { numRuns: 250 },
    );
  });

  it('replays the heads another device left in flight, in order', () => {
    const requests = fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 12 });
    const base = fc.integer({ min: 0, max: 0xffff });
    fc.assert(
      fc.property(base, requests, fc.infiniteStream(fc.boolean()), (start, lengths, done) => {
        const model = new Model(64, start);
        for (const n of lengths) model.step({ do: 'add', lengths: Array(n).fill(8), readable: 1 });
        model.step({ do: 'driverPublish' });
        for (const _ of lengths) model.step({ do: 'pop' });
        for (const head of model.taken.map(request => request.head)) {
          if (done.next().value) model.device.push(head, 0);
        }
        model.device.publish();
        const left = new Uint16Array(64);
        const count = model.device.inFlightHeads(left);

        const heir = new SplitDevice(model.memory.areas, 64, model.device.availIndex, model.device.usedIndex);
        for (const head of left.subarray(0, count)) {
          heir.chainAt(head, model.chain);
          const request = model.taken.find(taken => taken.head === head);
          expect(buffersOf(model.chain)).toEqual(request?.buffers);
          heir.push(head, 0);
        }
        heir.publish();
        let returned = 0;
        while (model.driver.poll() >= 0) returned++;
        expect(returned).toBe(lengths.length);
        expect(model.driver.freeCount).toBe(64);
        model.driver.check();
      }),
    );
  });
});
