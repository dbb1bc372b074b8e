/**
 * Guest memory and shadow rings on one device: the first maps, the maps of a start, and the changes that memory makes while the
 * device runs.
 */
import { changeMaps } from '../device/change-maps.js';
import type { Device } from '../device/device.js';
import { OperationError } from '../errors.js';
import { AddressSpace } from '../iova/address-space.js';
import { DeviceMemory } from '../iova/device-memory.js';
import type { IovaLimits } from '../iova/limits.js';
import type { Placement } from '../iova/placement.js';
import type { SkippedRange } from '../iova/section-ranges.js';
import type { TranslationEntry } from '../iova/translation.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import type { MemoryRegion } from '../memory/region.js';
import { describeSection, type Section } from '../memory/section.js';
import type { Operation } from '../uapi/operation.js';
import { Warnings } from '../warnings.js';

export interface AttachedMemoryOptions {
  readonly device: Device;
  readonly memory: GuestMemory;
  readonly rings: MemoryRegion;
  readonly placement: Placement;
  readonly limits: IovaLimits;
  /** Whether VHOST_BACKEND_F_IOTLB_BATCH was acknowledged. */
  readonly batched: boolean;
  /** Gets a sentence when guest memory is left out. */
  readonly onWarning: (text: string) => void;
}

/** What a shadow must know of a change: first guest addresses of the ranges that went, and the ranges that came. */
export interface TranslationChange {
  readonly removed: readonly number[];
  readonly added: readonly TranslationEntry[];
}

export class AttachedMemory {
  /** Maps the device holds. */
  readonly space: AddressSpace;
  readonly #options: AttachedMemoryOptions;
  #memory!: DeviceMemory;
  /** The layout of the last maps: that of shadowed queues, or of passthrough. */
  #shadowed = false;
  /** Regions of other devices' memory that the kernel refused: they are never asked for again. */
  readonly #refused = new Set<number>();
  readonly #warnings: Warnings;

  /** @throws AddressError when RAM or ROM cannot be mapped on this device. */
  constructor(options: AttachedMemoryOptions) {
    this.#options = options;
    this.space = new AddressSpace(0, options.limits);
    this.#warnings = new Warnings(options.onWarning);
    this.#memory = this.describe(options.memory.sections);
  }

  /** Address of the shadow rings. */
  get ringsIova(): number {
    return this.#memory.ringsIova;
  }

  /** Guest memory that the device was not given. */
  get skipped(): readonly SkippedRange[] {
    return this.#memory.skipped;
  }

  /** Guest address to IOVA while shadowed. */
  translation(): TranslationEntry[] {
    return this.#memory.translation();
  }

  /** Makes the first maps. What the kernel refuses of other devices' memory is left out from now on. */
  async map(shadowed: boolean): Promise<void> {
    this.#shadowed = shadowed;
    this.#warn(this.skipped);
    // Anew: a change that was under way before we listened may have ended since.
    await this.#change(this.describe(this.#options.memory.sections));
  }

  /**
   * What a start must send: nothing where the maps stay; everything with `remap`, for a device that loses them in its reset.
   * @throws AddressError when memory cannot stand like that; nothing has changed then.
   */
  operations(shadowed: boolean, remap: boolean): Operation[] {
    const { batched } = this.#options;
    const separate = this.#memory.optional(shadowed);
    return this.space.plan(this.#memory.maps(shadowed), { remap, batched, separate, merge: false });
  }

  /** The device works with the maps of shadowed queues, or of passthrough: changes are made to these. */
  serves(shadowed: boolean): void {
    this.#shadowed = shadowed;
  }

  /**
   * Leaves out what made a start fail, if it is a map that the guest can do without.
   * @returns whether it was; then another start may succeed.
   */
  leaveOut(error: unknown, shadowed: boolean): boolean {
    const { request, iova } = error instanceof OperationError ? error.details : {};
    const range = this.#memory.ranges.find(
      candidate => candidate.kind === 'ram-device' && (shadowed ? candidate.iova : candidate.gpa) === iova,
    );
    if (!range || request !== 'VHOST_IOTLB_UPDATE') return false;
    this.#refused.add(range.region);
    this.#set(this.#memory.without(this.#refused));
    return true;
  }

  /**
   * The machine's memory as it will be on this device, for `follow`.
   * @throws AddressError when RAM or ROM cannot be mapped.
   */
  describe(sections: readonly Section[]): DeviceMemory {
    const { memory, rings, placement, limits } = this.#options;
    const { end, hotplug } = memory;
    const options = { placement, limits, rings: { region: rings.id, size: rings.size }, hotplug, end };
    return new DeviceMemory(sections, options, this.#memory, this.#refused);
  }

  /**
   * Follows a change of memory.
   * @returns how translation changed with it.
   * @throws AddressError, OperationError: the device then holds what it held.
   */
  async follow(wanted: DeviceMemory): Promise<TranslationChange> {
    const before = this.#memory;
    await this.#change(wanted);
    return difference(before.translation(), this.#memory.translation());
  }

  /** Maps what is wanted; what the kernel refuses of it is left out, if the guest can do without. */
  async #change(wanted: DeviceMemory): Promise<void> {
    const { device, batched } = this.#options;
    const shadowed = this.#shadowed;
    const optional = wanted.optional(shadowed);
    const maps = wanted.maps(shadowed);
    // A batch hides its failure, and no guest is dark here: it is worth a second look. Sections come and go one by one, so each has
    // an entry of its own.
    const { refused } = await changeMaps(device, this.space, maps, { batched, optional, probe: true, merge: false });
    for (const { region } of refused) this.#refused.add(region);
    this.#set(refused.length === 0 ? wanted : wanted.without(this.#refused));
  }

  #set(memory: DeviceMemory): void {
    const known = new Set(this.#memory.skipped.map(({ gpa }) => gpa));
    this.#memory = memory;
    this.#warn(memory.skipped.filter(({ gpa }) => !known.has(gpa)));
  }

  #warn(skipped: readonly SkippedRange[]): void {
    const { path } = this.#options.device;
    this.#warnings.add(skipped.map(range => `${describeSection(range)} is not given to ${path}: ${range.why}.`));
  }
}

/** By what two translations differ. */
function difference(before: readonly TranslationEntry[], after: readonly TranslationEntry[]): TranslationChange {
  const key = ({ from, size, to, writable }: TranslationEntry) => `${from}:${size}:${to}:${writable}`;
  const old = new Set(before.map(key));
  const now = new Set(after.map(key));
  return {
    removed: before.filter(entry => !now.has(key(entry))).map(entry => entry.from),
    added: after.filter(entry => !old.has(key(entry))),
  };
}
