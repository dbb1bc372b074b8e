/** The IOVA tree from all its sides, and the baseline that it is measured against. The property test has the random operations. */
import { describe, expect, it } from 'vitest';
import { iovaBench } from '../../lib/bench/iova.js';
import { LinearWalk } from '../../lib/bench/linear-walk.js';
import { Random } from '../../lib/guest/random.js';
import { IovaAllocator } from '../../lib/iova/allocator.js';
import { IovaTree, type MappedMemory } from '../../lib/iova/iova-tree.js';
import { Chain } from '../../lib/ring/chain.js';

const PAGE = 4096;
const MiB = 2 ** 20;
const GiB = 2 ** 30;
const HVA = 0x7f00_0000_0000;

const newTree = () => new IovaTree({ first: 0n, last: 2n ** 64n - 1n });
const memory = (hva: number, size: number, gpa?: number, writable = true): MappedMemory => ({
  hva,
  size,
  gpa,
  writable,
});

type Lookup = 'gpaToIova' | 'hvaToIova' | 'iovaToGpa' | 'iovaToHva';

/** Pieces of a lookup, undefined when there are none. */
function look(tree: IovaTree, way: Lookup, from: number, length: number, write = false, capacity = 16) {
  const out = new Chain(capacity);
  if (!tree[way](from, length, write, out)) return undefined;
  expect(write ? out.writableBytes : out.readableBytes).toBe(length);
  return Array.from({ length: out.count }, (_, i) => [out.addr[i], out.len[i]]);
}

describe('an IOVA tree', () => {
  it('finds memory from every side', () => {
    const tree = newTree();
    const iova = tree.map(memory(HVA, 4 * PAGE, 0x10_0000));
    expect(look(tree, 'gpaToIova', 0x10_0010, 0x20, true)).toEqual([[iova + 0x10, 0x20]]);
    expect(look(tree, 'hvaToIova', HVA + 0x10, 0x20, true)).toEqual([[iova + 0x10, 0x20]]);
    expect(look(tree, 'iovaToGpa', iova + 0x10, 0x20, true)).toEqual([[0x10_0010, 0x20]]);
    expect(look(tree, 'iovaToHva', iova + 0x10, 0x20, true)).toEqual([[HVA + 0x10, 0x20]]);
    expect(tree.get(iova)).toEqual({ iova, ...memory(HVA, 4 * PAGE, 0x10_0000) });
    tree.unmap(iova);
    for (const way of ['gpaToIova', 'hvaToIova', 'iovaToGpa', 'iovaToHva'] as const) {
      for (const from of [0x10_0010, HVA + 0x10, iova + 0x10]) expect(look(tree, way, from, 1)).toBeUndefined();
    }
    expect([tree.size, tree.get(iova), tree.maps()]).toEqual([0, undefined, []]);
  });

  it('maps where it is told, page 0 too, or else at the first place', () => {
    const tree = newTree();
    expect(tree.map(memory(HVA, 2 * PAGE, 0), 0)).toBe(0);
    expect(tree.map(memory(HVA + 2 * PAGE, PAGE))).toBe(2 * PAGE);
    expect(tree.map(memory(HVA + 3 * PAGE, 2 * MiB)) % (2 * MiB)).toBe(3 * PAGE);
    expect(tree.maps().map(map => map.iova)).toEqual([0, 2 * PAGE, 3 * PAGE]);
  });

  it("has one guest address for memory, and none for the host's own", () => {
    const tree = newTree();
    const rings = tree.map(memory(HVA, PAGE));
    const guest = tree.map(memory(HVA + PAGE, PAGE, 0));
    expect(guest).toBe(rings + PAGE);
    expect(look(tree, 'iovaToHva', rings, 2 * PAGE)).toHaveLength(2);
    expect(look(tree, 'iovaToGpa', rings, 1)).toBeUndefined();
    expect(look(tree, 'iovaToGpa', rings + PAGE - 1, 2)).toBeUndefined();
    expect(look(tree, 'iovaToGpa', guest, 2)).toEqual([[0, 2]]);
    expect(look(tree, 'gpaToIova', 0, 2)).toEqual([[guest, 2]]);
    expect(look(tree, 'hvaToIova', HVA, 2)).toEqual([[rings, 2]]);
  });

  it('asks for permission on every side', () => {
    const tree = newTree();
    const rom = tree.map(memory(HVA, PAGE, 0xf_0000, false));
    const sides = [
      ['gpaToIova', 0xf_0000],
      ['hvaToIova', HVA],
      ['iovaToGpa', rom],
      ['iovaToHva', rom],
    ] as const;
    for (const [way, from] of sides) {
      expect(look(tree, way, from, PAGE)).toHaveLength(1);
      expect(look(tree, way, from, PAGE, true)).toBeUndefined();
    }
  });

  it('translates contiguous guest memory that is in fragments here, and the reverse', () => {
    const tree = newTree();
    const first = tree.map(memory(HVA + 8 * PAGE, 2 * PAGE, 0x4000), 0x50_0000);
    const second = tree.map(memory(HVA, 2 * PAGE, 0x6000), 0x30_0000);
    expect(look(tree, 'gpaToIova', 0x5ff0, 0x20, true)).toEqual([
      [first + 0x1ff0, 0x10],
      [second, 0x10],
    ]);
    expect(look(tree, 'hvaToIova', HVA + 8 * PAGE - 1, 1)).toBeUndefined();
    const third = tree.map(memory(HVA + 2 * PAGE, PAGE, 0x10_0000), 0x90_0000);
    expect(look(tree, 'hvaToIova', HVA + PAGE, 2 * PAGE, true)).toEqual([
      [second + PAGE, PAGE],
      [third, PAGE],
    ]);
    const fourth = tree.map(memory(HVA + 40 * PAGE, PAGE, 0x20_0000), third + PAGE);
    expect(look(tree, 'iovaToGpa', third + 0xff0, 0x20)).toEqual([
      [0x10_0ff0, 0x10],
      [0x20_0000, 0x10],
    ]);
    expect(look(tree, 'iovaToHva', fourth - 1, 2)).toEqual([
      [HVA + 3 * PAGE - 1, 1],
      [HVA + 40 * PAGE, 1],
    ]);
  });

  it('says no when a chain is full, and then has a part', () => {
    const tree = newTree();
    for (let i = 0; i < 3; i++) tree.map(memory(HVA + i * PAGE, PAGE, i * PAGE), (9 - 2 * i) * PAGE);
    for (const [way, from] of [
      ['gpaToIova', 0],
      ['hvaToIova', HVA],
    ] as const) {
      const out = new Chain(2);
      expect(tree[way](from, 3 * PAGE, false, out)).toBe(false);
      expect(out.count).toBe(2);
      expect(look(tree, way, from, 3 * PAGE, false, 3)).toHaveLength(3);
      expect(look(tree, way, from, 1, false, 0)).toBeUndefined();
    }
  });

  it('of nothing finds one empty piece, where there is something', () => {
    const tree = newTree();
    const iova = tree.map(memory(HVA, PAGE, 0));
    expect(look(tree, 'hvaToIova', HVA + 5, 0)).toEqual([[iova + 5, 0]]);
    expect(look(tree, 'gpaToIova', 5, 0)).toEqual([[iova + 5, 0]]);
    expect(look(tree, 'hvaToIova', HVA + PAGE, 0)).toBeUndefined();
    expect(look(tree, 'hvaToIova', HVA - 1, 0)).toBeUndefined();
  });

  it('gives pieces of less than 4 GiB', () => {
    const tree = newTree();
    const iova = tree.map(memory(HVA, 16 * GiB, 0), 16 * GiB);
    for (const [way, from] of [
      ['gpaToIova', 0],
      ['hvaToIova', HVA],
      ['iovaToHva', iova],
    ] as const) {
      const parts = look(tree, way, from + 1, 9 * GiB) ?? [];
      expect(parts).toHaveLength(3);
      expect(parts.every(([, bytes]) => bytes < 2 ** 32)).toBe(true);
    }
  });

  it('refuses what overlaps, and is as before', () => {
    const tree = newTree();
    tree.map(memory(HVA, 4 * PAGE, 0x8000), 0x10_0000);
    const refusals = [
      () => tree.map(memory(HVA + MiB, 2 * PAGE, 0x7000)),
      () => tree.map(memory(HVA + MiB, 2 * PAGE, 0xb000), 0x20_0000),
      () => tree.map(memory(HVA + MiB, 2 * PAGE, 0x20_0000), 0x10_3000),
      () => tree.map(memory(HVA + MiB, 2 * PAGE, 0x20_0000), 0x10_0800),
      () => tree.map(memory(HVA + 1, 2 * PAGE, 0x20_0000)),
      () => tree.map(memory(HVA + 1, 2 * PAGE, 0x20_0000), 0x20_0000),
      () => tree.map(memory(HVA, 0, 0x20_0000)),
      () => tree.map(memory(2 ** 53 - PAGE, 2 * PAGE)),
      () => tree.map(memory(HVA, PAGE, 2 ** 53)),
      () => tree.unmap(0x10_1000),
      () => tree.unmap(0),
    ];
    for (const refused of refusals) expect(refused).toThrow(expect.objectContaining({ code: 'ERR_VDPA_ADDRESS' }));
    expect(tree.maps()).toEqual([{ iova: 0x10_0000, ...memory(HVA, 4 * PAGE, 0x8000) }]);
    expect(look(tree, 'hvaToIova', HVA + MiB, 1)).toBeUndefined();
    expect(tree.map(memory(HVA + MiB, 2 * PAGE, 0x6000), 0x10_4000)).toBe(0x10_4000);
  });

  describe('with memory at several places', () => {
    it('finds the aliases of one memory, and any of them from its address here', () => {
      const tree = newTree();
      // A guest's low memory, and two aliases of parts of it.
      tree.map(memory(HVA, 64 * PAGE, 0), 0x100_0000);
      tree.map(memory(HVA, 4 * PAGE, 0x80_0000), 0x200_0000);
      tree.map(memory(HVA + 2 * PAGE, PAGE, 0x90_0000), 0x300_0000);
      for (const [gpa, iova] of [
        [2 * PAGE, 0x100_2000],
        [0x80_2000, 0x200_2000],
        [0x90_0000, 0x300_0000],
      ]) {
        expect(look(tree, 'gpaToIova', gpa, 16)).toEqual([[iova, 16]]);
        expect(look(tree, 'iovaToGpa', iova, 16)).toEqual([[gpa, 16]]);
        expect(look(tree, 'iovaToHva', iova, 16)).toEqual([[HVA + 2 * PAGE, 16]]);
      }
      const found = look(tree, 'hvaToIova', HVA + 2 * PAGE, 16);
      expect(look(tree, 'iovaToHva', found?.[0][0] ?? 0, 16)).toEqual([[HVA + 2 * PAGE, 16]]);
      for (const iova of [0x300_0000, 0x200_0000]) {
        tree.unmap(iova);
        expect(look(tree, 'hvaToIova', HVA + 2 * PAGE, 16)).toHaveLength(1);
      }
      tree.unmap(0x100_0000);
      expect(look(tree, 'hvaToIova', HVA + 2 * PAGE, 16)).toBeUndefined();
    });

    it('keeps looking until one may be written', () => {
      const tree = newTree();
      tree.map(memory(HVA, 16 * PAGE, undefined, true), 0x100_0000);
      for (let i = 0; i < 8; i++)
        tree.map(memory(HVA + i * PAGE, 8 * PAGE, undefined, false), 0x200_0000 + 8 * i * PAGE);
      for (let page = 0; page < 16; page++) {
        expect(look(tree, 'hvaToIova', HVA + page * PAGE, PAGE, true)).toEqual([[0x100_0000 + page * PAGE, PAGE]]);
      }
      tree.unmap(0x100_0000);
      expect(look(tree, 'hvaToIova', HVA, PAGE, true)).toBeUndefined();
      expect(look(tree, 'hvaToIova', HVA, PAGE)).toHaveLength(1);
    });

    it('reads from what may be written', () => {
      const tree = newTree();
      tree.map(memory(HVA, PAGE, undefined, true), 0x100_0000);
      expect(look(tree, 'hvaToIova', HVA, PAGE, false)).toEqual([[0x100_0000, PAGE]]);
    });

    it('takes as few pieces as it can', () => {
      const tree = newTree();
      for (let i = 0; i < 8; i++) tree.map(memory(HVA + i * PAGE, PAGE), 0x200_0000 + 2 * i * PAGE);
      expect(look(tree, 'hvaToIova', HVA, 8 * PAGE)).toHaveLength(8);
      tree.map(memory(HVA, 6 * PAGE), 0x100_0000);
      expect(look(tree, 'hvaToIova', HVA + 1, 8 * PAGE - 2)).toEqual([
        [0x100_0001, 6 * PAGE - 1],
        [0x200_0000 + 12 * PAGE, PAGE],
        [0x200_0000 + 14 * PAGE, PAGE - 1],
      ]);
    });

    it('gives one answer, whatever was asked before', () => {
      const tree = newTree();
      tree.map(memory(HVA, 16 * PAGE), 0x100_0000);
      tree.map(memory(HVA + 4 * PAGE, PAGE), 0x200_0000);
      for (const before of [0, 4, 9]) {
        look(tree, 'hvaToIova', HVA + before * PAGE, 1);
        expect(look(tree, 'hvaToIova', HVA + 4 * PAGE, 1)).toEqual([[0x200_0000, 1]]);
        look(tree, 'hvaToIova', HVA + before * PAGE, 1);
        expect(look(tree, 'hvaToIova', HVA + 5 * PAGE, 1)).toEqual([[0x100_5000, 1]]);
      }
    });

    it('does not search a hundred thousand ranges inside one for the one around them', () => {
      const tree = newTree();
      const count = 100_000;
      for (let i = 0; i < count; i++) tree.map(memory(HVA + 2 * i * PAGE, PAGE, undefined, false));
      const giant = tree.map(memory(HVA, 2 * count * PAGE));
      const random = new Random(9);
      const out = new Chain(1);
      const start = performance.now();
      for (let i = 0; i < 100_000; i++) {
        const offset = random.below(2 * count) * PAGE + 5;
        out.reset();
        if (!tree.hvaToIova(HVA + offset, 512, true, out) || out.addr[0] !== giant + offset)
          expect.fail(`at ${offset}`);
      }
      // A tenth of a second; one after the other it would be minutes.
      expect(performance.now() - start).toBeLessThan(5000);
    });
  });

  describe('tells how its memory is placed for large pages:', () => {
    const rest = (size: number) => ({ in1GiB: 0, in2MiB: 0, rest: size });

    it('all that agrees, in whole pages of both sizes', () => {
      const tree = newTree();
      expect(tree.coverage()).toEqual(rest(0));
      tree.map(memory(3 * GiB - 2 * MiB, 2 * GiB + 4 * MiB, 0));
      expect(tree.coverage()).toEqual({ in1GiB: 2 * GiB, in2MiB: 4 * MiB, rest: 0 });
    });

    it('nothing that does not agree, or has no whole page', () => {
      const tree = newTree();
      tree.map(memory(HVA, 4 * MiB, 0), PAGE);
      tree.map(memory(HVA + PAGE, 2 * MiB, GiB), 8 * MiB + PAGE);
      expect(tree.coverage()).toEqual(rest(6 * MiB));
      tree.map(memory(HVA + 64 * MiB, GiB, 2 * GiB), 2 * GiB);
      expect(tree.coverage()).toEqual({ in1GiB: 0, in2MiB: GiB, rest: 6 * MiB });
    });

    it('without what was unmapped', () => {
      const tree = newTree();
      const iovas = [GiB + 6 * MiB + PAGE, 2 * MiB, PAGE].map((size, i) => tree.map(memory(HVA + 4 * i * GiB, size)));
      expect(tree.coverage()).toEqual({ in1GiB: GiB, in2MiB: 8 * MiB, rest: 2 * PAGE });
      for (const iova of iovas) tree.unmap(iova);
      expect(tree.coverage()).toEqual(rest(0));
    });
  });
});

describe('the linear walk', () => {
  it('answers as the tree and the allocator do', () => {
    const tree = newTree();
    const iovas = new IovaAllocator({ first: BigInt(PAGE), last: 2n ** 64n - 1n });
    const gpas = new LinearWalk();
    const held = new LinearWalk();
    const maps: { iova: number; gpa: number; size: number }[] = [];
    const random = new Random(11);
    const out = new Chain(1);
    for (let i = 0; i < 5000; i++) {
      const gpa = random.below(4000) * PAGE;
      const size = (1 + random.below(4)) * PAGE;
      const overlaps = maps.some(map => map.gpa < gpa + size && map.gpa + map.size > gpa);
      if (!overlaps) {
        const hole = held.hole(PAGE, size);
        expect(iovas.allocate(size)).toBe(hole);
        expect(tree.map(memory(gpa, size, gpa))).toBe(hole);
        held.insert(hole, size, 0);
        gpas.insert(gpa, size, hole);
        maps.push({ iova: hole, gpa, size });
      } else if (random.below(2) === 0) {
        const [gone] = maps.splice(random.below(maps.length), 1);
        iovas.release(gone.iova, gone.size);
        tree.unmap(gone.iova);
        held.remove(gone.iova);
        gpas.remove(gone.gpa);
      }
      const address = random.below(4000 * PAGE);
      out.reset();
      expect(gpas.find(address, 1)).toBe(tree.gpaToIova(address, 1, false, out) ? out.addr[0] : -1);
    }
    expect(maps.length).toBeGreaterThan(300);
  });
});

describe('the benchmark', () => {
  it('has its cases for every number of maps, and the baseline where it ends in time', () => {
    const cases = iovaBench({ maps: [100, 1_000_000] }).map(
      ({ name, params }) => `${name} ${params.maps} ${params.order}`,
    );
    const lookups = (maps: number) =>
      ['gpa_to_iova', 'hva_to_iova', 'iova_to_gpa'].flatMap(name => [
        `${name} ${maps} random`,
        `${name} ${maps} repeated`,
      ]);
    const changes = (maps: number) => [`map_unmap ${maps} random`, `alloc_free ${maps} random`];
    expect(cases).toEqual([
      ...lookups(100),
      ...changes(100),
      'linear_walk 100 random',
      ...lookups(1_000_000),
      ...changes(1_000_000),
    ]);
  });

  it('measures nanoseconds, again and again', async () => {
    for (const { run, unit } of iovaBench({ maps: [40] })) {
      expect(unit).toBe('ns');
      for (let i = 0; i < 2; i++) expect(await run()).toBeGreaterThan(0);
    }
  });
});
