/**
 * The kernel's IOTLB as vhost-vdpa keeps it (drivers/vhost/vdpa.c, vhost_vdpa_process_iotlb_msg): an overlap is refused, an
 * unmap takes every entry it touches, whole. Every refusal is EFAULT, as in the kernel.
 */
import type { IovaMap } from '../../iova/map.js';

export class Iotlb {
  #entries: IovaMap[] = [];

  get entries(): readonly IovaMap[] {
    return this.#entries;
  }

  /** False when an entry is in the way. */
  update({ iova, size, region, offset, perm }: IovaMap): boolean {
    if (size === 0 || this.#touching(iova, size).length > 0) return false;
    this.#entries.push({ iova, size, region, offset, perm });
    return true;
  }

  invalidate(iova: number, size: number): void {
    const gone = new Set(this.#touching(iova, size));
    this.#entries = this.#entries.filter(entry => !gone.has(entry));
  }

  clear(): void {
    this.#entries = [];
  }

  #touching(iova: number, size: number): IovaMap[] {
    return this.#entries.filter(entry => entry.iova < iova + size && iova < entry.iova + entry.size);
  }
}
