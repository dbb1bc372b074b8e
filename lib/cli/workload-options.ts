/** The options of every command that runs a workload. */
import type { Options } from 'yargs';
import { VdpaError } from '../errors.js';
import type { WriteRange, WriteRequest } from '../guest/write-permission.js';
import { parseSize } from '../units.js';

export const WORKLOAD_OPTIONS = {
  memory: {
    type: 'string',
    default: '1G',
    describe: 'guest memory, such as 256M or 1G (sparse: it costs what is touched)',
  },
  depth: { type: 'number', default: 32, describe: 'requests in flight' },
  writes: { type: 'string', describe: 'share of writes, such as 30% (default 40% where writing is allowed, else 0)' },
  'write-range': { type: 'string', describe: 'START:LENGTH that the workload may overwrite, such as 64M:16M' },
  destroy: { type: 'boolean', default: false, describe: 'the workload may overwrite the whole disk' },
  seed: { type: 'number', default: 1, describe: 'seed of the workload, to repeat a run' },
} as const satisfies Record<string, Options>;

export interface WorkloadArguments {
  readonly memory: string;
  readonly depth: number;
  readonly writes: string | undefined;
  readonly 'write-range': string | undefined;
  readonly destroy: boolean;
  readonly seed: number;
}

/** @throws VdpaError ERR_VDPA_INVALID_ARGUMENT */
export function writeRequest(args: WorkloadArguments): WriteRequest {
  const range = args['write-range'];
  return {
    destroy: args.destroy,
    range: range === undefined ? undefined : parseRange(range),
    writes: args.writes === undefined ? undefined : parseShare(args.writes),
  };
}

/** @throws VdpaError ERR_VDPA_INVALID_ARGUMENT unless it is a whole number from 1 to `most`. */
export function checkDepth(depth: number, most: number): number {
  if (Number.isInteger(depth) && depth >= 1 && depth <= most) return depth;
  throw invalid(`--depth is a whole number from 1 to ${most} with this device's queue, not ${depth}.`);
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
