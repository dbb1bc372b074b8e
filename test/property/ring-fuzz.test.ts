/**
 * Random bytes in the shared areas: every call ends, in a value a naive reading of the ring confirms or in a typed
 * fault.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RingError } from '../../lib/errors.js';
import { Chain } from '../../lib/ring/chain.js';
import { SplitDevice } from '../../lib/ring/split-device.js';
import { SplitDriver } from '../../lib/ring/split-driver.js';
import { buffersOf, chainOf, faultOf, INDIRECT, NEXT, RingMemory, WRITE } from '../unit/ring-memory.js';

const size = fc.constantFrom(1, 2, 4, 8);
/** Mostly values that make sense, so that walks get somewhere; now and then the first that does not, or anything. */
const near = (max: number, bits: number) =>
  fc.oneof(
    { weight: 10, arbitrary: fc.nat(max) },
    { weight: 1, arbitrary: fc.constant(max + 1) },
    { weight: 1, arbitrary: fc.nat(2 ** bits - 1) },
  );
const length = fc.oneof(fc.nat(4096), fc.nat(0xffff_ffff));
const address = fc.oneof(
  { weight: 12, arbitrary: fc.bigInt({ min: 0n, max: 2n ** 53n - 1n }) },
  { weight: 1, arbitrary: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }) },
);
const flags = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom(0, NEXT, WRITE, NEXT | WRITE) },
  { weight: 1, arbitrary: fc.nat(0xffff) },
);

interface Ring {
  size: number;
  desc: [bigint, number, number, number][];
  heads: number[];
  availIdx: number;
}

const hostileGuest: fc.Arbitrary<Ring> = size.chain(n =>
  fc.record({
    size: fc.constant(n),
    desc: fc.array(fc.tuple(address, length, flags, near(n - 1, 16)), { minLength: n, maxLength: n }),
    heads: fc.array(near(n - 1, 16), { minLength: n, maxLength: n }),
    availIdx: near(n, 16),
  }),
);

type Reading = { kind: string } | ReturnType<typeof buffersOf>;

/** A chain read with no regard for speed, straight from the specification: its buffers, or the fault. */
function read(ring: Ring, head: number, inFlight: ReadonlySet<number>): Reading {
  if (head >= ring.size) return { kind: 'head-range' };
  if (inFlight.has(head)) return { kind: 'in-flight' };
  const buffers: [number, number, 'r' | 'w'][] = [];
  for (let at = head; ; ) {
    if (at >= ring.size) return { kind: 'next-range' };
    if (buffers.length === ring.size) return { kind: 'loop' };
    const [addr, len, bits, next] = ring.desc[at];
    if (bits & INDIRECT) return { kind: 'indirect' };
    if (addr > BigInt(Number.MAX_SAFE_INTEGER)) return { kind: 'address' };
    if (!(bits & WRITE) && buffers.at(-1)?.[2] === 'w') return { kind: 'order' };
    buffers.push([Number(addr), len, bits & WRITE ? 'w' : 'r']);
    if (!(bits & NEXT)) break;
    at = next;
  }
  return buffers.reduce((sum, [, len]) => sum + len, 0) > 2 ** 32 ? { kind: 'bytes' } : buffers;
}

describe('SplitDevice before random bytes', () => {
  it('pops what a naive reading finds, or names its fault', () => {
    const met = new Set<string>();
    fc.assert(
      fc.property(hostileGuest, ring => {
        const memory = new RingMemory(ring.size);
        ring.desc.forEach((desc, i) => {
          memory.setDesc(i, ...desc);
        });
        ring.heads.forEach((head, slot) => {
          memory.setAvailHead(slot, head);
        });
        memory.availIdx = ring.availIdx;
        const before = memory.bytes.slice();
        const device = new SplitDevice(memory.areas, ring.size, 0);
        const chain = new Chain(ring.size);
        const inFlight = new Set<number>();

        if (ring.availIdx > ring.size) {
          expect(faultOf(() => device.pop(chain)).kind).toBe('avail-jump');
          met.add('avail-jump');
          return;
        }
        for (const head of ring.heads.slice(0, ring.availIdx)) {
          const expected = read(ring, head, inFlight);
          if ('kind' in expected) {
            expect(faultOf(() => device.pop(chain)).kind).toBe(expected.kind);
            expect(device.inFlight).toBe(inFlight.size);
            met.add(expected.kind);
            break;
          }
          expect(device.pop(chain)).toBe(true);
          expect(chain.head).toBe(head);
          expect(buffersOf(chain)).toEqual(expected);
          inFlight.add(head);
          met.add('chain');
        }
        expect(memory.bytes).toEqual(before);
      }),
      { numRuns: 4000 },
    );
    // A generator that drifts away from a fault would prove nothing about it.
    const faults = [
      'address',
      'avail-jump',
      'bytes',
      'head-range',
      'in-flight',
      'indirect',
      'loop',
      'next-range',
      'order',
    ];
    expect([...met].sort()).toEqual([...faults, 'chain'].sort());
  });

  it('ends in a chain or a RingError while bytes change between calls', () => {
    const change = fc.tuple(fc.nat(), fc.nat(255));
    fc.assert(
      fc.property(hostileGuest, fc.array(change, { maxLength: 60 }), (ring, changes) => {
        const memory = new RingMemory(ring.size);
        ring.desc.forEach((desc, i) => {
          memory.setDesc(i, ...desc);
        });
        const device = new SplitDevice(memory.areas, ring.size, 0xfffe);
        const chain = new Chain(ring.size);
        memory.availIdx = 0xfffe;
        for (const [at, value] of changes) {
          memory.bytes[memory.areas.descOffset + (at % (16 * ring.size))] = value;
          memory.offer(value % (ring.size + 1));
          endsWell(() => {
            if (!device.pop(chain)) return;
            expect(chain.count).toBeGreaterThan(0);
            expect(chain.count).toBeLessThanOrEqual(ring.size);
            for (const [addr] of buffersOf(chain)) expect(Number.isSafeInteger(addr)).toBe(true);
            if (value & 1) device.push(chain.head, value);
            device.publish();
          });
          expect(device.inFlight).toBeLessThanOrEqual(ring.size);
        }
        memory.checkGuards();
      }),
      { numRuns: 300 },
    );
  });
});

describe('SplitDriver before random bytes', () => {
  it('takes back each chain at most once and keeps its books', () => {
    const element = fc.tuple(near(7, 32), near(48, 32));
    const step = fc.tuple(element, near(2, 16), fc.integer({ min: 1, max: 3 }), fc.boolean());
    const met = new Set<unknown>();
    fc.assert(
      fc.property(size, fc.array(step, { minLength: 1, maxLength: 60 }), (n, steps) => {
        const memory = new RingMemory(n);
        const driver = new SplitDriver(memory.areas, n, 0xfff0);
        const outside = new Map<number, number>();
        for (const [[id, len], jump, count, publish] of steps) {
          if (count <= n) {
            const head = driver.add(chainOf(...Array.from({ length: count }, (_, i) => [i, 16, 'w'] as const)));
            if (head >= 0) {
              expect(outside.has(head)).toBe(false);
              outside.set(head, 16 * count);
            }
          }
          if (publish) driver.publish();
          // The device scribbles over everything it can reach.
          memory.setDesc(id % n, BigInt(len), len, id & 0xffff, id & 0xffff);
          memory.setUsedElem(driver.usedIndex % n, id, len);
          memory.usedIdx = driver.usedIndex + jump;
          const fault = endsWell(() => {
            const head = driver.poll();
            if (head < 0) return;
            expect(head).toBe(id);
            expect(driver.usedLength).toBe(len);
            expect(len).toBeLessThanOrEqual(outside.get(head) ?? -1);
            outside.delete(head);
            met.add('chain');
          });
          if (fault) met.add(fault.details['kind']);
          expect(driver.inFlight).toBe(outside.size);
          driver.check();
        }
        memory.checkGuards();
      }),
      { numRuns: 600 },
    );
    expect([...met].sort()).toEqual(['chain', 'id-range', 'not-in-flight', 'used-jump', 'used-length']);
  });
});

/** Runs a call that may end in a RingError and in no other way but return. */
function endsWell(call: () => void): RingError | undefined {
  try {
    call();
  } catch (error) {
    if (!(error instanceof RingError) || error.details['kind'] === 'invariant') throw error;
    return error;
  }
  return undefined;
}
