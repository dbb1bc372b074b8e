/** Refuses operations whose values do not fit their fields: cut off, a status of 256 would be a reset. */
import { hex, VdpaError } from '../errors.js';
import type { Operation } from '../uapi/operation.js';

const U8 = 0xff;
const U32 = 0xffff_ffff;

/** The largest value of each numeric field, by the argument structs of linux/vhost.h; the smallest is 0, of an fd -1. */
const LARGEST: Readonly<Record<string, number>> = {
  status: U8,
  value: U8,
  index: U32,
  num: U32,
  group: U32,
  asid: U32,
  region: U32,
  length: U32,
  fd: 0x7fff_ffff,
};

/** @throws VdpaError ERR_VDPA_INVALID_ARGUMENT naming the operation, the field and its value. */
export function validateOperations(operations: readonly Operation[]): void {
  for (const operation of operations) {
    for (const [field, value] of Object.entries(operation)) {
      if (typeof value === 'number' && !fits(field, value)) throw misfit(operation, field, value);
      if (typeof value === 'bigint' && BigInt.asUintN(64, value) !== value) throw misfit(operation, field, value);
    }
  }
}

function fits(field: string, value: number): boolean {
  const smallest = field === 'fd' ? -1 : 0;
  return Number.isSafeInteger(value) && value >= smallest && value <= (LARGEST[field] ?? Number.MAX_SAFE_INTEGER);
}

function misfit({ op }: Operation, field: string, value: number | bigint): VdpaError {
  const shown = Number.isInteger(Number(value)) && value >= 0 ? hex(value) : String(value);
  return new VdpaError('ERR_VDPA_INVALID_ARGUMENT', `${op} cannot have ${field} ${shown}: it does not fit the field.`, {
    details: { op, field, value },
  });
}
