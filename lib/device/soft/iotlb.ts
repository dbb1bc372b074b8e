/**
 * The kernel's IOTLB as vhost-vdpa keeps it (drivers/vhost/vdpa.c, vhost_vdpa_process_iotlb_msg): an overlap is refused, an
 * unmap takes every entry it touches, whole. Every refusal is EFAULT, as in the kernel.
 */
import type { IovaMap } from '../../iova/map.js';
import { insertMap, lastWithin, type MapTree, mapsOf, removeMap } from './map-tree.js';

/** Addresses are 64 bits wide. */
const ADDRESS_SPACE = 2 ** 64;

export class Iotlb {
  #tree: MapTree;

  /** As a value that stays what it is. */
  get tree(): MapTree {
    return this.#tree;
  }

  /** By address. */
  get entries(): readonly IovaMap[] {
    return [...mapsOf(this.#tree)];
  }

  /** False when an entry is in the way. */
  update({ iova, size, region, offset, perm }: IovaMap): boolean {
    if (size === 0 || iova + size > ADDRESS_SPACE || lastWithin(this.#tree, iova, iova + size)) return false;
    this.#tree = insertMap(this.#tree, { iova, size, region, offset, perm });
    return true;
  }

  invalidate(iova: number, size: number): void {
    // The kernel's last address is iova + size - 1, in 64 bits: it wraps, and nothing from 0 on is everything.
    const end = (iova + size) % ADDRESS_SPACE || ADDRESS_SPACE;
    for (;;) {
      const entry = lastWithin(this.#tree, iova, end);
      if (!entry) return;
      this.#tree = removeMap(this.#tree, entry.iova);
    }
  }

  clear(): void {
    this.#tree = undefined;
  }
}
