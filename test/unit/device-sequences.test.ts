/** Golden sequences: the order of operations that every parent accepts. */
import { describe, expect, it } from 'vitest';
import { quiesceOperations, resetOperations, startOperations, statusOperations } from '../../lib/device/sequences.js';

const queue = (index: number) => ({
  index,
  addresses: { size: 256, desc: 0x1000 + index, driver: 0x2000 + index, device: 0x3000 + index },
  base: 0xfffe,
  kickFd: 10 + index,
  callFd: 20 + index,
});

describe('a start', () => {
  it('programs everything that a reset forgets, and enables before DRIVER_OK', () => {
    expect(startOperations(0x3_0000_0000n, [queue(0), queue(1)])).toEqual([
      { op: 'setStatus', status: 0x1 },
      { op: 'setStatus', status: 0x3 },
      { op: 'setFeatures', features: 0x3_0000_0000n },
      { op: 'setStatus', status: 0xb },
      { op: 'getStatus', expect: { mask: 0xff, equals: 0xb } },
      { op: 'setVringNum', index: 0, num: 256 },
      { op: 'setVringBase', index: 0, num: 0xfffe },
      { op: 'setVringAddr', index: 0, desc: 0x1000, avail: 0x2000, used: 0x3000 },
      { op: 'setVringCall', index: 0, fd: 20 },
      { op: 'setVringKick', index: 0, fd: 10 },
      { op: 'setVringNum', index: 1, num: 256 },
      { op: 'setVringBase', index: 1, num: 0xfffe },
      { op: 'setVringAddr', index: 1, desc: 0x1001, avail: 0x2001, used: 0x3001 },
      { op: 'setVringCall', index: 1, fd: 21 },
      { op: 'setVringKick', index: 1, fd: 11 },
      { op: 'setVringEnable', index: 0, num: 1 },
      { op: 'setVringEnable', index: 1, num: 1 },
      { op: 'setStatus', status: 0xf },
      { op: 'getStatus', expect: { mask: 0xff, equals: 0xf } },
    ]);
  });
});

describe('a reset', () => {
  it('happens whatever failed before, and is read back', () => {
    expect(resetOperations()).toEqual([
      { op: 'setStatus', status: 0, always: true },
      { op: 'getStatus', expect: { mask: 0xff, equals: 0 } },
    ]);
  });
});

describe('a stop', () => {
  it('suspends before it reads where the queues stand', () => {
    expect(quiesceOperations([0, 2])).toEqual([
      { op: 'suspend' },
      { op: 'getVringBase', index: 0 },
      { op: 'getVringBase', index: 2 },
    ]);
  });
});

it('reads every status back', () => {
  expect(statusOperations(0x83)).toEqual([
    { op: 'setStatus', status: 0x83 },
    { op: 'getStatus', expect: { mask: 0xff, equals: 0x83 } },
  ]);
});
