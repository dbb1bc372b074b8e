/**
 * The greatest of a row of numbers, over any prefix, and the first that is great enough: a complete binary tree in one array, in
 * which a node holds the greater of its two children. A row here has one number per chunk of a RangeIndex.
 */

/** An absent number: every real one is above it. */
const NOTHING = 0;

/** A row of numbers above 0. Reading and `set` take O(log n); `insert` and `remove` shift the row, O(n). */
export class MaxTree {
  /** Leaves the tree has room for: a power of two. Node 1 is the root, those of leaf i is `#capacity + i`. */
  #capacity = 1;
  #nodes = new Float64Array(2);

  /** The greatest of all; 0 when there is none. */
  get max(): number {
    return this.#nodes[1]!;
  }

  get(index: number): number {
    return this.#nodes[this.#capacity + index]!;
  }

  set(index: number, value: number): void {
    const nodes = this.#nodes;
    let node = this.#capacity + index;
    nodes[node] = value;
    for (node >>>= 1; node > 0; node >>>= 1) {
      const greatest = Math.max(nodes[2 * node]!, nodes[2 * node + 1]!);
      if (nodes[node] === greatest) return;
      nodes[node] = greatest;
    }
  }

  /** @param count Numbers in the row before. */
  insert(index: number, value: number, count: number): void {
    if (count === this.#capacity) this.#grow();
    const leaf = this.#capacity + index;
    this.#nodes.copyWithin(leaf + 1, leaf, this.#capacity + count);
    this.#nodes[leaf] = value;
    this.#rebuild(leaf, this.#capacity + count);
  }

  /** @param count Numbers in the row before. */
  remove(index: number, count: number): void {
    const leaf = this.#capacity + index;
    const end = this.#capacity + count;
    this.#nodes.copyWithin(leaf, leaf + 1, end);
    this.#nodes[end - 1] = NOTHING;
    this.#rebuild(leaf, end - 1);
  }

  /** Empties the row. */
  clear(): void {
    this.#capacity = 1;
    this.#nodes = new Float64Array(2);
  }

  /** The first index from `from` on whose number is at least `value`; -1 when there is none. */
  firstAtLeast(from: number, value: number): number {
    if (from >= this.#capacity) return -1;
    const nodes = this.#nodes;
    let node = this.#capacity + from;
    // Upward, until a node that is not left of `from` holds one; then down to its first.
    while (nodes[node]! < value) {
      while (node & 1) node >>>= 1;
      if (node === 0) return -1;
      node++;
    }
    while (node < this.#capacity) {
      node *= 2;
      if (nodes[node]! < value) node++;
    }
    return node - this.#capacity;
  }

  /** The first index of the greatest number below `limit`; -1 when `limit` is 0 or nothing is there. */
  greatestBelow(limit: number): number {
    const nodes = this.#nodes;
    let best = 0;
    let greatest = NOTHING;
    if (limit === this.#capacity && this.max > NOTHING) {
      best = 1;
      greatest = this.max;
    }
    // The prefix is made of the left neighbours of the way from its end to the root: the later found, the further left.
    for (let node = this.#capacity + limit; node > 1; node >>>= 1) {
      if ((node & 1) === 1 && nodes[node - 1]! >= greatest && nodes[node - 1]! > NOTHING) {
        best = node - 1;
        greatest = nodes[best]!;
      }
    }
    if (best === 0) return -1;
    while (best < this.#capacity) best = nodes[2 * best] === greatest ? 2 * best : 2 * best + 1;
    return best - this.#capacity;
  }

  /** Computes the nodes above leaves `first` to `last`. */
  #rebuild(first: number, last: number): void {
    const nodes = this.#nodes;
    let low = first >>> 1;
    let high = last >>> 1;
    for (; low > 0; low >>>= 1, high >>>= 1) {
      for (let node = low; node <= high; node++) nodes[node] = Math.max(nodes[2 * node]!, nodes[2 * node + 1]!);
    }
  }

  #grow(): void {
    const old = this.#nodes.subarray(this.#capacity);
    this.#capacity *= 2;
    this.#nodes = new Float64Array(2 * this.#capacity);
    this.#nodes.set(old, this.#capacity);
    this.#rebuild(this.#capacity, 2 * this.#capacity - 1);
  }
}
