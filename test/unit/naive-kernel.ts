/**
 * vhost-vdpa's IOTLB as plain lists: what drivers/vhost/vdpa.c and a parent do with every message, written down as slowly and
 * plainly as possible, to hold the planner against. Any operation can be made to fail, before its effect or after it.
 */
import type { Device } from '../../lib/device/device.js';
import type { IovaMap } from '../../lib/iova/map.js';
import { VHOST_BACKEND_F_IOTLB_PERSIST } from '../../lib/uapi/backend-features.js';
import type { Operation, OperationResult } from '../../lib/uapi/operation.js';

export const EFAULT = 14;

export interface NaiveOptions {
  /** Takes whole tables (.set_map), or range by range (.dma_map). */
  readonly parent: 'set_map' | 'dma_map';
  /** Works on the owner's virtual addresses (use_va). */
  readonly virtual: boolean;
  readonly asids: number;
  /** Caps; undefined for none. */
  readonly maxEntries: number | undefined;
  readonly deviceMaxEntries: number | undefined;
}

const DEFAULTS: NaiveOptions = {
  parent: 'set_map',
  virtual: true,
  asids: 1,
  maxEntries: undefined,
  deviceMaxEntries: undefined,
};

/** Whether, and when, an operation fails that would not. */
export type Sabotage = (operation: Operation) => 'before' | 'after' | undefined;

type Update = Extract<Operation, { op: 'iotlbUpdate' }>;

export class NaiveKernel implements Device {
  readonly path = '/dev/naive';
  /** vhost's entries by address space; undefined until the first message makes it. */
  vhost: (IovaMap[] | undefined)[] = [];
  /** The device's, which is everything or anything ('lost') after a reset that did not keep it. */
  device: (IovaMap[] | 'lost')[] = [];
  sabotage: Sabotage = () => undefined;
  /** Maps and unmaps carried out. */
  messages = 0;
  /** The most entries there ever were at a time. */
  peak = 0;
  readonly submissions: (readonly Operation[])[] = [];
  readonly #options: NaiveOptions;
  #batch: number | undefined;
  #persist = false;

  constructor(options: Partial<NaiveOptions> = {}) {
    this.#options = { ...DEFAULTS, ...options };
    this.#clear();
  }

  get #deviceCap(): number {
    return this.#options.deviceMaxEntries ?? Number.POSITIVE_INFINITY;
  }

  async submit(operations: readonly Operation[]): Promise<OperationResult[]> {
    this.submissions.push(operations);
    return this.execute(operations);
  }

  async close(): Promise<void> {}

  execute(operations: readonly Operation[]): OperationResult[] {
    let failed = false;
    return operations.map(operation => {
      if (failed && !operation.always) return result(false, 0);
      const when = this.sabotage(operation);
      const done = when === 'before' ? false : this.#run(operation) && when !== 'after';
      failed ||= !done;
      return result(true, done ? 0 : EFAULT);
    });
  }

  #run(operation: Operation): boolean {
    switch (operation.op) {
      case 'open':
      case 'close':
        this.#clear();
        return true;
      case 'setBackendFeatures':
        this.#persist = (operation.features & VHOST_BACKEND_F_IOTLB_PERSIST) !== 0n;
        return true;
      case 'setStatus':
        if (operation.status === 0 && !this.#persist) this.device = this.device.map(() => 'lost');
        return true;
      case 'iotlbUpdate':
      case 'iotlbInvalidate':
      case 'iotlbBatchBegin':
      case 'iotlbBatchEnd':
        return this.#message(operation);
      default:
        throw new Error(`The naive kernel does not know ${operation.op}.`);
    }
  }

  #message(operation: Extract<Operation, { op: `iotlb${string}`; asid: number }>): boolean {
    const { op, asid } = operation;
    if (op === 'iotlbUpdate' || op === 'iotlbBatchBegin') {
      if (asid >= this.#options.asids) return false;
      this.vhost[asid] ??= [];
    }
    if ((this.#batch !== undefined && this.#batch !== asid) || !this.vhost[asid]) return false;
    if (op === 'iotlbBatchBegin') this.#batch = asid;
    if (op === 'iotlbBatchEnd') {
      const open = this.#batch !== undefined;
      this.#batch = undefined;
      // Whatever .set_map answers is dropped.
      if (open) this.#setMap(asid);
    }
    if (op === 'iotlbInvalidate') {
      this.messages++;
      this.#unmap(asid, operation.iova, operation.size);
    }
    if (op === 'iotlbUpdate') {
      this.messages++;
      return this.#update(operation);
    }
    return true;
  }

  #update({ asid, iova, size, region, offset, perm }: Update): boolean {
    const entries = this.vhost[asid]!;
    if (entries.some(entry => iova < entry.iova + entry.size && entry.iova < iova + size)) return false;
    const entry: IovaMap = { iova, size, region, offset, perm };
    if (entries.length < (this.#options.maxEntries ?? Number.POSITIVE_INFINITY)) {
      entries.push(entry);
      this.peak = Math.max(this.peak, entries.length);
      if (this.#mapOnDevice(asid, entry)) return true;
      this.vhost[asid] = entries.filter(other => other !== entry);
    }
    // What had been made of it is taken back: on virtual addresses nothing, as a range of no bytes; else the whole range.
    this.#unmap(asid, iova, this.#options.virtual ? 0 : size);
    return false;
  }

  #mapOnDevice(asid: number, entry: IovaMap): boolean {
    if (this.#options.parent === 'set_map') return this.#batch === undefined ? this.#setMap(asid) : true;
    const device = this.device[asid] === 'lost' ? [] : (this.device[asid] as IovaMap[]);
    this.device[asid] = device;
    if (device.length >= this.#deviceCap) return false;
    device.push(entry);
    return true;
  }

  #unmap(asid: number, iova: number, size: number): void {
    // 64 bits: nothing from 0 on is everything.
    const last = iova + size === 0 ? Number.POSITIVE_INFINITY : iova + size - 1;
    const gone = this.vhost[asid]!.filter(entry => entry.iova <= last && iova <= entry.iova + entry.size - 1);
    this.vhost[asid] = this.vhost[asid]!.filter(entry => !gone.includes(entry));
    if (this.#options.parent === 'set_map') {
      if (this.#batch === undefined) this.#setMap(asid);
    } else if (gone.length > 0) {
      const device = this.device[asid] === 'lost' ? [] : (this.device[asid] as IovaMap[]);
      this.device[asid] = device.filter(entry => !gone.some(other => other.iova === entry.iova));
    }
  }

  #setMap(asid: number): boolean {
    if (this.#options.parent !== 'set_map') return true;
    const fits = this.vhost[asid]!.length <= this.#deviceCap;
    this.device[asid] = fits ? [...this.vhost[asid]!] : [];
    return fits;
  }

  #clear(): void {
    this.vhost = Array.from({ length: this.#options.asids }, () => undefined);
    this.device = Array.from({ length: this.#options.asids }, () => 'lost' as const);
    this.#batch = undefined;
    this.#persist = false;
  }
}

function result(ran: boolean, errno: number): OperationResult {
  return { ran, errno, value: undefined, started_ms: 0, duration_ms: 0 };
}
