/** What `--topology` names: a kind of machine with its options, or a file that describes one. */
import { closeSync, openSync, readSync } from 'node:fs';
import { VdpaError } from '../errors.js';
import { parseSize } from '../units.js';
import { isMtree, parseMtree } from './mtree.js';
import { type Q35Options, q35 } from './q35.js';
import type { Topology } from './topology.js';

/** Larger files are something else. */
const MOST_BYTES = 2 ** 24;

const OPTIONS: Readonly<Record<string, (value: string) => unknown>> = {
  maxmem: parseSize,
  slots: wholeNumber,
  amd: onOff,
  firmware: value => value,
  tseg: parseSize,
  vram: parseSize,
};

/**
 * The machine that `spec` names: `q35`, `q35:maxmem=256G,slots=8,amd=on`, or a path. What is in a file tells its format: JSON is a
 * machine file, else it is the text of QEMU's `info mtree -f`.
 * @param memory Bytes of memory at the start, for a kind of machine; a file has its own.
 * @throws VdpaError ERR_VDPA_INVALID_ARGUMENT
 */
export async function loadTopology(spec: string, memory?: number): Promise<Topology> {
  if (isMachineKind(spec)) {
    if (memory === undefined) throw invalid(`${spec} needs a size of memory (--memory 128G).`);
    return q35({ ...parseOptions(spec.slice('q35:'.length)), ram: memory });
  }
  // Read first: what cannot be read may be a kind of machine with a typing error, and says nothing about memory.
  const text = readText(spec);
  if (memory !== undefined) {
    throw invalid(
      `${spec} says how much memory the machine has, so a size of memory cannot be given as well: leave out --memory.`,
    );
  }
  return parseFile(spec, text);
}

/** Whether `spec` names a kind of machine, which has no size of memory of its own. */
export function isMachineKind(spec: string): boolean {
  return /^q35(?::|$)/.test(spec);
}

async function parseFile(path: string, text: string): Promise<Topology> {
  // Its schema library takes longer to load than all else here together.
  if (/^\s*\{/.test(text)) return (await import('./machine-file.js')).parseMachineFile(text, path);
  if (isMtree(text)) {
    try {
      return parseMtree(text);
    } catch (error) {
      if (!(error instanceof VdpaError)) throw error;
      throw new VdpaError(error.code, `${path}: ${error.message}`, { details: error.details, cause: error });
    }
  }
  throw invalid(
    `${path} describes no machine: it is neither a machine file (JSON, docs/machine.schema.json) nor the text of QEMU's "info mtree -f".`,
  );
}

function parseOptions(text: string): Omit<Q35Options, 'ram'> {
  const options: Record<string, unknown> = {};
  for (const part of text === '' ? [] : text.split(',')) {
    const [key = '', value, ...more] = part.split('=');
    const parse = Object.hasOwn(OPTIONS, key) ? OPTIONS[key] : undefined;
    if (!parse || value === undefined || value === '' || more.length > 0) {
      throw invalid(`"${part}" is no option of q35: write name=value, with ${Object.keys(OPTIONS).join(', ')}.`);
    }
    if (key in options) throw invalid(`q35 has ${key} twice.`);
    options[key] = parse(value);
  }
  const { firmware } = options;
  if (firmware === undefined || firmware === 'booted' || firmware === 'reset') return options;
  throw invalid(`firmware=${firmware}: it is booted or reset.`);
}

function wholeNumber(text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw invalid(`slots=${text}: write a whole number.`);
}

function onOff(text: string): boolean {
  if (text === 'on' || text === 'off') return text === 'on';
  throw invalid(`amd=${text}: write on or off.`);
}

/** All of a file, which may be a pipe and then has no size beforehand. */
function readText(path: string): string {
  const buffer = Buffer.allocUnsafe(MOST_BYTES + 1);
  let length = 0;
  try {
    const file = openSync(path, 'r');
    try {
      for (;;) {
        const count = readSync(file, buffer, length, buffer.length - length, null);
        length += count;
        if (count === 0 || length === buffer.length) break;
      }
    } finally {
      closeSync(file);
    }
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    const hint = code === 'ENOENT' ? ' A machine is q35, q35:maxmem=256G,slots=8, or the path of a file.' : '';
    throw invalid(`The machine ${path} cannot be read: ${code ?? (cause as Error).message}.${hint}`, cause);
  }
  if (length > MOST_BYTES) throw invalid(`${path} is larger than 16 MiB: it is not a machine.`);
  return buffer.toString('utf8', 0, length).replace(/^\uFEFF/, '');
}

function invalid(message: string, cause?: unknown): VdpaError {
  return new VdpaError('ERR_VDPA_INVALID_ARGUMENT', message, { cause });
}
