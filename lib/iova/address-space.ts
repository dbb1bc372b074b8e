/**
 * One address space (ASID) of a device: a mirror of what the kernel holds for it, and plans that change it.
 *
 * There are two tables. vhost-vdpa has its own, which survives a device reset, with or without IOTLB_PERSIST; it decides what may
 * be mapped. The device has another. A parent that maps range by range (.dma_map, or an IOMMU domain) changes it with each message;
 * one that takes whole tables (.set_map: mlx5, VDUSE, vdpa_sim by default) gets vhost's with each message outside a batch and at
 * BATCH_END. A reset takes the device's table away unless IOTLB_PERSIST was acknowledged (_compat_vdpa_reset).
 */
import { AddressError } from '../errors.js';
import { VHOST_BACKEND_F_IOTLB_ASID, VHOST_BACKEND_F_IOTLB_PERSIST } from '../uapi/backend-features.js';
import type { Operation, OperationResult } from '../uapi/operation.js';
import { entryCap, type IovaLimits, validateEntries, validateGranule, validateMaps, validatePinned } from './limits.js';
import { type AddressRange, describeRange, endOf, type IovaMap, sizeOf, sortMaps, touch } from './map.js';
import { differMaps, planMessages } from './plan.js';

export interface PlanOptions {
  /** Sends everything again (`true`), or nothing that is held (`false`); by default what the device lost in a reset. */
  readonly remap?: boolean | undefined;
  /** `false` without VHOST_BACKEND_F_IOTLB_BATCH; `always` for a batch even around a single message. Default: true. */
  readonly batched?: boolean | 'always' | undefined;
  /** The last map goes out after the batch, so that a failure of the batch is told (see planMessages). */
  readonly probe?: boolean | undefined;
  /** Addresses of wanted maps that are not merged with others, because each may be refused by itself. */
  readonly separate?: ReadonlySet<number> | undefined;
  /**
   * Whether adjacent maps of the same memory may become one entry (default). An entry goes as a whole: without, one of two neighbours
   * can go or change while a device uses the other. Where only that keeps within the cap on entries they are merged all the same.
   */
  readonly merge?: boolean | undefined;
  /** Exactly these maps, each as one entry, instead of any that cover the same. */
  readonly exact?: boolean | undefined;
}

export class AddressSpace {
  readonly asid: number;
  readonly limits: IovaLimits;
  /** By address. Never touches what is in doubt. */
  readonly #held = new Map<number, IovaMap>();
  #sorted: IovaMap[] | undefined;
  /** Addresses of held maps that the device may have lost in a reset. */
  readonly #lost = new Set<number>();
  /** Ranges of messages that failed: the kernel may hold them or not. Unmapping what is not there is harmless. */
  #doubtful: AddressRange[] = [];
  #acknowledged: bigint | undefined;
  /** The kernel has made the address space: without it even an unmap fails. */
  #made = false;
  #batchOpen = false;
  /** A parent that takes whole tables may not have vhost's. */
  #unsynced = false;
  /** What was applied already. */
  readonly #seen = new WeakSet<readonly OperationResult[]>();

  /** @throws VdpaError ERR_VDPA_INVALID_ARGUMENT for a granule that is none. */
  constructor(asid: number, limits: IovaLimits) {
    validateGranule(limits.granule);
    this.asid = asid;
    this.limits = limits;
  }

  /** What vhost holds, sorted by address. */
  get held(): IovaMap[] {
    this.#sorted ??= sortMaps(this.#held.values());
    return [...this.#sorted];
  }

  /** Ranges that vhost may hold or not, because a message about them failed. The next plan removes them. */
  get doubtful(): AddressRange[] {
    return sortMaps(this.#doubtful);
  }

  /** Whether the device may have lost maps in a reset that vhost holds on to. The next plan sends them again. */
  get lost(): boolean {
    return this.#lost.size > 0;
  }

  /** Whether a parent that takes whole tables may not have vhost's, after a failure. The next plan makes it take the table again. */
  get unsynced(): boolean {
    return this.#unsynced || this.#batchOpen;
  }

  /**
   * The fewest messages from what is held to what is wanted, in one batch where there are several; none when nothing differs.
   * Wanted maps may be in any order and are compared by what they cover: adjacent ones of the same memory may become one entry,
   * and a held map stays when all of it is wanted.
   * @throws AddressError when the kernel would refuse, with the reason it would not give; ERR_VDPA_MEMLOCK above that limit.
   */
  plan(wanted: readonly IovaMap[], options: PlanOptions = {}): Operation[] {
    const { asid, limits } = this;
    const { separate, merge, exact, probe = false } = options;
    const sorted = sortMaps(wanted);
    this.#requireAsid();
    validateMaps(asid, sorted, limits);
    const { staying, going } = this.#split(options.remap);
    const gone = [...going, ...this.#doubtful];
    const difference = differMaps({
      held: staying,
      gone,
      wanted: sorted,
      separate,
      merge,
      exact,
      cap: entryCap(limits),
    });
    validateEntries(difference.kept.length + difference.added.length, limits);
    validatePinned(sorted, limits, sizeOf(this.held) + sizeOf(this.#doubtful));
    const batched = this.#batching(options.batched ?? true);
    // A batch that was left open would swallow a probe.
    const probing = probe && !this.#batchOpen;
    return planMessages(difference, { asid, batched, probe: probing, separate, sync: this.unsynced });
  }

  /** Records what the kernel did of a list of operations, as far as it came. The same results count once. */
  apply(operations: readonly Operation[], results: readonly OperationResult[]): void {
    if (this.#seen.has(results)) return;
    this.#seen.add(results);
    operations.forEach((operation, index) => {
      const result = results[index];
      if (result?.ran) this.#record(operation, result.errno === 0);
    });
  }

  #record(operation: Operation, done: boolean): void {
    switch (operation.op) {
      case 'close':
        this.#clear();
        return;
      case 'open':
        if (done) this.#clear();
        return;
      case 'setBackendFeatures':
        if (done) this.#acknowledged = operation.features;
        return;
      case 'setStatus':
        // Also a reset that failed: nobody knows how far it came.
        if (operation.status === 0) this.#reset();
        return;
      case 'iotlbBatchBegin':
      case 'iotlbBatchEnd':
        if (operation.asid === this.asid) this.#bracket(operation.op === 'iotlbBatchBegin', done);
        return;
      case 'iotlbUpdate':
      case 'iotlbInvalidate':
        if (operation.asid === this.asid) this.#message(operation, done);
    }
  }

  #message(operation: Extract<Operation, { op: 'iotlbUpdate' | 'iotlbInvalidate' }>, done: boolean): void {
    this.#sorted = undefined;
    // Outside a batch a parent that takes whole tables has got one.
    if (!this.#batchOpen) this.#unsynced = !done;
    if (!done) this.#doubt(operation);
    else if (operation.op === 'iotlbUpdate') this.#insert(operation);
    else this.#remove(operation);
  }

  #bracket(begin: boolean, done: boolean): void {
    if (begin) {
      this.#batchOpen ||= done;
      this.#made ||= done;
    } else {
      this.#unsynced = !done;
      if (done) this.#batchOpen = false;
    }
  }

  #reset(): void {
    if (((this.#acknowledged ?? 0n) & VHOST_BACKEND_F_IOTLB_PERSIST) !== 0n) return;
    for (const iova of this.#held.keys()) this.#lost.add(iova);
  }

  /** A closed file, or a new one: neither table has anything. */
  #clear(): void {
    this.#held.clear();
    this.#lost.clear();
    this.#doubtful = [];
    this.#sorted = undefined;
    this.#acknowledged = undefined;
    this.#made = this.#batchOpen = this.#unsynced = false;
  }

  #insert({ iova, size, region, offset, perm }: IovaMap): void {
    const map = { iova, size, region, offset, perm };
    this.#made = true;
    this.#held.set(iova, map);
    // The kernel takes a map only where nothing is: what was in doubt there was not there.
    if (this.#doubtful.length > 0) this.#doubtful = this.#doubtful.filter(range => !touch(range, map));
  }

  #remove(range: AddressRange): void {
    const { iova, size } = range;
    const rest = this.#doubtful.filter(doubt => doubt.iova < iova || endOf(doubt) > endOf(range));
    const wasDoubtful = rest.length < this.#doubtful.length;
    this.#doubtful = rest;
    if (this.#held.get(iova)?.size === size) this.#forget(iova);
    else if (!wasDoubtful) {
      const text = `${describeRange(range)} (${size} bytes) was unmapped, but it is not exactly one of the maps that were made.`;
      throw new AddressError(text, { details: { iova, size } });
    }
  }

  /**
   * A map or unmap failed. What it touches may be there or not.
   *
   * A map at address 0 can cost every other entry: on a device that works on virtual addresses the kernel takes back what it had
   * made of it, and when that is nothing the range it removes is [0, 0 + 0 - 1], all of the space (vhost_vdpa_va_map calls
   * vhost_vdpa_unmap with size 0; as of Linux 7.2).
   */
  #doubt({ op, iova, size }: AddressRange & { readonly op: string }): void {
    const failed = { iova, size };
    const all = op === 'iotlbUpdate' && iova === 0;
    for (const map of this.#held.values()) {
      if (!all && !touch(map, failed)) continue;
      this.#doubtful.push({ iova: map.iova, size: map.size });
      this.#forget(map.iova);
    }
    if (!this.#doubtful.some(range => range.iova === iova && range.size === size)) this.#doubtful.push(failed);
  }

  #forget(iova: number): void {
    this.#held.delete(iova);
    this.#lost.delete(iova);
  }

  /** What is held and can stay, and what must be sent again or cannot be built on. */
  #split(remap: boolean | undefined): { staying: IovaMap[]; going: IovaMap[] } {
    const { granule } = this.limits;
    const { held } = this;
    if (remap) return { staying: [], going: held };
    const staying = held.filter(
      ({ iova, size }) => iova % granule === 0 && size % granule === 0 && (remap === false || !this.#lost.has(iova)),
    );
    const kept = new Set(staying);
    return { staying, going: held.filter(map => !kept.has(map)) };
  }

  /** A batch is needed, acknowledged or not, to close one left open, and to make the address space before the unmap of what is in doubt. */
  #batching(batched: boolean | 'always'): boolean | 'always' {
    const needed = this.#batchOpen || (!this.#made && this.#doubtful.length > 0);
    return needed ? 'always' : batched;
  }

  #requireAsid(): void {
    if (this.asid === 0 || this.#acknowledged === undefined) return;
    if ((this.#acknowledged & VHOST_BACKEND_F_IOTLB_ASID) !== 0n) return;
    throw new AddressError(
      `Address space ${this.asid} cannot be reached: without VHOST_BACKEND_F_IOTLB_ASID acknowledged the kernel takes every message as one for space 0.`,
      { details: { asid: this.asid } },
    );
  }
}
