/** What a workload may overwrite: nothing, unless it was named. */
import type { BlockDevice } from '../device/block.js';
import { VdpaError } from '../errors.js';
import { formatSize } from '../units.js';
import { DiskAccess } from './disk-access.js';
import { findSignature, findTailSignature, SIGNATURE_BYTES, TAIL_BYTES } from './disk-signature.js';
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
 * What can be said of a request without looking at a disk.
 * @throws VdpaError ERR_VDPA_NOT_ALLOWED for writes that nobody allowed; ERR_VDPA_INVALID_ARGUMENT for a range that is none.
 */
export function checkWriteRequest({ destroy, range, writes = 0 }: WriteRequest): void {
  if (writes > 0 && !destroy && range === undefined) {
    throw notAllowed(
      'A workload with writes was not allowed: name what may be overwritten with --write-range START:LENGTH, or say --destroy.',
    );
  }
  if (range && (range.start % BLOCK_SIZE !== 0 || range.length % BLOCK_SIZE !== 0 || range.length === 0)) {
    throw invalid(
      `The range ${range.start}:${range.length} is not made of whole blocks of ${BLOCK_SIZE} bytes.`,
      range,
    );
  }
}

/**
 * Decides where a workload may read and write.
 * @throws VdpaError as `checkWriteRequest`; ERR_VDPA_NOT_ALLOWED over something that looks like data;
 *   ERR_VDPA_INVALID_ARGUMENT for a range outside the disk.
 */
export async function permitWrites(block: BlockDevice, request: WriteRequest): Promise<WorkArea> {
  checkWriteRequest(request);
  const { path } = block.device;
  const allowed = request.destroy || request.range !== undefined;
  const writes = request.writes ?? (allowed ? DEFAULT_WRITES : 0);
  if (writes > 0 && block.readOnly) throw notAllowed(`${path} is read-only (VIRTIO_BLK_F_RO).`);
  const range = request.range ?? { start: 0, length: block.capacity };
  if (range.length < BLOCK_SIZE || range.start + range.length > block.capacity) {
    throw invalid(
      `The range ${range.start}:${range.length} does not lie on the disk of ${path} (${formatSize(block.capacity)}).`,
      range,
    );
  }
  const area = {
    firstBlock: range.start / BLOCK_SIZE,
    blocks: Math.min(Math.floor(range.length / BLOCK_SIZE), MAX_BLOCKS),
    writes,
  };
  if (writes > 0 && !request.destroy) await refuseSignatures(block, area);
  return area;
}

/** Looks at both ends of the disk, and at the start of the range. A table at an end says that the disk is in use, wherever the range is. */
async function refuseSignatures(block: BlockDevice, { firstBlock, blocks }: WorkArea): Promise<void> {
  const diskBlocks = Math.floor(block.capacity / BLOCK_SIZE);
  const headBlocks = Math.ceil(SIGNATURE_BYTES / BLOCK_SIZE);
  const tail = Math.max(0, diskBlocks - TAIL_BYTES / BLOCK_SIZE);
  const found = await DiskAccess.use(
    block,
    async access =>
      findSignature(await readBlocks(access, 0, Math.min(headBlocks, diskBlocks))) ??
      findSignature(await readBlocks(access, firstBlock, Math.min(headBlocks, blocks))) ??
      findTailSignature(await readBlocks(access, tail, diskBlocks - tail)),
  );
  if (!found) return;
  throw notAllowed(
    `The disk of ${block.device.path} bears the signature of: ${found}. It will not be written to. If it may be lost, say --destroy.`,
  );
}

async function readBlocks(access: DiskAccess, first: number, count: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(count * BLOCK_SIZE);
  for (let i = 0; i < count; i++) bytes.set(await access.read(first + i), i * BLOCK_SIZE);
  return bytes;
}

function notAllowed(message: string): VdpaError {
  return new VdpaError('ERR_VDPA_NOT_ALLOWED', message);
}

function invalid(message: string, { start, length }: WriteRange): VdpaError {
  return new VdpaError('ERR_VDPA_INVALID_ARGUMENT', message, { details: { start, length } });
}
