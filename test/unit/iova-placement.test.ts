/** Where the shadow rings stand in a device's address space. */
import { describe, expect, it } from 'vitest';
import type { IovaLimits } from '../../lib/iova/limits.js';
import { type Placement, RELOCATION, shadowRingsIova } from '../../lib/iova/placement.js';
import { NO_LIMITS } from './iova-support.js';

const MIB = 2 ** 20;
const GIB = 2 ** 30;

const place = (size: number, placement: Placement, limits: Partial<IovaLimits> = {}) =>
  shadowRingsIova([{ gpa: 0, size }], size, 8192, placement, { ...NO_LIMITS, ...limits });

describe('the shadow rings', () => {
  it('stand above guest memory, on a large page of their own', () => {
    expect(place(64 * MIB, 'identity')).toBe(66 * MIB);
    expect(place(64 * MIB + 4096, 'identity')).toBe(68 * MIB);
  });

  it('stand above where memory may yet be plugged in', () => {
    const guest = [
      { gpa: 0, size: GIB },
      { gpa: 4 * GIB, size: 4 * GIB },
    ];
    expect(shadowRingsIova(guest, 8 * GIB, 8192, 'identity', NO_LIMITS)).toBe(8 * GIB + 2 * MIB);
  });

  it.each(['identity', 'relocated', 'allocated'] as const)('are outside reserved windows, %s', placement => {
    const reserved = [{ first: 66 * MIB, last: 70 * MIB - 1, type: 'msi' }];
    expect(place(64 * MIB, placement, { reserved })).toBe(70 * MIB);
  });

  it('avoid memory at its guest address and where it is moved to', () => {
    const iova = place(RELOCATION, 'relocated');
    expect(iova).toBeGreaterThanOrEqual(2 * RELOCATION);
    expect(place(RELOCATION, 'identity')).toBe(RELOCATION + 2 * MIB);
  });

  it('go into a hole below where the device reaches no higher, but never to address 0', () => {
    const guest = [
      { gpa: 0, size: GIB },
      { gpa: 2 * GIB, size: 2 * GIB },
    ];
    const last = BigInt(4 * GIB - 1);
    expect(shadowRingsIova(guest, 4 * GIB, 8192, 'identity', { ...NO_LIMITS, last })).toBe(GIB);
    const high = [{ gpa: GIB, size: 3 * GIB }];
    expect(shadowRingsIova(high, 4 * GIB, 8192, 'identity', { ...NO_LIMITS, last })).toBe(2 * MIB);
  });

  it('say so when there is no room', () => {
    const full = { last: BigInt(64 * MIB - 1) };
    const message = expect.stringMatching(/shadow rings have no place.*0x0 to 0x3ffffff/);
    const refused = expect.objectContaining({ code: 'ERR_VDPA_ADDRESS', message });
    expect(() => place(64 * MIB, 'identity', full)).toThrow(refused);
  });
});
