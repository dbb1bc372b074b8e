import { describe, expect, it } from 'vitest';
import { Chain } from '../../lib/ring/chain.js';
import { buffersOf } from './ring-memory.js';

describe('Chain', () => {
  it('counts buffers and bytes of both kinds', () => {
    const chain = new Chain(3);
    chain.push(0x1000, 16, false);
    chain.push(2 ** 40, 0xffff_ffff, true);
    chain.push(0x3000, 1, true);
    expect(buffersOf(chain)).toEqual([
      [0x1000, 16, 'r'],
      [2 ** 40, 0xffff_ffff, 'w'],
      [0x3000, 1, 'w'],
    ]);
    expect(chain).toMatchObject({ count: 3, readable: 1, readableBytes: 16, writableBytes: 2 ** 32 });
  });

  it('is empty after reset', () => {
    const chain = new Chain(2);
    chain.head = 5;
    chain.push(1, 2, false);
    chain.push(3, 4, true);
    chain.reset();
    expect(chain).toMatchObject({ head: 0, count: 0, readable: 0, readableBytes: 0, writableBytes: 0 });
  });

  it('refuses a buffer beyond its capacity and changes nothing', () => {
    const chain = new Chain(1);
    chain.push(1, 2, false);
    expect(() => chain.push(3, 4, true)).toThrow(expect.objectContaining({ code: 'ERR_VDPA_INVALID_ARGUMENT' }));
    expect(chain).toMatchObject({ count: 1, writableBytes: 0 });
  });

  it('refuses a readable buffer after a writable one and changes nothing', () => {
    const chain = new Chain(2);
    chain.push(1, 2, true);
    expect(() => chain.push(3, 4, false)).toThrow(/readable buffers come before/);
    expect(chain).toMatchObject({ count: 1, readable: 0, readableBytes: 0 });
  });
});
