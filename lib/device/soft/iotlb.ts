/**
 * The kernel's IOTLB as vhost-vdpa keeps it (drivers/vhost/vdpa.c, vhost_vdpa_process_iotlb_msg): an overlap is refused, an
 * unmap takes every entry it touches, whole. Every refusal is EFAULT, as in the kernel.
 */
import type { IovaMap } from '../../iova/map.js';

/** Addresses are 64 bits wide. */
const ADDRESS_SPACE = 2 ** 64;

export class Iotlb {
  #entries: IovaMap[] = [];

  get entries(): readonly IovaMap[] {
    return this.#entries;
  }

  /** False when an entry is in the way. */
  update({ iova, size, region, offset, perm }: IovaMap): boolean {
    if (size === 0 || iova + size > ADDRESS_SPACE || this.#touching(iova, size).length > 0) return false;
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
    // The kernel's last address is iova + size - 1, in 64 bits: it wraps, and nothing from 0 on is everything.
    const end = (iova + size) % ADDRESS_SPACE || ADDRESS_SPACE;
    return this.#entries.filter(entry => entry.iova < end && iova < entry.iova + entry.size);
  }
}
