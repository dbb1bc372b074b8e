/** The options of every command that runs a workload. */
import type { Options } from 'yargs';
import { VdpaError } from '../errors.js';
import { maxDepth } from '../guest/block-guest.js';
import { checkWriteRequest, type WriteRange, type WriteRequest } from '../guest/write-permission.js';
import type { Topology } from '../memory/topology.js';
import { parseSize } from '../units.js';
import { MACHINE_OPTIONS, type MachineArguments, parseMachine } from './machine-options.js';

export const WORKLOAD_OPTIONS = {
  ...MACHINE_OPTIONS,
  depth: { type: 'number', requiresArg: true, default: 32, describe: 'requests in flight' },
  writes: {
    type: 'string',
    requiresArg: true,
    describe: 'share of writes, such as 30% (default 40% where writing is allowed, else 0)',
  },
  'write-range': {
    type: 'string',
    requiresArg: true,
    describe: 'START:LENGTH that the workload may overwrite, such as 64M:16M',
  },
  destroy: { type: 'boolean', default: false, describe: 'the workload may overwrite the whole disk' },
  seed: { type: 'number', requiresArg: true, default: 1, describe: 'seed of the workload, to repeat a run' },
} as const satisfies Record<string, Options>;

export interface WorkloadArguments extends MachineArguments {
  readonly depth: number;
  readonly writes: string | undefined;
  readonly 'write-range': string | undefined;
  readonly destroy: boolean;
  readonly seed: number;
}

/**
 * What the options ask for, as far as it can be judged before a device is opened, because opening resets it.
 * @param soft The disk is a soft device's, made for this run: there is nothing on it to lose.
 * @throws VdpaError ERR_VDPA_INVALID_ARGUMENT, ERR_VDPA_NOT_ALLOWED
 */
export async function parseWorkload(
  args: WorkloadArguments,
  soft: boolean,
): Promise<{ request: WriteRequest; memory: Topology }> {
  const range = args['write-range'] === undefined ? undefined : parseRange(args['write-range']);
  const writes = args.writes === undefined ? undefined : parseShare(args.writes);
  const request = { destroy: args.destroy || (soft && range === undefined), range, writes };
  checkWriteRequest(request);
  checkSeed(args.seed);
  checkDepth(args.depth, maxDepth(Number.POSITIVE_INFINITY));
  return { request, memory: await parseMachine(args) };
}

/** @throws VdpaError ERR_VDPA_INVALID_ARGUMENT unless it is a whole number from 1 to `most`. */
export function checkDepth(depth: number, most: number): void {
  if (Number.isInteger(depth) && depth >= 1 && depth <= most) return;
  throw invalid(`--depth is a whole number from 1 to ${most} with this device's queue${but(depth)}.`);
}

/** @throws VdpaError ERR_VDPA_INVALID_ARGUMENT unless it is a whole number of 32 bits. */
function checkSeed(seed: number): void {
  if (Number.isInteger(seed) && seed >= 0 && seed < 2 ** 32) return;
  throw invalid(`--seed is a whole number from 0 to ${2 ** 32 - 1}${but(seed)}.`);
}

/** What was given instead; yargs turns what is no number into NaN. */
function but(given: number): string {
  return Number.isNaN(given) ? '' : `, not ${given}`;
}

function parseRange(text: string): WriteRange {
  const [start, length, ...more] = text.split(':');
  if (start === undefined || length === undefined || more.length > 0) {
    throw invalid(`--write-range is START:LENGTH, such as 64M:16M, not "${text}".`);
  }
  return { start: parseSize(start), length: parseSize(length) };
}

function parseShare(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*(%?)$/.exec(text.trim());
  const share = match ? Number(match[1]) / (match[2] === '%' ? 100 : 1) : Number.NaN;
  if (share >= 0 && share <= 1) return share;
  throw invalid(`--writes is a share such as 30% or 0.3, not "${text}".`);
}

function invalid(message: string): VdpaError {
  return new VdpaError('ERR_VDPA_INVALID_ARGUMENT', message);
}
