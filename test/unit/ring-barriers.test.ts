/**
 * Which accesses are atomic, and how many: the table of docs/memory-model.md. No test on x64 can see all of them
 * missing.
 */
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { Chain } from '../../lib/ring/chain.js';
import { SplitDevice } from '../../lib/ring/split-device.js';
import { SplitDriver } from '../../lib/ring/split-driver.js';
import { chainOf, RingMemory } from './ring-memory.js';

const SIZE = 64;
const memory = new RingMemory(SIZE);
const { driverOffset, deviceOffset } = memory.areas;
const NAMES = new Map([
  [driverOffset, 'avail.flags'],
  [driverOffset + 2, 'avail.idx'],
  [deviceOffset, 'used.flags'],
  [deviceOffset + 2, 'used.idx'],
]);

let driver: SplitDriver;
let device: SplitDevice;
const log: string[] = [];
const chain = new Chain(SIZE);

function record(method: 'load' | 'store'): void {
  const original = Atomics[method] as (array: Uint16Array, index: number, value?: number) => number;
  vi.spyOn(Atomics, method).mockImplementation(((array: Uint16Array, index: number, value?: number) => {
    log.push(`${method} ${NAMES.get(array.byteOffset + 2 * index)}`);
    return original(array, index, value);
  }) as never);
}

/** The atomic accesses of a call. */
function atomics(call: () => unknown): string[] {
  log.length = 0;
  call();
  return [...log];
}

beforeEach(() => {
  driver = new SplitDriver(memory.areas, SIZE, 0);
  device = new SplitDevice(memory.areas, SIZE, 0);
  record('load');
  record('store');
});

afterEach(() => {
  vi.restoreAllMocks();
});

it('hands a batch over with one store and takes it with one load, and one that ends it', () => {
  const add = () => {
    for (let i = 0; i < SIZE; i++) driver.add(chainOf([i, 1, 'w']));
  };
  const pop = () => {
    while (device.pop(chain)) device.push(chain.head, 0);
  };
  const poll = () => {
    while (driver.poll() >= 0);
  };
  expect(atomics(add)).toEqual([]);
  expect(atomics(() => driver.publish())).toEqual(['store avail.idx']);
  expect(atomics(pop)).toEqual(['load avail.idx', 'load avail.idx']);
  expect(atomics(() => device.publish())).toEqual(['store used.idx']);
  expect(atomics(poll)).toEqual(['load used.idx', 'load used.idx']);
});

it('decides about kicks and sleep with a store before a load, on both sides', () => {
  expect(atomics(() => [driver.publish(), driver.shouldKick()])).toEqual(['store avail.idx', 'load used.flags']);
  expect(atomics(() => [device.setNotify(true), device.isEmpty()])).toEqual(['store used.flags', 'load avail.idx']);
});

it('decides about calls and sleep with a store before a load, on both sides', () => {
  expect(atomics(() => [device.publish(), device.shouldCall()])).toEqual(['store used.idx', 'load avail.flags']);
  expect(atomics(() => [driver.setInterrupts(true), driver.hasUsed()])).toEqual(['store avail.flags', 'load used.idx']);
});
