import { describe, expect, it } from 'vitest';
import { InFlight } from '../../lib/ring/in-flight.js';
import { Slots } from '../../lib/ring/slots.js';
import { faultOf } from './ring-memory.js';

describe('InFlight', () => {
  it('gives the heads in the order they set out, whatever has come back between', () => {
    const inFlight = new InFlight(8);
    for (const head of [5, 0, 7, 2]) inFlight.add(head);
    inFlight.delete(0);
    inFlight.add(1);
    inFlight.delete(5);
    inFlight.add(5);
    const out = new Uint16Array(8);
    expect(inFlight.heads(out)).toBe(4);
    expect([...out.subarray(0, 4)]).toEqual([7, 2, 1, 5]);
    expect(inFlight.count).toBe(4);
  });

  it('keeps the order when one head stays out for more than 65536 others', () => {
    const inFlight = new InFlight(4);
    inFlight.add(3);
    inFlight.add(1);
    for (let i = 0; i < 70_000; i++) {
      inFlight.add(2);
      inFlight.delete(2);
    }
    inFlight.add(0);
    const out = new Uint16Array(3);
    inFlight.heads(out);
    expect([...out]).toEqual([3, 1, 0]);
    expect(inFlight.last).toBe(70_003);
  });

  it('refuses an array that is too short', () => {
    const inFlight = new InFlight(2);
    inFlight.add(0);
    inFlight.add(1);
    expect(() => inFlight.heads(new Uint16Array(1))).toThrow(
      expect.objectContaining({ code: 'ERR_VDPA_INVALID_ARGUMENT' }),
    );
  });
});

describe('Slots', () => {
  function cut(slots: Slots, count: number): number {
    const head = slots.freeHead;
    let tail = head;
    for (let i = 1; i < count; i++) tail = slots.next[tail];
    slots.cut(tail, count);
    return head;
  }

  it('cuts chains off and takes them back in any order', () => {
    const slots = new Slots(8);
    const [a, b, c] = [cut(slots, 3), cut(slots, 1), cut(slots, 4)];
    expect(slots.freeCount).toBe(0);
    slots.check(Uint16Array.of(a, b, c));
    slots.release(b);
    slots.check(Uint16Array.of(a, c));
    slots.release(a);
    const d = cut(slots, 4);
    slots.check(Uint16Array.of(c, d));
    slots.release(c);
    slots.release(d);
    slots.check(new Uint16Array(0));
    expect(slots.freeCount).toBe(8);
  });

  it('finds a head that is lost, in two places, or released twice', () => {
    const slots = new Slots(4);
    const head = cut(slots, 2);
    expect(faultOf(() => slots.check(new Uint16Array(0))).kind).toBe('invariant');
    expect(faultOf(() => slots.check(Uint16Array.of(head, head))).kind).toBe('invariant');
    slots.release(head);
    slots.release(head);
    expect(faultOf(() => slots.check(new Uint16Array(0))).kind).toBe('invariant');
  });

  it('finds a descriptor twice though the number is right', () => {
    const slots = new Slots(4);
    const head = cut(slots, 2);
    cut(slots, 2);
    expect(faultOf(() => slots.check(Uint16Array.of(head, head))).kind).toBe('invariant');
  });

  it('finds a chain whose links were overwritten', () => {
    const slots = new Slots(4);
    const head = cut(slots, 3);
    slots.next[head] = 3;
    expect(faultOf(() => slots.check(Uint16Array.of(head))).kind).toBe('invariant');
    // All three descriptors, but another one last.
    slots.next.set([2, 3, 1]);
    expect(faultOf(() => slots.check(Uint16Array.of(head))).kind).toBe('invariant');
  });
});
