/**
 * IovaBitmap against an array with a byte for each page: 10^6 random operations, and no difference. Bitmaps of all small sizes begin at
 * all places of a word, in memory that is full of other bits, which must stay.
 */
import { describe, it } from 'vitest';
import { IovaBitmap } from '../../lib/dirty/iova-bitmap.js';
import { Random } from '../../lib/guest/random.js';

const OPERATIONS = 1_000_000;
const PER_BITMAP = 250;
const SEED = 20_261_204;

function same(actual: unknown, expected: unknown, what: string): void {
  // vitest's expect takes microseconds, and this runs millions of times.
  if (!Object.is(actual, expected)) throw new Error(`${what}: ${actual}, and not ${expected}`);
}

/** A bitmap, what its memory looked like, and the pages that should be dirty. */
class Case {
  readonly map: IovaBitmap;
  readonly pages: Uint8Array;
  readonly #memory: Uint8Array;
  readonly #before: Uint8Array;
  readonly #offset: number;

  constructor(random: Random, like?: IovaBitmap) {
    const pageSize = like?.pageSize ?? 2 ** [0, 3, 12, 21, 30][random.below(5)];
    const length = like?.length ?? Math.floor(random.next() ** 2 * 300 * pageSize);
    const iova = like?.iova ?? random.below(2 ** 20) * (random.next() < 0.5 ? pageSize : 1);
    this.pages = new Uint8Array(Math.ceil(length / pageSize));
    this.#offset = random.below(12);
    this.#memory = Uint8Array.from({ length: 64 }, () => random.below(256));
    // The bitmap's own bits are clear at first; those behind its last are not.
    for (let page = 0; page < this.pages.length; page++) {
      this.#memory[this.#offset + (page >> 3)] &= ~(1 << (page & 7));
    }
    this.#before = this.#memory.slice();
    this.map = new IovaBitmap(iova, length, pageSize, this.#memory.subarray(this.#offset));
  }

  /** Anywhere in the range or a little outside, of any length. */
  record(random: Random): [iova: number, length: number] {
    const { iova, length, pageSize } = this.map;
    const from = Math.max(0, Math.floor(iova - 3 * pageSize + (length + 6 * pageSize) * random.next()));
    const most = [0, 1, 2 * pageSize, 20 * pageSize, length + 4 * pageSize][random.below(5)];
    return [from, Math.floor(most * random.next())];
  }

  mark(iova: number, length: number): void {
    this.map.set(iova, length);
    const { iova: base, length: bytes, pageSize } = this.map;
    for (let page = 0; page < this.pages.length; page++) {
      const start = base + page * pageSize;
      const end = Math.min(start + pageSize, base + bytes);
      if (length > 0 && iova < end && iova + length > start) this.pages[page] = 1;
    }
  }

  check(): void {
    let count = 0;
    const runs: number[] = [];
    const { iova, length, pageSize } = this.map;
    for (let page = 0; page < this.pages.length; page++) {
      if (this.pages[page] === 0) continue;
      count++;
      const bytes = Math.min(pageSize, length - page * pageSize);
      if (page > 0 && this.pages[page - 1] === 1) runs[runs.length - 1] += bytes;
      else runs.push(iova + page * pageSize, bytes);
    }
    same(this.map.count(), count, 'count');
    let at = 0;
    this.map.forEachRun((start, bytes) => {
      same(start, runs[at++], 'start of a run');
      same(bytes, runs[at++], 'length of a run');
    });
    same(at, runs.length, 'numbers of runs');
    this.#checkMemory();
  }

  /** Bit by bit: the model's where a page is, what was there before elsewhere. */
  #checkMemory(): void {
    for (let bit = 0; bit < this.#memory.length * 8; bit++) {
      const page = bit - this.#offset * 8;
      const own = page >= 0 && page < this.pages.length;
      const expected = own ? this.pages[page] : (this.#before[bit >> 3] >> (bit & 7)) & 1;
      if (((this.#memory[bit >> 3] >> (bit & 7)) & 1) !== expected) same(expected ^ 1, expected, `bit ${bit}`);
    }
  }
}

/** Windows follow one another without a gap, as the formula of the kernel has it: at most 512 pages of 4 KiB each. */
function checkWindows(map: IovaBitmap): void {
  let [iova, bytes] = [map.iova, 0];
  map.forEachWindow(window => {
    same(window.iova, iova, 'start of a window');
    same(window.pageOffset, (map.data.byteOffset + bytes) % 4096, 'page offset of a window');
    if (window.pages < 1 || window.pages > 512) throw new Error(`a window of ${window.pages} pages`);
    iova += window.length;
    bytes += window.data.length;
  });
  same(iova, map.iova + map.length, 'end of the last window');
  same(bytes, map.data.length, 'bytes of all windows');
}

describe('IovaBitmap', () => {
  it('is a set of pages, and touches no bit but theirs', () => {
    const random = new Random(SEED);
    let current = new Case(random);
    for (let operation = 0; operation < OPERATIONS; operation++) {
      try {
        const choice = random.next();
        const [iova, length] = current.record(random);
        const { map } = current;
        if (choice < 0.45) {
          current.mark(iova, length);
        } else if (choice < 0.97) {
          if (iova < map.iova || iova >= map.iova + map.length) continue;
          same(map.has(iova), current.pages[Math.floor((iova - map.iova) / map.pageSize)] === 1, `has ${iova}`);
        } else if (choice < 0.98) {
          const other = new Case(random, map);
          other.mark(iova, length);
          map.or(other.map);
          for (let page = 0; page < other.pages.length; page++) current.pages[page] |= other.pages[page];
        } else {
          current.check();
          checkWindows(map);
        }
        if (operation % PER_BITMAP !== 0) continue;
        current.check();
        current = new Case(random);
      } catch (error) {
        throw new Error(`seed ${SEED}, operation ${operation}`, { cause: error });
      }
    }
  });
});
