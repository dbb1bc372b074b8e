/**
 * Maps that do not overlap, as a balanced tree that is never changed: an insertion gives a new tree that shares all but a path with
 * the old. So the device's copy of what vhost holds is taken in no time and stays as it was taken, and every step is O(log n).
 */
import { endOf, type IovaMap } from '../../iova/map.js';

/** A tree; undefined is the empty one. */
export type MapTree = Node | undefined;

interface Node {
  readonly map: IovaMap;
  readonly below: MapTree;
  readonly above: MapTree;
  readonly height: number;
}

/** The tree with one more map, which overlaps none. */
export function insertMap(tree: MapTree, map: IovaMap): Node {
  if (!tree) return makeNode(map, undefined, undefined);
  return map.iova < tree.map.iova
    ? balance(tree.map, insertMap(tree.below, map), tree.above)
    : balance(tree.map, tree.below, insertMap(tree.above, map));
}

/** The tree without the map that starts there, which it holds. */
export function removeMap(tree: MapTree, iova: number): MapTree {
  if (!tree) return undefined;
  const { map, below, above } = tree;
  if (iova < map.iova) return balance(map, removeMap(below, iova), above);
  if (iova > map.iova) return balance(map, below, removeMap(above, iova));
  if (!below || !above) return below ?? above;
  const next = lowest(above);
  return balance(next, below, removeMap(above, next.iova));
}

/** The map that holds this address. */
export function findMap(tree: MapTree, address: number): IovaMap | undefined {
  let node = tree;
  while (node) {
    if (address < node.map.iova) node = node.below;
    else if (address >= endOf(node.map)) node = node.above;
    else return node.map;
  }
  return undefined;
}

/** The highest map with a byte in [from, to). */
export function lastWithin(tree: MapTree, from: number, to: number): IovaMap | undefined {
  let best: IovaMap | undefined;
  let node = tree;
  while (node) {
    if (node.map.iova < to) {
      best = node.map;
      node = node.above;
    } else node = node.below;
  }
  return best && endOf(best) > from ? best : undefined;
}

/** By address. */
export function* mapsOf(tree: MapTree): Generator<IovaMap> {
  if (!tree) return;
  yield* mapsOf(tree.below);
  yield tree.map;
  yield* mapsOf(tree.above);
}

const heightOf = (tree: MapTree): number => tree?.height ?? 0;

function lowest(tree: Node): IovaMap {
  let node = tree;
  while (node.below) node = node.below;
  return node.map;
}

function makeNode(map: IovaMap, below: MapTree, above: MapTree): Node {
  return { map, below, above, height: 1 + Math.max(heightOf(below), heightOf(above)) };
}

/** An AVL tree's rotations: sides whose heights differ by two or less become sides that differ by one or less. */
function balance(map: IovaMap, below: MapTree, above: MapTree): Node {
  const difference = heightOf(below) - heightOf(above);
  if (below && difference > 1) {
    const { map: low, below: left, above: middle } = below;
    if (!middle || heightOf(left) >= heightOf(middle)) return makeNode(low, left, makeNode(map, middle, above));
    return makeNode(middle.map, makeNode(low, left, middle.below), makeNode(map, middle.above, above));
  }
  if (above && difference < -1) {
    const { map: high, below: middle, above: right } = above;
    if (!middle || heightOf(right) >= heightOf(middle)) return makeNode(high, makeNode(map, below, middle), right);
    return makeNode(middle.map, makeNode(map, below, middle.below), makeNode(high, middle.above, right));
  }
  return makeNode(map, below, above);
}
