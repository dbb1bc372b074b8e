/** The device's view of memory: what it may reach by IOVA, and nothing else. */
import { hex, RingError } from '../../errors.js';
import { agree, endOf, type IovaMap } from '../../iova/map.js';
import { MemoryRegion } from '../../memory/region.js';
import { findMap, insertMap, type MapTree, mapsOf } from './map-tree.js';

/** Bytes of one window; a map larger than this is reached through several. */
const WINDOW = 2 ** 30;

export class Dma {
  #maps: MapTree;
  /** Where the last access was, which is where the next one mostly is. */
  #last: IovaMap | undefined;
  #generation = 0;
  readonly #regions = new Map<number, MemoryRegion>();
  /** By region, then by number. */
  readonly #windows = new Map<number, Map<number, Uint8Array>>();

  /** The device's own copy of the mappings from now on. */
  setTree(maps: MapTree): void {
    this.#maps = maps;
    this.#last = undefined;
    this.#generation++;
  }

  /** As `setTree`, from a list; without overlaps. */
  setMaps(maps: readonly IovaMap[]): void {
    this.setTree(maps.reduce<MapTree>(insertMap, undefined));
  }

  /** Another number for every set of mappings: a window from `view` holds for one of them. */
  get generation(): number {
    return this.#generation;
  }

  /**
   * A window on exactly [iova, iova + length), for a ring.
   * @throws RingError when a byte is not mapped with that access, or the memory behind is not contiguous.
   */
  view(iova: number, length: number, write: boolean): ArrayBuffer {
    const map = this.#find(iova, write);
    // A planner may have cut it: maps that go on in the same memory are as good as one.
    for (let at = endOf(map); at < iova + length; ) {
      const next = this.#find(at, write);
      if (!agree({ ...next, perm: map.perm }, map)) throw unreachable(iova, length, write, 'not mapped in one piece');
      at = endOf(next);
    }
    return this.#region(map.region).view(map.offset + (iova - map.iova), length);
  }

  /** Calls back with the bytes behind [iova, iova + length), piece by piece. @throws RingError as `view`. */
  access(iova: number, length: number, write: boolean, callback: (bytes: Uint8Array, done: number) => void): void {
    for (let done = 0; done < length; ) {
      const map = this.#find(iova + done, write);
      const offset = map.offset + (iova + done - map.iova);
      const piece = Math.min(length - done, endOf(map) - (iova + done), WINDOW - (offset % WINDOW));
      const window = this.#window(map.region, Math.floor(offset / WINDOW));
      callback(window.subarray(offset % WINDOW, (offset % WINDOW) + piece), done);
      done += piece;
    }
  }

  /** Gives up every window. */
  close(): void {
    for (const region of this.#regions.values()) region.close();
    this.#regions.clear();
    this.#windows.clear();
  }

  #find(iova: number, write: boolean): IovaMap {
    let map = this.#last;
    if (!map || iova < map.iova || iova >= endOf(map)) map = findMap(this.#maps, iova);
    if (!map || map.perm === (write ? 'ro' : 'wo')) {
      throw unreachable(iova, 1, write, map ? `mapped ${map.perm}` : 'not mapped');
    }
    this.#last = map;
    return map;
  }

  #region(id: number): MemoryRegion {
    let region = this.#regions.get(id);
    if (!region) {
      // Memory comes and goes: what is no longer mapped is given back, at a time that is rare enough to look through all maps.
      this.#closeUnmapped();
      region = MemoryRegion.open(id);
      this.#regions.set(id, region);
    }
    return region;
  }

  #closeUnmapped(): void {
    const mapped = new Set<number>();
    for (const { region } of mapsOf(this.#maps)) mapped.add(region);
    for (const [id, region] of this.#regions) {
      if (mapped.has(id)) continue;
      region.close();
      this.#regions.delete(id);
      this.#windows.delete(id);
    }
  }

  #window(id: number, index: number): Uint8Array {
    const known = this.#windows.get(id)?.get(index);
    if (known) return known;
    const region = this.#region(id);
    const window = new Uint8Array(region.view(index * WINDOW, Math.min(WINDOW, region.size - index * WINDOW)));
    const windows = this.#windows.get(id) ?? new Map<number, Uint8Array>();
    this.#windows.set(id, windows.set(index, window));
    return window;
  }
}

function unreachable(iova: number, length: number, write: boolean, why: string): RingError {
  return new RingError(
    `The device reached for ${hex(iova)} (${length} bytes, ${write ? 'write' : 'read'}), which is ${why}.`,
    { details: { kind: 'not-mapped', iova, length } },
  );
}
