/**
 * The dirty bitmaps against arrays with a byte for each page: 10^6 random operations on each structure, and no difference.
 *
 * A sparse bitmap covers far more than an array can. So its marks fall into spots of some pages, around the places where its own
 * structure has seams and at both ends, and the array has the pages of the spots only.
 */
import { describe, expect, it } from 'vitest';
import { DirtyBitmap } from '../../lib/dirty/dirty-bitmap.js';
import { DirtyPair } from '../../lib/dirty/dirty-pair.js';
import { DirtyView } from '../../lib/dirty/dirty-view.js';
import { exportVhostLog, importVhostLog, vhostLogSize } from '../../lib/dirty/vhost-log.js';
import { Random } from '../../lib/guest/random.js';

const OPERATIONS = 1_000_000;
const SEED = 20_261_203;
const SPOT_PAGES = 200;

function same(actual: unknown, expected: unknown, what: string): void {
  // vitest's expect takes microseconds, and this runs millions of times.
  if (!Object.is(actual, expected)) throw new Error(`${what}: ${actual}, and not ${expected}`);
}

function repeat(operations: number, seed: number, step: (random: Random, operation: number) => void): void {
  const random = new Random(seed);
  for (let operation = 0; operation < operations; operation++) {
    try {
      step(random, operation);
    } catch (error) {
      throw new Error(`seed ${seed}, operation ${operation}`, { cause: error });
    }
  }
}

interface Shape {
  readonly bytes: number;
  readonly shift: number;
}

/** Memories whose spots are at most seams: the middle of a word, a line, a window, a region, page 2^32, the end. */
const SHAPES: readonly Shape[] = [
  { bytes: 2 ** 53 - 1, shift: 12 },
  { bytes: 2 ** 53 - 1, shift: 0 },
  { bytes: 2 ** 40, shift: 12 },
  { bytes: 2 ** 45 + 12_345, shift: 16 },
  { bytes: 700 * 4096 - 9, shift: 12 },
];
const SEAMS = [0, 2 ** 10, 2 ** 20, 2 ** 21, 2 ** 28, 2 ** 32, 2 ** 33 + 2 ** 20, Number.MAX_SAFE_INTEGER];

/** The naive model: a byte for each page of some spots. */
class Spots {
  readonly firsts: number[] = [];
  readonly #pages: number;
  readonly #pageSize: number;
  readonly #bytes: number;
  readonly #marks: Uint8Array[] = [];

  constructor({ bytes, shift }: Shape) {
    this.#bytes = bytes;
    this.#pageSize = 2 ** shift;
    this.#pages = Math.ceil(bytes / this.#pageSize);
    for (const seam of SEAMS) {
      const first = Math.max(0, Math.min(seam, this.#pages) - SPOT_PAGES / 2);
      if (first < (this.firsts.at(-1) ?? Number.NEGATIVE_INFINITY) + 2 * SPOT_PAGES) continue;
      this.firsts.push(first);
      this.#marks.push(new Uint8Array(Math.min(SPOT_PAGES, this.#pages - first)));
    }
  }

  /**
   * A range within a spot, in bytes, and never aligned but by chance. Long ones are rare: they make a bitmap of a list, which it
   * remains until it has been empty for a while.
   */
  range(random: Random): [spot: number, offset: number, length: number] {
    const spot = random.below(this.firsts.length);
    const start = this.firsts[spot] * this.#pageSize;
    const end = Math.min(start + this.#marks[spot].length * this.#pageSize, this.#bytes);
    const offset = start + Math.floor((end - start) * random.next());
    const pages = random.next() < 0.004 ? SPOT_PAGES : random.next() < 0.1 ? 20 : 3;
    return [spot, offset, Math.min(Math.floor(pages * this.#pageSize * random.next()), end - offset)];
  }

  mark(spot: number, offset: number, length: number): void {
    const first = this.firsts[spot];
    for (let page = 0; page < this.#marks[spot].length; page++) {
      const start = (first + page) * this.#pageSize;
      if (length > 0 && offset < start + this.#pageSize && offset + length > start) this.#marks[spot][page] = 1;
    }
  }

  has(spot: number, offset: number): boolean {
    return this.#marks[spot][Math.floor(offset / this.#pageSize) - this.firsts[spot]] === 1;
  }

  or(other: Spots): void {
    for (const [spot, marks] of this.#marks.entries()) {
      for (let i = 0; i < marks.length; i++) marks[i] |= other.#marks[spot][i];
    }
  }

  clear(): void {
    for (const marks of this.#marks) marks.fill(0);
  }

  count(): number {
    let total = 0;
    for (const marks of this.#marks) for (const mark of marks) total += mark;
    return total;
  }

  /** Page by page, as a reader without any structure would put the runs together. */
  runs(): number[] {
    const runs: number[] = [];
    for (const [spot, marks] of this.#marks.entries()) {
      for (let i = 0; i < marks.length; i++) {
        if (marks[i] === 0) continue;
        const start = (this.firsts[spot] + i) * this.#pageSize;
        const length = Math.min(this.#pageSize, this.#bytes - start);
        if (i > 0 && marks[i - 1] === 1) runs[runs.length - 1] += length;
        else runs.push(start, length);
      }
    }
    return runs;
  }
}

function sameMarks(view: DirtyView, model: Spots): void {
  const expected = model.runs();
  const runs = view.runs();
  same(runs.length, expected.length, 'numbers of runs');
  let marked = 0;
  for (let i = 0; i < expected.length; i++) {
    same(runs[i], expected[i], `number ${i} of the runs`);
    if (i % 2 === 1) marked += expected[i];
  }
  same(view.count(), model.count(), 'count');
  same(view.markedBytes(), marked, 'marked bytes');
  same(view.any(), expected.length > 0, 'any');
}

describe('DirtyBitmap', () => {
  it.each(SHAPES.map((shape, i) => [shape.bytes, shape.shift, i]))(
    'is a set of pages, for %d bytes in pages of 2^%i',
    (bytes, shift, index) => {
      const shape = { bytes, shift };
      const bitmap = new DirtyBitmap(bytes, shift);
      const model = new Spots(shape);
      repeat(OPERATIONS / SHAPES.length, SEED + index, random => {
        const choice = random.next();
        const [spot, offset, length] = model.range(random);
        if (choice < 0.5) {
          bitmap.mark(offset, length);
          model.mark(spot, offset, length);
        } else if (choice < 0.995) {
          same(bitmap.has(offset), model.has(spot, offset), `has ${offset}`);
        } else if (choice < 0.998) {
          sameMarks(bitmap, model);
        } else if (choice < 0.999) {
          const [other, otherModel] = [new DirtyBitmap(bytes, shift), new Spots(shape)];
          other.mark(offset, length);
          otherModel.mark(spot, offset, length);
          bitmap.or(random.next() < 0.5 ? other : other.snapshot());
          model.or(otherModel);
        } else {
          // The second one releases all windows.
          for (let i = random.below(2); i >= 0; i--) bitmap.clear();
          model.clear();
        }
      });
      sameMarks(bitmap, model);
    },
  );

  it('marks long ranges, of many windows, page by page as an array does', () => {
    const pages = 2 ** 20 + 12_345;
    const bitmap = new DirtyBitmap(pages * 4 - 3, 2);
    const model = new Uint8Array(pages);
    repeat(300, SEED, random => {
      const offset = random.below(bitmap.bytes);
      const length = random.below(
        random.next() < 0.1 ? bitmap.bytes - offset + 1 : Math.min(50, bitmap.bytes - offset),
      );
      bitmap.mark(offset, length);
      if (length > 0) model.fill(1, Math.floor(offset / 4), Math.floor((offset + length - 1) / 4) + 1);
      if (random.next() < 0.05) {
        bitmap.clear();
        model.fill(0);
      }
      if (random.next() < 0.9) return;
      const covered = new Uint8Array(pages);
      bitmap.forEachRun((start, bytes) => covered.fill(1, start / 4, Math.ceil((start + bytes) / 4)));
      same(Buffer.compare(covered, model), 0, 'pages in runs');
      same(
        bitmap.count(),
        model.reduce((sum, mark) => sum + mark, 0),
        'count',
      );
    });
  });

  it('is a set of pages while lists grow and become bitmaps, marked one by one and merged', () => {
    const pages = 2 ** 20;
    repeat(6, SEED, random => {
      const bitmap = new DirtyBitmap(pages * 4096);
      const model = new Uint8Array(pages);
      for (let round = 0; round < 5; round++) {
        const other = new DirtyBitmap(pages * 4096);
        const target = round % 2 === 0 ? bitmap : other;
        for (let i = random.below(12_000); i > 0; i--) {
          const page = random.below(pages);
          target.mark(page * 4096, 1);
          model[page] = 1;
        }
        bitmap.or(other);
        const found = new Uint8Array(pages);
        bitmap.forEachRun((start, bytes) => found.fill(1, start / 4096, (start + bytes) / 4096));
        same(Buffer.compare(found, model), 0, 'pages in runs');
        const marked = model.reduce((sum, mark) => sum + mark, 0);
        same(bitmap.count(), marked, 'count');
      }
    });
  });

  it('survives the vhost log', () => {
    const shape = { bytes: 300 * 4096 - 5, shift: 12 };
    repeat(2000, SEED, random => {
      const bitmap = new DirtyBitmap(shape.bytes);
      const model = new Spots(shape);
      for (let i = random.below(20); i > 0; i--) {
        const [spot, offset, length] = model.range(random);
        bitmap.mark(offset, length);
        model.mark(spot, offset, length);
      }
      const log = new Uint8Array(vhostLogSize(shape.bytes) + 8).subarray(random.below(8));
      exportVhostLog(bitmap, log);
      const back = new DirtyBitmap(shape.bytes);
      importVhostLog(log, shape.bytes, back);
      sameMarks(back, model);
    });
  });
});

describe('DirtyPair', () => {
  it.each(SHAPES.map((shape, i) => [shape.bytes, shape.shift, i]))(
    'tells every mark in exactly one snapshot, for %d bytes in pages of 2^%i',
    (bytes, shift, index) => {
      const shape = { bytes, shift };
      const pair = new DirtyPair(bytes, shift);
      const total = new DirtyBitmap(bytes, shift);
      const everything = new Spots(shape);
      let period = new Spots(shape);
      let handedOver = new Spots(shape);
      let snapshot = pair.swap();
      const swap = () => {
        // The one before is as it was, however much was marked since.
        sameMarks(DirtyView.of(snapshot), handedOver);
        snapshot = pair.swap();
        [handedOver, period] = [period, handedOver];
        period.clear();
        sameMarks(DirtyView.of(snapshot), handedOver);
        total.or(snapshot);
      };
      // Periods of very different length: some with nothing, some that mark every window.
      let least = 0.5;
      repeat(OPERATIONS / SHAPES.length, SEED + index, random => {
        if (random.next() > least) {
          swap();
          least = random.next() < 0.1 ? 0.7 : 0.98 + 0.02 * random.next();
          return;
        }
        const [spot, offset, length] = period.range(random);
        pair.mark(offset, length);
        for (const model of [period, everything]) model.mark(spot, offset, length);
      });
      swap();
      sameMarks(total, everything);
      // Both bitmaps have been empty for a period.
      for (let i = 0; i < 4; i++) pair.swap();
      expect(pair.heldBytes).toBe(0);
    },
  );
});
