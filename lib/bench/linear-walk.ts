/**
 * What IOVA lookups and allocations are measured against: QEMU's way, as its study describes it (util/iova-tree.c). A balanced tree
 * holds the maps, sorted; lookups do not search it but walk it in order and ask a callback about each node, until one overlaps.
 * Allocation walks it likewise, until the hole before a node is large enough.
 */

interface Node {
  readonly start: number;
  /** Inclusive. */
  readonly last: number;
  readonly to: number;
  /** A random number, not above its parent's: that is what balances the tree. */
  readonly priority: number;
  left: Node | undefined;
  right: Node | undefined;
  /** The neighbours in order. */
  previous: Node | undefined;
  next: Node | undefined;
}

export class LinearWalk {
  #root: Node | undefined;
  #first: Node | undefined;
  #seed = 1;

  /** Adds a range that overlaps no other. */
  insert(start: number, size: number, to: number): void {
    this.#seed = (Math.imul(this.#seed, 1_664_525) + 1_013_904_223) | 0;
    const node: Node = {
      start,
      last: start + size - 1,
      to,
      priority: this.#seed,
      left: undefined,
      right: undefined,
      previous: undefined,
      next: undefined,
    };
    this.#thread(node);
    const [left, right] = split(this.#root, start);
    this.#root = join(join(left, node), right);
  }

  /** Removes the range that starts there. */
  remove(start: number): void {
    const [left, rest] = split(this.#root, start);
    const [node, right] = split(rest, start + 1);
    this.#root = join(left, right);
    if (!node) return;
    if (node.previous) node.previous.next = node.next;
    else this.#first = node.next;
    if (node.next) node.next.previous = node.previous;
  }

  /** Where [address, address + length) is on the other side, if one range has a part of it; -1 if none has. */
  find(address: number, length: number): number {
    const last = address + length - 1;
    let found = -1;
    this.#walk(node => {
      if (node.start > last || node.last < address) return false;
      found = node.to + (address - node.start);
      return true;
    });
    return found;
  }

  /** The first address from `first` on with `size` bytes free. */
  hole(first: number, size: number): number {
    let start = first;
    this.#walk(node => {
      if (node.start - start >= size) return true;
      start = node.last + 1;
      return false;
    });
    return start;
  }

  #walk(visit: (node: Node) => boolean): void {
    for (let node = this.#first; node; node = node.next) if (visit(node)) return;
  }

  /** Links a node to its neighbours. */
  #thread(node: Node): void {
    for (let other = this.#root; other; ) {
      if (other.start < node.start) {
        node.previous = other;
        other = other.right;
      } else {
        node.next = other;
        other = other.left;
      }
    }
    if (node.previous) node.previous.next = node;
    else this.#first = node;
    if (node.next) node.next.previous = node;
  }
}

/** Two trees of one: below `start`, and the rest. */
function split(node: Node | undefined, start: number): [Node | undefined, Node | undefined] {
  if (!node) return [undefined, undefined];
  if (node.start < start) {
    const [left, right] = split(node.right, start);
    node.right = left;
    return [node, right];
  }
  const [left, right] = split(node.left, start);
  node.left = right;
  return [left, node];
}

/** One tree of two, of which the first is below the second. */
function join(left: Node | undefined, right: Node | undefined): Node | undefined {
  if (!left || !right) return left ?? right;
  if (left.priority > right.priority) {
    left.right = join(left.right, right);
    return left;
  }
  right.left = join(left, right.left);
  return right;
}
