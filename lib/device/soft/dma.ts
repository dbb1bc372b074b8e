/** The device's view of memory: what it may reach by IOVA, and nothing else. */
import { hex, RingError } from '../../errors.js';
import type { IovaMap } from '../../iova/map.js';
import { MemoryRegion } from '../../memory/region.js';

/** Bytes of one window; a map larger than this is reached through several. */
const WINDOW = 2 ** 30;

export class Dma {
  #maps: readonly IovaMap[] = [];
  #generation = 0;
  readonly #regions = new Map<number, MemoryRegion>();
  readonly #windows = new Map<string, Uint8Array>();

  /** The device's own copy of the mappings from now on. */
  setMaps(maps: readonly IovaMap[]): void {
    this.#maps = maps;
    this.#generation++;
  }

  /** Another number for every set of mappings: a window from `view` holds for one of them. */
  get generation(): number {
    return this.#generation;
  }

  /**
   * A window on exactly [iova, iova + length), for a ring.
   * @throws RingError when it is not mapped in one piece with that access.
   */
  view(iova: number, length: number, write: boolean): ArrayBuffer {
    const map = this.#find(iova, length, write);
    return this.#region(map.region).view(map.offset + (iova - map.iova), length);
  }

  /** Calls back with the bytes behind [iova, iova + length), piece by piece. @throws RingError as `view`. */
  access(iova: number, length: number, write: boolean, callback: (bytes: Uint8Array, done: number) => void): void {
    for (let done = 0; done < length; ) {
      const map = this.#find(iova + done, 1, write);
      const offset = map.offset + (iova + done - map.iova);
      const piece = Math.min(length - done, map.iova + map.size - (iova + done), WINDOW - (offset % WINDOW));
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

  #find(iova: number, length: number, write: boolean): IovaMap {
    const map = this.#maps.find(m => iova >= m.iova && iova + length <= m.iova + m.size);
    if (map && (write ? map.perm !== 'ro' : map.perm !== 'wo')) return map;
    throw new RingError(
      `The device reached for ${hex(iova)} (${length} bytes, ${write ? 'write' : 'read'}), which is ${map ? `mapped ${map.perm}` : 'not mapped'}.`,
      {
        details: { kind: 'not-mapped', iova, length },
      },
    );
  }

  #region(id: number): MemoryRegion {
    let region = this.#regions.get(id);
    if (!region) {
      region = MemoryRegion.open(id);
      this.#regions.set(id, region);
    }
    return region;
  }

  #window(id: number, index: number): Uint8Array {
    const key = `${id}:${index}`;
    let window = this.#windows.get(key);
    if (!window) {
      const region = this.#region(id);
      window = new Uint8Array(region.view(index * WINDOW, Math.min(WINDOW, region.size - index * WINDOW)));
      this.#windows.set(key, window);
    }
    return window;
  }
}
