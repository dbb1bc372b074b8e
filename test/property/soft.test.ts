/**
 * The soft IOTLB against the kernel's rules, written with numbers of 64 bits and inclusive ends; the soft disk through
 * buffers and maps that are cut anywhere.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BlkBackend } from '../../lib/device/soft/blk.js';
import { Dma } from '../../lib/device/soft/dma.js';
import { Iotlb } from '../../lib/device/soft/iotlb.js';
import { MemoryRegion } from '../../lib/memory/region.js';
import { Chain } from '../../lib/ring/chain.js';

const PAGE = 0x1000;
const PAGES = 16;
const WORD = 1n << 64n;

interface Entry {
  readonly first: bigint;
  readonly last: bigint;
}

/** The kernel's rules as they are written in 64-bit numbers with inclusive ends: any overlap refuses, any touch removes. */
class Oracle {
  entries: Entry[] = [];

  update(iova: number, size: number): boolean {
    const first = BigInt(iova);
    const last = first + BigInt(size) - 1n;
    if (size === 0 || last >= WORD || this.#touching(first, last).length > 0) return false;
    this.entries.push({ first, last });
    return true;
  }

  invalidate(iova: number, size: number): void {
    const gone = this.#touching(BigInt(iova), (BigInt(iova) + BigInt(size) - 1n) & (WORD - 1n));
    this.entries = this.entries.filter(entry => !gone.includes(entry));
  }

  #touching(first: bigint, last: bigint): Entry[] {
    return this.entries.filter(entry => entry.first <= last && first <= entry.last);
  }
}

// Few addresses, so that messages meet. Whole pages are exact in a number up to 2^64 and a little above; bytes are not.
const page = fc.nat(PAGES).map(n => n * PAGE);
const pages = fc.integer({ min: 0, max: 4 }).map(n => n * PAGE);
const END = 2 ** 64 - 4 * PAGE;
const ranges = fc.oneof(
  { weight: 6, arbitrary: fc.record({ iova: page, size: pages }) },
  { weight: 1, arbitrary: fc.record({ iova: fc.nat(PAGES * PAGE), size: fc.nat(3 * PAGE) }) },
  { weight: 1, arbitrary: fc.record({ iova: page, size: fc.constantFrom(END, 2 ** 63) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      iova: fc.constantFrom(END, END + PAGE, 2 ** 63),
      size: fc.oneof(pages, fc.constant(8 * PAGE)),
    }),
  },
);
const messages = fc.array(fc.record({ update: fc.boolean(), range: ranges }), { minLength: 1, maxLength: 40 });

describe('the soft IOTLB', () => {
  it("answers every message, and holds afterwards, what the kernel's rules say", () => {
    fc.assert(
      fc.property(messages, list => {
        const soft = new Iotlb();
        const oracle = new Oracle();
        for (const { update, range } of list) {
          const { iova, size } = range;
          if (update) {
            const taken = soft.update({ iova, size, region: 1, offset: 0, perm: 'rw' });
            expect(taken).toBe(oracle.update(iova, size));
          } else {
            soft.invalidate(iova, size);
            oracle.invalidate(iova, size);
          }
          const held = soft.entries.map(entry => ({
            first: BigInt(entry.iova),
            last: BigInt(entry.iova) + BigInt(entry.size) - 1n,
          }));
          expect(held).toEqual(oracle.entries.toSorted((a, b) => (a.first < b.first ? -1 : 1)));
        }
      }),
      { numRuns: 1000 },
    );
  });

  it('keeps what an entry maps, and forgets all at once', () => {
    const soft = new Iotlb();
    const map = { iova: PAGE, size: PAGE, region: 4, offset: 3 * PAGE, perm: 'ro' } as const;
    soft.update({ ...map, asid: 0, op: 'iotlbUpdate' } as typeof map);
    expect(soft.entries).toEqual([map]);
    soft.clear();
    expect(soft.entries).toEqual([]);
  });
});

describe('the soft disk', () => {
  const IOVA = 0x4_0000_0000;
  const MEMORY = 8 * PAGE;
  const DISK = 2 * PAGE;
  const IN = 0;
  const OUT = 1;

  /** Cuts [0, length) at these places. */
  const pieces = (length: number, cuts: readonly number[]): [number, number][] => {
    const at = [0, ...cuts.map(cut => cut % (length + 1)).sort((a, b) => a - b), length];
    return at.slice(1).map((end, i) => [at[i], end - at[i]]);
  };
  const cuts = fc.array(fc.nat(), { maxLength: 5 });

  it('is written and read byte for byte, wherever buffers and maps are cut', () => {
    const region = MemoryRegion.create('soft-property', MEMORY);
    const memory = new Uint8Array(region.view(0, MEMORY));
    const dma = new Dma();
    const request = (type: number, sector: number, readable: [number, number][], writable: [number, number][]) => {
      new DataView(memory.buffer).setUint32(0, type, true);
      new DataView(memory.buffer).setBigUint64(8, BigInt(sector), true);
      const chain = new Chain(readable.length + writable.length);
      for (const [at, length] of readable) chain.push(IOVA + at, length, false);
      for (const [at, length] of writable) chain.push(IOVA + at, length, true);
      return chain;
    };
    fc.assert(
      fc.property(
        fc.array(fc.nat(), { maxLength: 4 }),
        cuts,
        cuts,
        fc.nat(DISK / 512),
        fc.uint8Array({ minLength: 1, maxLength: PAGE }),
        (mapCuts, outCuts, inCuts, sector, data) => {
          const maps = pieces(MEMORY, mapCuts).filter(([, size]) => size > 0);
          dma.setMaps(maps.map(([at, size]) => ({ iova: IOVA + at, size, region: region.id, offset: at, perm: 'rw' })));
          const disk = new Uint8Array(DISK);
          const backend = new BlkBackend(disk, dma);
          memory.fill(0xaa);
          // Header at 0 with the data behind it, as one run of bytes that is cut anywhere; the status far away.
          memory.set(data, 16);
          const status = 6 * PAGE;
          const written = backend.execute(request(OUT, sector, pieces(16 + data.length, outCuts), [[status, 1]]));
          const fits = sector * 512 + data.length <= DISK;
          expect([written, memory[status]]).toEqual([1, fits ? 0 : 1]);
          const wanted = new Uint8Array(DISK);
          if (fits) wanted.set(data, sector * 512);
          expect(disk).toEqual(wanted);
          // Data and status as one run of bytes that is cut anywhere.
          const target = 3 * PAGE;
          const room = pieces(data.length + 1, inCuts).map(([at, size]): [number, number] => [target + at, size]);
          const read = backend.execute(request(IN, sector, [[0, 16]], room));
          expect(read).toBe(fits ? data.length + 1 : 1);
          expect(memory[target + data.length]).toBe(fits ? 0 : 1);
          if (fits) expect(memory.slice(target, target + data.length)).toEqual(data);
          expect(memory[target + data.length + 1]).toBe(0xaa);
        },
      ),
    );
    region.close();
  });
});
