/**
 * `svq bench dirty`: marking and reading the dirty pages of a guest of 1 TiB, 2^28 pages of 4 KiB or 32 MiB if it were one bitmap.
 *
 * - `mark_run`: one mark of 10^6 pages; per page. The mean of 16 of them, each from another page on. `windows` says whether the memory
 *   for the marks is there from before (`held`) or allocated meanwhile (`new`).
 * - `mark_scattered`: 10^6 marks of one page each, drawn uniformly from the first `span_gib` GiB, in a bitmap that was cleared and keeps
 *   its memory; per page. In 1 GiB and 64 GiB so many make bitmaps of the windows, in 1024 GiB they stay lists. The loop that
 *   reads the addresses is in the figure.
 * - `sync`: what handing over takes when 1 % is dirty. `swap` is the producer's part, which interrupts it: clear one bitmap, swap the two.
 *   `merge` is the reader's: the message, the OR into an empty bitmap that has memory, and counting its pages, which sorts lists.
 * - `scan`: reading all runs when 1 % is dirty, as pairs of offset and length, in a buffer. Lists are sorted from the first time on.
 * - `memory`: bytes that a bitmap takes per window with a mark, one page in each.
 *
 * `distribution` is how the 1 % (2 684 354 pages) are distributed: `scattered` is single pages drawn uniformly, of which 1 in 100 then has a
 * dirty neighbour; `clustered` is runs of 64 pages (256 KiB), drawn so. What is needed is made when the first case that needs it runs,
 * and is not timed; neither is the marking before a `sync`.
 */
import { MessageChannel, receiveMessageOnPort } from 'node:worker_threads';
import { DirtyBitmap } from '../dirty/dirty-bitmap.js';
import { DirtyPair } from '../dirty/dirty-pair.js';
import type { DirtySnapshot } from '../dirty/dirty-view.js';
import { WINDOW_BITS } from '../dirty/windows.js';
import { Random } from '../guest/random.js';
import { type BenchCase, elapsed, once } from './measure.js';

const PAGE = 4096;
const GIB_PAGES = 2 ** 30 / PAGE;
const GUEST_GIB = 1024;
const BYTES = GUEST_GIB * GIB_PAGES * PAGE;
const MARKS = 1_000_000;
const RUNS = 16;
const DIRTY_PAGES = Math.floor((BYTES / PAGE) * 0.01);
const CLUSTER_PAGES = 64;
const WINDOW_BYTES = WINDOW_BITS * PAGE;
const SEED = 1;

type Distribution = 'clustered' | 'scattered';

/** The cases; together they take some 300 MB. */
export function dirtyBench(): BenchCase[] {
  return [
    markRun('held'),
    markRun('new'),
    ...[1, 64, GUEST_GIB].map(markScattered),
    ...(['clustered', 'scattered'] as const).flatMap(readers),
    memory(),
  ];
}

function markRun(windows: 'held' | 'new'): BenchCase {
  const bitmap = new DirtyBitmap(BYTES);
  return {
    name: 'mark_run',
    params: { pages: MARKS, windows },
    unit: 'ns',
    run: () => {
      // The first clear keeps windows that had marks, the second releases them.
      if (windows === 'new') for (let i = 0; i < 2; i++) bitmap.clear();
      const time = elapsed(() => {
        for (let i = 0; i < RUNS; i++) bitmap.mark(i * (MARKS + 777) * PAGE, MARKS * PAGE);
      });
      return time / RUNS / MARKS;
    },
  };
}

function markScattered(spanGib: number): BenchCase {
  const addresses = once(() => {
    const random = new Random(SEED);
    return Float64Array.from({ length: MARKS }, () => random.below(spanGib * GIB_PAGES) * PAGE);
  });
  const bitmap = new DirtyBitmap(BYTES);
  return {
    name: 'mark_scattered',
    params: { pages: MARKS, span_gib: spanGib },
    unit: 'ns',
    run: () => {
      const list = addresses();
      bitmap.clear();
      return elapsed(() => markAll(bitmap, list, PAGE)) / MARKS;
    },
  };
}

/** The cases that read 1 % of the guest's pages. */
function readers(distribution: Distribution): BenchCase[] {
  const marks = once(() => new Marks(distribution));
  const handOver = once(() => new HandOver(marks()));
  const bench = (name: string, params: BenchCase['params'], run: () => number): BenchCase => ({
    name,
    params: { ...params, dirty_pages: DIRTY_PAGES, distribution },
    unit: 'ms',
    run: () => run() / 1e6,
  });
  return [
    bench('sync', { part: 'swap' }, () => handOver().run().swap),
    bench('sync', { part: 'merge' }, () => handOver().run().merge),
    bench('scan', {}, () => timeScan(marks().bitmap)),
  ];
}

function timeScan(bitmap: DirtyBitmap): number {
  let bytes = 0;
  const time = elapsed(() =>
    bitmap.scan((runs, count) => {
      // Something of each piece is used, as any reader would.
      bytes += runs[count - 1]!;
    }),
  );
  return bytes > 0 ? time : Number.NaN;
}

/** 1 % of the guest's pages: their addresses, and a bitmap where they are marked. */
class Marks {
  readonly bitmap = new DirtyBitmap(BYTES);
  readonly #length: number;
  readonly #addresses: Float64Array;

  constructor(distribution: Distribution) {
    this.#length = (distribution === 'clustered' ? CLUSTER_PAGES : 1) * PAGE;
    const random = new Random(SEED);
    const addresses: number[] = [];
    const drawn = new Uint8Array(BYTES / PAGE / 8);
    for (let pages = 0; pages < DIRTY_PAGES; ) {
      const page = random.below((BYTES - this.#length) / PAGE);
      const bit = 1 << (page & 7);
      if ((drawn[page >>> 3]! & bit) !== 0) continue;
      drawn[page >>> 3]! |= bit;
      this.bitmap.mark(page * PAGE, this.#length);
      addresses.push(page * PAGE);
      pages += this.#length / PAGE;
    }
    this.#addresses = Float64Array.from(addresses);
  }

  makeIn(pair: DirtyPair): void {
    const addresses = this.#addresses;
    for (let i = 0; i < addresses.length; i++) pair.mark(addresses[i]!, this.#length);
  }
}

/** A producer and a reader, with a message between them. */
class HandOver {
  readonly #marks: Marks;
  readonly #pair = new DirtyPair(BYTES);
  readonly #pending = new DirtyBitmap(BYTES);
  readonly #channel = new MessageChannel();

  constructor(marks: Marks) {
    this.#marks = marks;
  }

  run(): { swap: number; merge: number } {
    this.#marks.makeIn(this.#pair);
    let snapshot: DirtySnapshot | undefined;
    const swap = elapsed(() => {
      snapshot = this.#pair.swap();
    });
    const { port1, port2 } = this.#channel;
    this.#pending.clear();
    const merge = elapsed(() => {
      port1.postMessage(snapshot);
      this.#pending.or(receiveMessageOnPort(port2)!.message as DirtySnapshot);
      this.#pending.count();
    });
    return { swap, merge };
  }
}

function memory(): BenchCase {
  const windows = BYTES / WINDOW_BYTES;
  return {
    name: 'memory',
    params: { windows },
    unit: 'bytes',
    run: () => {
      const bitmap = new DirtyBitmap(BYTES);
      for (let window = 0; window < windows; window++) bitmap.mark(window * WINDOW_BYTES, 1);
      return bitmap.heldBytes / windows;
    },
  };
}

function markAll(bitmap: DirtyBitmap, addresses: Float64Array, length: number): void {
  for (let i = 0; i < addresses.length; i++) bitmap.mark(addresses[i]!, length);
}
