/**
 * Changes what a device has mapped, whole or not at all: plans, sends, records; after a failure goes back to exactly the maps that
 * were there before, in vhost's table and in the device's.
 */
import { AddressError, type ErrorDetails, OperationError } from '../errors.js';
import type { AddressSpace, PlanOptions } from '../iova/address-space.js';
import { entryCap, type IovaLimits } from '../iova/limits.js';
import { agree, describeRange, endOf, type IovaMap, sameMap, touch } from '../iova/map.js';
import type { Operation, OperationResult } from '../uapi/operation.js';
import { type Device, type SubmitOptions, throwFailure } from './device.js';

export interface ChangeMapsOptions extends SubmitOptions, Pick<PlanOptions, 'batched' | 'remap' | 'probe' | 'merge'> {
  /**
   * Addresses of wanted maps that the guest can do without, such as registers of another device: one that is refused is left out
   * and told, and the rest is mapped.
   */
  readonly optional?: ReadonlySet<number>;
}

/** An optional map that was left out. */
export interface RefusedMap extends IovaMap {
  readonly error: Error;
}

/** What was sent, and what came of it. */
export interface MapChange {
  readonly operations: readonly Operation[];
  readonly results: readonly OperationResult[];
  /** By address. */
  readonly refused: readonly RefusedMap[];
}

/**
 * Brings an address space of a device from what it holds to what is wanted, in any order.
 * @param space Is kept up to date; also an observer of the device may do that.
 * @throws AddressError when the kernel would refuse: nothing was sent.
 * @throws OperationError for the first failure, or ERR_VDPA_CANCELED: `details.rolledBack` says whether the device holds exactly
 *   what it held before; if not, the message and `details.doubtful` name the ranges it may hold or not.
 */
export async function changeMaps(
  device: Device,
  space: AddressSpace,
  wanted: readonly IovaMap[],
  options: ChangeMapsOptions = {},
): Promise<MapChange> {
  const change = new Change(device, space, wanted, options);
  return change.run();
}

class Change {
  readonly #device: Device;
  readonly #space: AddressSpace;
  readonly #options: ChangeMapsOptions;
  readonly #before: readonly IovaMap[];
  #wanted: IovaMap[];
  readonly #operations: Operation[] = [];
  readonly #results: OperationResult[] = [];
  readonly #refused: RefusedMap[] = [];

  constructor(device: Device, space: AddressSpace, wanted: readonly IovaMap[], options: ChangeMapsOptions) {
    this.#device = device;
    this.#space = space;
    this.#options = options;
    this.#before = space.held;
    this.#wanted = [...wanted];
  }

  async run(): Promise<MapChange> {
    this.#leaveOutImpossible();
    for (;;) {
      const failure = (await this.#attempt(this.#plan(this.#wanted))) ?? (await this.#attempt(this.#proof()));
      if (!failure) break;
      if (!this.#leaveOutSuspects(failure)) throw await this.#rollBack(failure);
    }
    const refused = this.#refused.sort((a, b) => a.iova - b.iova);
    return { operations: this.#operations, results: this.#results, refused };
  }

  /** Leaves out optional maps that cannot be: on a reserved window, over a cap together with the rest. */
  #leaveOutImpossible(): void {
    const optional = this.#wanted.filter(map => this.#isOptional(map));
    const impossible = whyNot(() => this.#plan(this.#wanted));
    if (!impossible) return;
    if (optional.length === 0) throw impossible;
    this.#wanted = this.#wanted.filter(map => !this.#isOptional(map));
    // What the guest cannot do without must be possible: this throws when it is not.
    this.#plan(this.#wanted);
    for (const map of optional) {
      const error = whyNot(() => this.#plan([...this.#wanted, map]));
      if (error) this.#refused.push({ ...map, error });
      else this.#wanted.push(map);
    }
  }

  /**
   * Leaves out the optional maps that a failure is about. Where it is not about one of them they may still be the reason, by the
   * entries they take or in what a batch did not tell, so all new ones are.
   * @returns false when there are none: then the failure stands.
   */
  #leaveOutSuspects({ error, operation }: Failure): boolean {
    if (operation?.op !== 'iotlbUpdate') return false;
    const fresh = this.#wanted.filter(map => this.#isOptional(map) && !this.#wasThere(map));
    const meant = fresh.filter(map => touch(map, operation));
    const suspects = new Set(meant.length > 0 ? meant : fresh);
    for (const map of suspects) this.#refused.push({ ...map, error });
    this.#wanted = this.#wanted.filter(map => !suspects.has(map));
    return suspects.size > 0;
  }

  /**
   * Messages that show whether the device took what the last batch mapped, where nothing after it has: a new map that nobody uses yet
   * is made again, or a page is mapped where nothing is, for that moment. What was replaced is left alone: a device at work may use it.
   * Where the table is full as well, a failure stays hidden.
   */
  #proof(): Operation[] {
    if (!this.#options.probe || !isUnproven(this.#operations, this.#results)) return [];
    const { asid, held } = this.#space;
    const made = held.filter(map => !this.#before.some(other => sameMap(map, other)));
    const fresh = made.findLast(map => !this.#before.some(other => touch(map, other)));
    const unmap = ({ iova, size }: IovaMap): Operation => ({ op: 'iotlbInvalidate', asid, iova, size });
    const remap = (map: IovaMap): Operation => ({ op: 'iotlbUpdate', asid, ...map });
    if (fresh) return [unmap(fresh), remap(fresh)];
    const spare = held[0] && sparePage(held, held[0], this.#space.limits);
    return spare ? [remap(spare), unmap(spare)] : [];
  }

  async #rollBack({ error: cause, hidden }: Failure): Promise<OperationError> {
    const { batched, remap, probe } = this.#options;
    let text = `${cause.message}${hidden ? PROBED : ''}`;
    try {
      // Exactly as before, entry by entry: others may count on unmapping them one by one.
      const plan = this.#space.plan(this.#before, { batched, remap, probe, exact: true });
      const failure = await this.#attempt(plan, {});
      if (failure) throw failure.error;
      text += ' The maps are as they were before.';
      return explained(cause, text, { rolledBack: true });
    } catch (second) {
      text += ` The maps could not be put back: ${second instanceof Error ? second.message : second} ${this.#doubts()}`;
      const doubtful = this.#space.doubtful.map(describeRange).join(' ');
      return explained(cause, text, { rolledBack: false, doubtful });
    }
  }

  #doubts(): string {
    const { doubtful, held, unsynced } = this.#space;
    const parts = [
      doubtful.length > 0 ? `The device may hold or not: ${doubtful.map(describeRange).join(', ')}.` : '',
      unsynced && held.length > 0 ? 'The kernel holds the others, and the device may have lost them.' : '',
      'Close the device to be rid of all maps.',
    ];
    return parts.filter(part => part !== '').join(' ');
  }

  #plan(wanted: readonly IovaMap[]): Operation[] {
    const { batched, remap, probe, merge, optional } = this.#options;
    return this.#space.plan(wanted, { batched, remap, probe, merge, separate: optional });
  }

  async #attempt(plan: readonly Operation[], { signal }: SubmitOptions = this.#options): Promise<Failure | undefined> {
    if (plan.length === 0) return undefined;
    const unproven = isUnproven(this.#operations, this.#results);
    const results = await this.#device.submit(plan, { signal });
    this.#space.apply(plan, results);
    this.#operations.push(...plan);
    this.#results.push(...results);
    return failureOf(this.#device, plan, results, unproven);
  }

  #isOptional(map: IovaMap): boolean {
    return this.#options.optional?.has(map.iova) ?? false;
  }

  #wasThere(map: IovaMap): boolean {
    return this.#before.some(held => held.iova <= map.iova && endOf(map) <= endOf(held) && agree(held, map));
  }
}

interface Failure {
  readonly error: OperationError;
  /** What failed; undefined when something was cancelled. */
  readonly operation: Operation | undefined;
  /** It may be about a map of a batch before it. */
  readonly hidden: boolean;
}

const PROBED =
  ' It was sent after the batch to learn whether the device took that, so any map of the batch may be the one it refused.';

/**
 * Whether the last map was made in a batch, so that it is not known whether the device took it: an UPDATE outside of one tells.
 * @param unproven The same before these operations.
 */
function isUnproven(operations: readonly Operation[], results: readonly OperationResult[], unproven = false): boolean {
  let batch = false;
  let answer = unproven;
  operations.forEach(({ op }, index) => {
    const done = results[index]?.ran === true && results[index].errno === 0;
    if (op === 'iotlbBatchBegin') batch = true;
    else if (op === 'iotlbBatchEnd') batch = false;
    else if (op === 'iotlbUpdate' && done) answer = batch;
  });
  return answer;
}

/** The first page of a map once more, for reading, in the first hole; undefined when there is none, or no entry for it. */
function sparePage(held: readonly IovaMap[], of: IovaMap, limits: IovaLimits): IovaMap | undefined {
  if (held.length >= entryCap(limits)) return undefined;
  const { granule, reserved } = limits;
  const taken = [...held, ...reserved.map(({ first, last }) => ({ iova: first, size: last - first + 1 }))];
  taken.sort((a, b) => a.iova - b.iova);
  // A failure at address 0 can cost every other entry (see AddressSpace).
  let iova = Math.max(granule, Math.ceil(Number(limits.first) / granule) * granule);
  for (const range of taken) {
    if (iova + granule <= range.iova) break;
    iova = Math.max(iova, Math.ceil(endOf(range) / granule) * granule);
  }
  const fits = BigInt(iova) + BigInt(granule) - 1n <= limits.last && iova + granule <= Number.MAX_SAFE_INTEGER;
  return fits ? { ...of, iova, size: granule, perm: 'ro' } : undefined;
}

/** The error of a plan that the kernel would refuse. */
function whyNot(plan: () => unknown): AddressError | undefined {
  try {
    plan();
    return undefined;
  } catch (error) {
    if (error instanceof AddressError) return error;
    throw error;
  }
}

function failureOf(
  device: Device,
  operations: readonly Operation[],
  results: readonly OperationResult[],
  unproven: boolean,
): Failure | undefined {
  try {
    throwFailure(device, operations, results);
    return undefined;
  } catch (error) {
    if (!(error instanceof OperationError)) throw error;
    const at = results.findIndex(result => result.ran && result.errno !== 0);
    const before = operations.slice(0, Math.max(0, at));
    const inBatch =
      before.findLast(({ op }) => op === 'iotlbBatchBegin' || op === 'iotlbBatchEnd')?.op === 'iotlbBatchBegin';
    return { error, operation: operations[at], hidden: !inBatch && isUnproven(before, results, unproven) };
  }
}

function explained(cause: OperationError, text: string, details: ErrorDetails): OperationError {
  return new OperationError(cause.code, text, { details: { ...cause.details, ...details }, cause });
}
