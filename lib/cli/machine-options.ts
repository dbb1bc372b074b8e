/** The options that say what memory a machine has. */
import type { Options } from 'yargs';
import { VdpaError } from '../errors.js';
import { isMachineKind, loadTopology } from '../memory/load-topology.js';
import { flatTopology, type Topology } from '../memory/topology.js';
import { formatSize, parseSize } from '../units.js';

/** Guest memory: room for a queue and buffers, and what addresses carry. */
const LEAST_MEMORY = 2 ** 21;
const MOST_MEMORY = 2 ** 43;
const DEFAULT_MEMORY = '1G';

export const MACHINE_OPTIONS = {
  memory: {
    type: 'string',
    requiresArg: true,
    describe: `guest memory, such as 256M or 1G, sparse: it costs what is touched (default ${DEFAULT_MEMORY})`,
  },
  topology: {
    type: 'string',
    requiresArg: true,
    describe: 'a machine: q35, q35:maxmem=256G,slots=8, a machine.json, or what "info mtree -f" prints',
  },
} as const satisfies Record<string, Options>;

export interface MachineArguments {
  readonly memory: string | undefined;
  readonly topology: string | undefined;
}

/**
 * The machine that the options name.
 * @throws VdpaError ERR_VDPA_INVALID_ARGUMENT
 */
export async function parseMachine({ memory, topology }: MachineArguments): Promise<Topology> {
  const size = memory === undefined ? undefined : parseMemory(memory);
  if (topology === undefined) return flatTopology(size ?? parseSize(DEFAULT_MEMORY));
  return loadTopology(topology, isMachineKind(topology) ? (size ?? parseSize(DEFAULT_MEMORY)) : size);
}

function parseMemory(text: string): number {
  const memory = parseSize(text);
  if (memory >= LEAST_MEMORY && memory <= MOST_MEMORY) return memory;
  throw new VdpaError(
    'ERR_VDPA_INVALID_ARGUMENT',
    `--memory is ${formatSize(LEAST_MEMORY)} to ${formatSize(MOST_MEMORY)}, not ${text}.`,
  );
}
