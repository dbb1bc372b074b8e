/**
 * Registers whose bits have names: feature words, backend features, device status. Both ways between masks and names.
 */
import { hex, VdpaError } from '../errors.js';

/** Bit numbers by short name, lowest first. */
export type BitTable = Readonly<Record<string, number>>;

/** Bits that share a spelling: `VIRTIO_NET_F_MAC` is `MAC` behind the prefix `VIRTIO_NET_F_`. */
export interface BitGroup {
  readonly prefixes: readonly string[];
  readonly bits: BitTable;
}

export interface BitRegister {
  /** What a bit is called in a message, such as `backend feature`. */
  readonly what: string;
  /** Bits the register has. */
  readonly width: number;
  readonly groups: readonly BitGroup[];
}

/**
 * One or several bits of a register: a name with or without its prefix, in any case; `BIT_57`; a bit number (57 or '57');
 * a mask (a bigint, or '0x…').
 */
export type BitSpec = string | number | bigint;

export function mask(bit: number): bigint {
  return 1n << BigInt(bit);
}

/** Short names of the bits set in `value`, lowest first; a bit without a name is given as `BIT_57`. */
export function bitNames(register: BitRegister, value: bigint): string[] {
  const names = new Map(register.groups.flatMap(group => Object.entries(group.bits).map(([name, bit]) => [bit, name])));
  const found: string[] = [];
  for (let bit = 0; bit < register.width; bit++) {
    if ((value & mask(bit)) !== 0n) found.push(names.get(bit) ?? `BIT_${bit}`);
  }
  return found;
}

/** The mask of all bits named. Throws ERR_VDPA_INVALID_ARGUMENT for an unknown name, or a bit the register does not have. */
export function bitMask(register: BitRegister, specs: Iterable<BitSpec>): bigint {
  let bits = 0n;
  for (const spec of specs) bits |= maskOfSpec(register, spec);
  return bits;
}

function maskOfSpec(register: BitRegister, spec: BitSpec): bigint {
  if (typeof spec === 'bigint') return checkedMask(register, spec);
  const text = String(spec).trim().toUpperCase();
  if (/^0X[0-9A-F]+$/.test(text)) return checkedMask(register, BigInt(text));
  const numbered = /^(?:BIT_)?(\d+)$/.exec(text);
  const bit = numbered ? Number(numbered[1]) : namedBit(register, text);
  if (bit === undefined) throw unknownName(register, spec);
  if (bit >= register.width) throw tooHigh(register, `bit ${bit}`);
  return mask(bit);
}

function namedBit(register: BitRegister, text: string): number | undefined {
  for (const { prefixes, bits } of register.groups) {
    for (const [name, bit] of Object.entries(bits)) {
      if (['', ...prefixes].some(prefix => (prefix + name).toUpperCase() === text)) return bit;
    }
  }
  return undefined;
}

function checkedMask(register: BitRegister, value: bigint): bigint {
  if (value < 0n || value >= mask(register.width)) throw tooHigh(register, `mask ${hex(value)}`);
  return value;
}

function unknownName(register: BitRegister, spec: BitSpec): VdpaError {
  const known = register.groups.flatMap(group => Object.keys(group.bits));
  return new VdpaError(
    'ERR_VDPA_INVALID_ARGUMENT',
    `Unknown ${register.what} "${spec}": give a name, a bit number or a 0x mask. Names: ${known.join(', ')}.`,
    { details: { value: String(spec) } },
  );
}

function tooHigh(register: BitRegister, given: string): VdpaError {
  return new VdpaError(
    'ERR_VDPA_INVALID_ARGUMENT',
    `There is no ${register.what} for ${given}: bits go from 0 to ${register.width - 1}.`,
    { details: { value: given } },
  );
}
