/** What the IOVA benchmark works on: an address space with many maps, an allocator that holds as much, and addresses in them. */
import { Random } from '../guest/random.js';
import { IovaAllocator } from '../iova/allocator.js';
import { IovaTree, type MappedMemory } from '../iova/iova-tree.js';
import { LinearWalk } from './linear-walk.js';

export type Side = 'gpa' | 'hva' | 'iova';

const PAGE = 4096;
const RANGE = { first: 0n, last: 2n ** 64n - 1n };
/** Where this process's memory begins. Anything that is not where the guest's does. */
const HVA_BASE = 0x7e00_0000_0000;
const SEED = 20_261_121;

/** `count` maps of 1 to 16 pages. Each side has them in another order, and a page is free behind every second one. */
export class BenchMaps {
  readonly count: number;
  readonly tree = new IovaTree(RANGE);
  readonly random = new Random(SEED);
  readonly #sizes: Float64Array;
  readonly #columns: Record<Side, Float64Array>;
  #walk: LinearWalk | undefined;

  constructor(count: number) {
    this.count = count;
    this.#sizes = Float64Array.from({ length: count }, () => randomSize(this.random));
    this.#columns = { gpa: this.#place(0), hva: this.#place(HVA_BASE), iova: new Float64Array(count) };
    for (let map = 0; map < count; map++) this.setIova(map, this.tree.map(this.memory(map)));
  }

  memory(map: number): MappedMemory {
    const { gpa, hva } = this.#columns;
    return { gpa: gpa[map]!, hva: hva[map]!, size: this.#sizes[map]!, writable: true };
  }

  iova(map: number): number {
    return this.#columns.iova[map]!;
  }

  setIova(map: number, iova: number): void {
    this.#columns.iova[map] = iova;
  }

  /** Fills an array with addresses: of random maps a random page. */
  pick(side: Side, addresses: Float64Array): void {
    const { random } = this;
    for (let i = 0; i < addresses.length; i++) {
      const map = random.below(this.count);
      addresses[i] = this.#columns[side][map]! + random.below(this.#sizes[map]! / PAGE) * PAGE;
    }
  }

  /** The same maps by guest address, as the baseline keeps them: added in an order that is not theirs. */
  get walk(): LinearWalk {
    if (this.#walk) return this.#walk;
    const walk = new LinearWalk();
    const { gpa, iova } = this.#columns;
    for (let map = 0; map < this.count; map++) walk.insert(gpa[map]!, this.#sizes[map]!, iova[map]!);
    this.#walk = walk;
    return walk;
  }

  #place(base: number): Float64Array {
    const column = new Float64Array(this.count);
    let address = base;
    for (const map of shuffled(this.count, this.random)) {
      column[map] = address;
      address += this.#sizes[map]! + this.random.below(2) * PAGE;
    }
    return column;
  }
}

/** An allocator that holds `count` ranges of 1 to 16 pages, and has nearly as many free between them. */
export class BenchAllocator {
  readonly allocator = new IovaAllocator(RANGE);
  readonly random = new Random(SEED);
  readonly sizes: Float64Array;
  readonly iovas: Float64Array;

  constructor(count: number) {
    const { allocator, random } = this;
    const sizes = Float64Array.from({ length: 2 * count }, () => randomSize(random));
    const iovas = sizes.map(size => allocator.allocate(size));
    const order = shuffled(2 * count, random);
    for (const i of order.subarray(count)) allocator.release(iovas[i]!, sizes[i]!);
    this.sizes = Float64Array.from(order.subarray(0, count), i => sizes[i]!);
    this.iovas = Float64Array.from(order.subarray(0, count), i => iovas[i]!);
  }
}

function randomSize(random: Random): number {
  return (1 + random.below(16)) * PAGE;
}

function shuffled(count: number, random: Random): Uint32Array {
  const order = new Uint32Array(count).map((_, i) => i);
  for (let i = count - 1; i > 0; i--) {
    const j = random.below(i + 1);
    const other = order[i]!;
    order[i] = order[j]!;
    order[j] = other;
  }
  return order;
}
