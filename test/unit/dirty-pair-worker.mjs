/** The producer of dirty-pair.test.ts: marks every page of a memory once, in a scattered order, batch by batch. */
import { DirtyPair } from '../../dist/dirty/dirty-pair.js';
import { serve } from '../../dist/thread.js';

const PAGE = 4096;
/** Odd, so that its multiples visit every page of a power of two of them. */
const STRIDE = 0x9e3779b1;

let pair;
let next = 0;
let pages = 0;

function batch(size) {
  for (const end = Math.min(next + size, pages); next < end; next++) {
    pair.mark((Math.imul(next, STRIDE) & (pages - 1)) * PAGE, 1);
  }
  if (next < pages) setImmediate(batch, size);
}

serve({
  start: (count, perBatch) => {
    pages = count;
    pair = new DirtyPair(pages * PAGE);
    setImmediate(batch, perBatch);
  },
  takeDirty: () => pair.swap(),
  isDone: () => next === pages,
});
