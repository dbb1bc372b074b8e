/** What a workload may overwrite: nothing, unless it was named. */
import type { BlockDevice } from '../device/block.js';
import { VdpaError } from '../errors.js';
import { formatSize } from '../units.js';
import { DiskAccess } from './disk-access.js';
import { findSignature, SIGNATURE_BYTES } from './disk-signature.js';
import { BLOCK_SIZE } from './layout.js';

/** Bytes of the disk. */
export interface WriteRange {
  readonly start: number;
  readonly length: number;
}

export interface WriteRequest {
  /** The whole disk may be overwritten. */
  readonly destroy: boolean;
  /** This part may be. */
  readonly range: WriteRange | undefined;
  /** Share of writes asked for, 0 to 1; undefined for a fitting default. */
  readonly writes: number | undefined;
}

/** The blocks (of 4 KiB) a workload works on, and its share of writes. */
export interface WorkArea {
  readonly firstBlock: number;
  readonly blocks: number;
  readonly writes: number;
}

const DEFAULT_WRITES = 0.4;
/** Blocks a workload keeps books on, so that a large disk does not cost memory. */
const MAX_BLOCKS = 2 ** 20;

/**
 * Decides where a workload may read and write.
 * @throws VdpaError ERR_VDPA_NOT_ALLOWED for writes that nobody allowed, or over something that looks like data;
 *   ERR_VDPA_INVALID_ARGUMENT for a range outside the disk.
 */
export async function permitWrites(block: BlockDevice, request: WriteRequest): Promise<WorkArea> {
  const { path } = block.device;
  const allowed = request.destroy || request.range !== undefined;
  const writes = request.writes ?? (allowed ? DEFAULT_WRITES : 0);
  if (writes > 0 && !allowed) {
    throw notAllowed(
      `A workload with writes on ${path} was not allowed: name what may be overwritten with --write-range START:LENGTH, or say --destroy.`,
    );
  }
  if (writes > 0 && block.readOnly) throw notAllowed(`${path} is read-only (VIRTIO_BLK_F_RO).`);
  const { start, length } = request.range ?? { start: 0, length: block.capacity };
  if (start % BLOCK_SIZE !== 0 || length < BLOCK_SIZE || start + length > block.capacity) {
    throw new VdpaError(
      'ERR_VDPA_INVALID_ARGUMENT',
      `The range ${start}:${length} does not lie on the disk of ${path} (${formatSize(block.capacity)}), or does not start at a multiple of ${BLOCK_SIZE}.`,
      { details: { start, length, capacity: block.capacity } },
    );
  }
  const area = {
    firstBlock: start / BLOCK_SIZE,
    blocks: Math.min(Math.floor(length / BLOCK_SIZE), MAX_BLOCKS),
    writes,
  };
  if (writes > 0 && !request.destroy) await refuseSignatures(block, area);
  return area;
}

/** Looks at the start of the disk and of the range. */
async function refuseSignatures(block: BlockDevice, { firstBlock, blocks }: WorkArea): Promise<void> {
  const found = await DiskAccess.use(block, async access => {
    const starts = firstBlock === 0 ? [0] : [0, firstBlock];
    for (const start of starts) {
      const name = findSignature(await readStart(access, start, start === 0 ? block.capacity / BLOCK_SIZE : blocks));
      // A table at the very start of the disk may be left alone by a range further on, but it says that the disk is in use.
      if (name) return { name, at: start * BLOCK_SIZE };
    }
    return undefined;
  });
  if (found) {
    throw notAllowed(
      `${block.device.path} has a ${found.name} at byte ${found.at}; it will not be written to. If it may be lost, say --destroy.`,
    );
  }
}

async function readStart(access: DiskAccess, first: number, available: number): Promise<Uint8Array> {
  const count = Math.min(Math.ceil(SIGNATURE_BYTES / BLOCK_SIZE), Math.floor(available));
  const bytes = new Uint8Array(count * BLOCK_SIZE);
  for (let i = 0; i < count; i++) bytes.set(await access.read(first + i), i * BLOCK_SIZE);
  return bytes;
}

function notAllowed(message: string): VdpaError {
  return new VdpaError('ERR_VDPA_NOT_ALLOWED', message);
}
