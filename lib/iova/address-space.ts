/**
 * One address space (ASID) of a device: a mirror of what vhost-vdpa's IOTLB holds, and the planner that changes it.
 *
 * The kernel's IOTLB survives a device reset, with or without IOTLB_PERSIST; what a reset may lose is the device's own copy.
 */
import { AddressError, hex } from '../errors.js';
import type { Operation, OperationResult } from '../uapi/operation.js';
import { type IovaLimits, sizeOf, validateMaps } from './limits.js';
import { type IovaMap, sameMap, sortMaps } from './map.js';

export class AddressSpace {
  readonly asid: number;
  readonly limits: IovaLimits;
  readonly #held = new Map<number, IovaMap>();
  /** Sizes by address of ranges whose message failed: the kernel may hold them or not. Unmapping what is not there is harmless. */
  readonly #doubtful = new Map<number, number>();

  constructor(asid: number, limits: IovaLimits) {
    this.asid = asid;
    this.limits = limits;
  }

  /** What the kernel holds, sorted by address. */
  get held(): IovaMap[] {
    return sortMaps([...this.#held.values()]);
  }

  /**
   * The fewest operations from what is held to what is wanted: exact unmaps first, then maps, in one batch; none when nothing
   * differs. With `remap` everything is sent again, for a device that lost its maps in a reset. Without VHOST_BACKEND_F_IOTLB_BATCH
   * there is no batch.
   * @throws AddressError when the kernel would refuse, with the reason it would not give.
   */
  plan(wanted: readonly IovaMap[], { remap = false, batched = true } = {}): Operation[] {
    const sorted = sortMaps(wanted);
    const { held } = this;
    validateMaps(this.asid, sorted, this.limits, sizeOf(held));
    const stays = (map: IovaMap) => !remap && this.#holds(map);
    const kept = new Set(sorted.filter(stays).map(map => map.iova));
    const gone: { iova: number; size: number }[] = held.filter(map => !kept.has(map.iova));
    for (const [iova, size] of this.#doubtful) gone.push({ iova, size });
    const added = sorted.filter(map => !kept.has(map.iova));
    if (gone.length + added.length === 0) return [];
    const { asid } = this;
    const messages = [
      ...gone.map(({ iova, size }): Operation => ({ op: 'iotlbInvalidate', asid, iova, size })),
      ...added.map((map): Operation => ({ op: 'iotlbUpdate', asid, ...map })),
    ];
    if (!batched) return messages;
    // A batch left open would refuse every message for another address space.
    return [{ op: 'iotlbBatchBegin', asid }, ...messages, { op: 'iotlbBatchEnd', asid, always: true }];
  }

  /** Records what the kernel did of a list of operations, as far as it came. */
  apply(operations: readonly Operation[], results: readonly OperationResult[]): void {
    operations.forEach((operation, index) => {
      const result = results[index];
      if (!result?.ran) return;
      if (operation.op === 'close') this.#clear();
      if (operation.op !== 'iotlbUpdate' && operation.op !== 'iotlbInvalidate') return;
      if (operation.asid !== this.asid) return;
      if (result.errno !== 0) this.#doubt(operation);
      else if (operation.op === 'iotlbUpdate') this.#insert(operation);
      else this.#remove(operation);
    });
  }

  #clear(): void {
    this.#held.clear();
    this.#doubtful.clear();
  }

  #holds(map: IovaMap): boolean {
    const held = this.#held.get(map.iova);
    return held !== undefined && sameMap(held, map);
  }

  #insert({ iova, size, region, offset, perm }: IovaMap): void {
    this.#held.set(iova, { iova, size, region, offset, perm });
  }

  #doubt({ iova, size }: { iova: number; size: number }): void {
    this.#held.delete(iova);
    this.#doubtful.set(iova, size);
  }

  #remove({ iova, size }: { iova: number; size: number }): void {
    if (this.#doubtful.delete(iova)) return;
    if (this.#held.get(iova)?.size !== size) {
      const text = `${hex(iova)} (${size} bytes) was unmapped, but it is not exactly one of the maps that were made.`;
      throw new AddressError(text, { details: { iova, size } });
    }
    this.#held.delete(iova);
  }
}
