/** Two bitmaps, one producer, one reader: on one thread, and with the producer on a thread of its own. */
import { afterEach, describe, expect, it } from 'vitest';
import { DirtyView as BuiltView } from '../../dist/dirty/dirty-view.js';
import { Thread } from '../../dist/thread.js';
import { DirtyPair } from '../../lib/dirty/dirty-pair.js';
import { type DirtySnapshot, DirtyView } from '../../lib/dirty/dirty-view.js';
import { AddressError } from '../../lib/errors.js';

const PAGE = 4096;
const runs = (snapshot: DirtySnapshot) => [...DirtyView.of(snapshot).runs()];

describe('DirtyPair', () => {
  it('hands each mark over once', () => {
    const pair = new DirtyPair(100 * PAGE);
    pair.mark(3 * PAGE, 1);
    expect(runs(pair.swap())).toEqual([3 * PAGE, PAGE]);
    pair.mark(5 * PAGE, 1);
    expect(runs(pair.swap())).toEqual([5 * PAGE, PAGE]);
    expect(runs(pair.swap())).toEqual([]);
    pair.mark(3 * PAGE, 1);
    expect(runs(pair.swap())).toEqual([3 * PAGE, PAGE]);
  });

  it('leaves a snapshot as it is until the next swap, whatever is marked', () => {
    const pair = new DirtyPair(100 * PAGE);
    pair.mark(0, 2 * PAGE);
    const first = pair.swap();
    pair.mark(0, 100 * PAGE);
    expect(runs(first)).toEqual([0, 2 * PAGE]);
  });

  it('refuses what is beyond the memory', () => {
    const pair = new DirtyPair(2 * PAGE);
    expect(() => pair.mark(2 * PAGE, 1)).toThrow(AddressError);
    expect(runs(pair.swap())).toEqual([]);
  });

  it('uses the same memory again for the same pages', () => {
    const pair = new DirtyPair(2 ** 40);
    const held: number[] = [];
    for (let period = 0; period < 6; period++) {
      pair.mark(5 * 2 ** 30, 1);
      pair.swap();
      held.push(pair.heldBytes);
    }
    expect(new Set(held.slice(1)).size).toBe(1);
  });

  it('releases memory that was not needed for a whole period', () => {
    const pair = new DirtyPair(2 ** 40);
    for (let window = 0; window < 50; window++) pair.mark(window * 2 ** 30, 1);
    const most = pair.heldBytes;
    pair.swap();
    pair.swap();
    // The first bitmap was cleared for the third period, in which nothing is marked.
    expect(pair.heldBytes).toBe(most);
    pair.swap();
    pair.swap();
    expect(pair.heldBytes).toBe(0);
  });
});

type Marker = { start(pages: number, perBatch: number): void; takeDirty(): DirtySnapshot; isDone(): boolean };

describe('a producer on its own thread', () => {
  const threads: Thread<Marker>[] = [];
  afterEach(async () => {
    for (const thread of threads.splice(0)) await thread.end();
  });

  it('loses no mark and tells none twice while it goes on marking', async () => {
    const thread = new Thread<Marker>(new URL('./dirty-pair-worker.mjs', import.meta.url));
    threads.push(thread);
    // Scattered over 8 windows; every page is marked once.
    const pages = 2 ** 21;
    await thread.call('start', pages, 500);
    let [total, swaps] = [0, 0];
    for (let done = false; !done; swaps++) {
      done = await thread.call('isDone');
      const view = BuiltView.of(await thread.call('takeDirty'));
      const count = view.count();
      total += count;
      // It was handed over, so it stands still although the producer does not.
      expect(view.count()).toBe(count);
    }
    expect(total).toBe(pages);
    expect(swaps).toBeGreaterThan(5);
  });
});
