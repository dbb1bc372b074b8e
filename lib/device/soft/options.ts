/** What follows `soft:` in a device reference: a type, then properties, as in `soft:blk?latency=50us&persist=off`. */
import { VdpaError } from '../../errors.js';
import { parseDuration, parseSize } from '../../units.js';

export interface SoftOptions {
  readonly type: 'blk';
  /** Time from taking a request to completing it, in nanoseconds. */
  readonly latencyNs: number;
  /** Bytes of the disk. */
  readonly capacity: number;
  /** Soft devices of one process that name the same disk share it, as vdpa_sim_blk's do with shared_backend=1. */
  readonly disk: string;
  /** Whether VHOST_BACKEND_F_IOTLB_PERSIST, VHOST_BACKEND_F_SUSPEND are offered. */
  readonly persist: boolean;
  readonly suspend: boolean;
}

/** The default disk's size, as vdpa_sim_blk's. */
const DEFAULT_CAPACITY = 128 * 2 ** 20;
const BLOCK = 4096;
const MOST_CAPACITY = 2 ** 32;

type Parser = (value: string) => Partial<SoftOptions>;

const PROPERTIES: Record<string, Parser> = {
  latency: value => ({ latencyNs: parseDuration(value) * 1e6 }),
  capacity: value => ({ capacity: parseCapacity(value) }),
  disk: value => ({ disk: value }),
  persist: value => ({ persist: parseSwitch('persist', value) }),
  suspend: value => ({ suspend: parseSwitch('suspend', value) }),
};

/** @throws VdpaError ERR_VDPA_NO_DEVICE for an unknown type, ERR_VDPA_INVALID_ARGUMENT for a bad property. */
export function parseSoftOptions(reference: string): SoftOptions {
  const [type = '', query = ''] = reference.replace(/^soft:?/, '').split('?', 2);
  if (type !== 'blk') {
    throw new VdpaError('ERR_VDPA_NO_DEVICE', `There is no soft device "${type}"; there is soft:blk.`, {
      details: { reference },
    });
  }
  let options: SoftOptions = {
    type,
    latencyNs: 0,
    capacity: DEFAULT_CAPACITY,
    disk: 'default',
    persist: true,
    suspend: true,
  };
  for (const [name, value] of new URLSearchParams(query)) {
    const parse = Object.hasOwn(PROPERTIES, name) ? PROPERTIES[name] : undefined;
    if (!parse) {
      throw invalid(`soft:${type} has no property "${name}"; it has ${Object.keys(PROPERTIES).join(', ')}.`, reference);
    }
    options = { ...options, ...parse(value) };
  }
  return options;
}

/** The disk is one window: no larger than Node 20 allows a buffer to be. */
function parseCapacity(text: string): number {
  const capacity = parseSize(text);
  if (capacity % BLOCK === 0 && capacity >= BLOCK && capacity <= MOST_CAPACITY) return capacity;
  throw invalid(`capacity is 4K to 4G in steps of 4K, not "${text}".`, text);
}

function parseSwitch(name: string, value: string): boolean {
  if (value === 'on') return true;
  if (value === 'off') return false;
  throw invalid(`${name} is "on" or "off", not "${value}".`, value);
}

function invalid(message: string, reference: string): VdpaError {
  return new VdpaError('ERR_VDPA_INVALID_ARGUMENT', message, { details: { reference } });
}
