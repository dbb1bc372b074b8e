/**
 * A split virtqueue's bytes, written and read with offsets typed from virtio 1.3 §2.7, not with the library's
 * constants:
 * the hostile guest and the hostile device of the tests.
 */
import { expect } from 'vitest';
import { RingError } from '../../lib/errors.js';
import type { RingAreas } from '../../lib/ring/areas.js';
import { Chain } from '../../lib/ring/chain.js';

export const NEXT = 1;
export const WRITE = 2;
export const INDIRECT = 4;

/** Bytes around and between the areas that nobody may write. */
const GUARD = 64;
const GUARD_BYTE = 0xa5;

export class RingMemory {
  readonly size: number;
  readonly areas: RingAreas;
  readonly bytes: Uint8Array;
  readonly #view: DataView;
  readonly #areas: readonly (readonly [offset: number, length: number])[];

  constructor(size: number) {
    const descOffset = GUARD;
    const driverOffset = descOffset + 16 * size + GUARD;
    const deviceOffset = Math.ceil((driverOffset + 6 + 2 * size + GUARD) / 4) * 4;
    const buffer = new ArrayBuffer(deviceOffset + 6 + 8 * size + GUARD);
    this.size = size;
    this.areas = { desc: buffer, descOffset, driver: buffer, driverOffset, device: buffer, deviceOffset };
    this.#areas = [
      [descOffset, 16 * size],
      [driverOffset, 6 + 2 * size],
      [deviceOffset, 6 + 8 * size],
    ];
    this.#view = new DataView(buffer);
    this.bytes = new Uint8Array(buffer).fill(GUARD_BYTE);
    for (const [offset, length] of this.#areas) this.bytes.fill(0, offset, offset + length);
  }

  setDesc(i: number, addr: bigint | number, len: number, flags: number, next = 0): void {
    const at = this.areas.descOffset + 16 * i;
    this.#view.setBigUint64(at, BigInt(addr), true);
    this.#view.setUint32(at + 8, len, true);
    this.#view.setUint16(at + 12, flags, true);
    this.#view.setUint16(at + 14, next, true);
  }

  desc(i: number): { addr: bigint; len: number; flags: number; next: number } {
    const at = this.areas.descOffset + 16 * i;
    return {
      addr: this.#view.getBigUint64(at, true),
      len: this.#view.getUint32(at + 8, true),
      flags: this.#view.getUint16(at + 12, true),
      next: this.#view.getUint16(at + 14, true),
    };
  }

  get availFlags(): number {
    return this.#view.getUint16(this.areas.driverOffset, true);
  }
  set availFlags(value: number) {
    this.#view.setUint16(this.areas.driverOffset, value, true);
  }
  get availIdx(): number {
    return this.#view.getUint16(this.areas.driverOffset + 2, true);
  }
  set availIdx(value: number) {
    this.#view.setUint16(this.areas.driverOffset + 2, value, true);
  }
  availHead(slot: number): number {
    return this.#view.getUint16(this.areas.driverOffset + 4 + 2 * slot, true);
  }
  setAvailHead(slot: number, head: number): void {
    this.#view.setUint16(this.areas.driverOffset + 4 + 2 * slot, head, true);
  }

  get usedFlags(): number {
    return this.#view.getUint16(this.areas.deviceOffset, true);
  }
  set usedFlags(value: number) {
    this.#view.setUint16(this.areas.deviceOffset, value, true);
  }
  get usedIdx(): number {
    return this.#view.getUint16(this.areas.deviceOffset + 2, true);
  }
  set usedIdx(value: number) {
    this.#view.setUint16(this.areas.deviceOffset + 2, value, true);
  }
  usedElem(slot: number): { id: number; len: number } {
    const at = this.areas.deviceOffset + 4 + 8 * slot;
    return { id: this.#view.getUint32(at, true), len: this.#view.getUint32(at + 4, true) };
  }
  setUsedElem(slot: number, id: number, len: number): void {
    const at = this.areas.deviceOffset + 4 + 8 * slot;
    this.#view.setUint32(at, id, true);
    this.#view.setUint32(at + 4, len, true);
  }

  /** Makes one head available, as a guest driver would. */
  offer(head: number): void {
    this.setAvailHead(this.availIdx % this.size, head);
    this.availIdx = this.availIdx + 1;
  }

  /** Returns one element, as a device would. */
  complete(id: number, len: number): void {
    this.setUsedElem(this.usedIdx % this.size, id, len);
    this.usedIdx = this.usedIdx + 1;
  }

  /** Fails when a byte outside the three areas was written. */
  checkGuards(): void {
    let from = 0;
    for (const [offset, length] of [...this.#areas, [this.bytes.length, 0] as const]) {
      expect(this.bytes.subarray(from, offset).every(byte => byte === GUARD_BYTE)).toBe(true);
      from = offset + length;
    }
  }
}

/** A chain of these buffers. */
export function chainOf(...buffers: readonly (readonly [addr: number, len: number, access: 'r' | 'w'])[]): Chain {
  const chain = new Chain(Math.max(buffers.length, 1));
  for (const [addr, len, access] of buffers) chain.push(addr, len, access === 'w');
  return chain;
}

export function buffersOf(chain: Chain): [number, number, 'r' | 'w'][] {
  return Array.from({ length: chain.count }, (_, i) => [chain.addr[i], chain.len[i], i < chain.readable ? 'r' : 'w']);
}

/** The fault a call ends in; anything but a RingError fails the test. */
export function faultOf(call: () => unknown): RingError['details'] {
  try {
    call();
  } catch (error) {
    expect(error).toBeInstanceOf(RingError);
    return (error as RingError).details;
  }
  expect.unreachable('no fault was thrown');
}
