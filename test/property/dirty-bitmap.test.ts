/** The bitmap against a Set of page numbers. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DirtyBitmap } from '../../lib/dirty/bitmap.js';

const range = (bytes: number) =>
  fc
    .tuple(fc.nat(bytes), fc.oneof(fc.nat(3), fc.nat(bytes)))
    .map(([offset, length]) => [offset, Math.min(length, bytes - offset)]);

const memory = fc.record({ pages: fc.integer({ min: 1, max: 200 }), shift: fc.constantFrom(2, 4), cut: fc.nat(3) });

/** Pages as single bytes would mark them. */
function touch(set: Set<number>, offset: number, length: number, shift: number): void {
  for (let byte = offset; byte < offset + length; byte++) set.add(byte >> shift);
}

function pagesOf(bitmap: DirtyBitmap): number[] {
  const pages: number[] = [];
  for (let page = 0; page < bitmap.pages; page++) if (bitmap.has(page * bitmap.pageSize)) pages.push(page);
  return pages;
}

const sorted = (set: Set<number>) => [...set].sort((a, b) => a - b);

describe('DirtyBitmap', () => {
  it('is a set of pages, and its runs are exactly that set', () => {
    const cases = memory.chain(({ pages, shift, cut }) => {
      const bytes = pages * 2 ** shift - cut;
      return fc.record({ bytes: fc.constant(bytes), shift: fc.constant(shift), marks: fc.array(range(bytes)) });
    });
    fc.assert(
      fc.property(cases, ({ bytes, shift, marks }) => {
        const bitmap = new DirtyBitmap(bytes, shift);
        const model = new Set<number>();
        for (const [offset, length] of marks) {
          bitmap.mark(offset, length);
          touch(model, offset, length, shift);
        }
        expect(pagesOf(bitmap)).toEqual(sorted(model));
        expect(bitmap.count()).toBe(model.size);
        expect(bitmap.any()).toBe(model.size > 0);

        const covered = new Set<number>();
        const runs = bitmap.runs();
        let end = -1;
        for (let i = 0; i < runs.length; i += 2) {
          // Runs that touched would be one run.
          expect(runs[i]).toBeGreaterThan(end);
          expect(runs[i] % bitmap.pageSize).toBe(0);
          end = runs[i] + runs[i + 1];
          touch(covered, runs[i], runs[i + 1], shift);
        }
        expect(end).toBeLessThanOrEqual(bytes);
        expect(sorted(covered)).toEqual(sorted(model));
      }),
      { numRuns: 500 },
    );
  });

  it('loses no mark over any sequence of snapshots', () => {
    const bytes = 150 * 16;
    const step = fc.oneof(
      { weight: 4, arbitrary: range(bytes) },
      { weight: 1, arbitrary: fc.constant('take' as const) },
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), steps => {
        const bitmap = new DirtyBitmap(bytes, 4);
        const total = new DirtyBitmap(bytes, 4);
        const everything = new Set<number>();
        const sinceTake = new Set<number>();
        for (const mark of steps) {
          if (mark === 'take') {
            const snapshot = DirtyBitmap.fromWords(bitmap.take(), bytes, 4);
            expect(pagesOf(snapshot)).toEqual(sorted(sinceTake));
            total.or(snapshot);
            sinceTake.clear();
          } else {
            bitmap.mark(mark[0], mark[1]);
            for (const set of [everything, sinceTake]) touch(set, mark[0], mark[1], 4);
          }
        }
        total.or(bitmap);
        expect(pagesOf(total)).toEqual(sorted(everything));
      }),
    );
  });
});
