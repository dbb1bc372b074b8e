/** Everything that stands in the way of a migration, found before anything is touched. */
import type { BlockDevice } from '../device/block.js';
import { DiskAccess } from '../guest/disk-access.js';
import { BLOCK_SIZE } from '../guest/layout.js';
import type { WorkArea } from '../guest/write-permission.js';
import { VHOST_BACKEND_F_SUSPEND } from '../uapi/backend-features.js';
import { VIRTIO_ID_BLOCK } from '../uapi/devices.js';
import { featureNames } from '../uapi/features.js';

/** Blocks read from both sides when nothing may be written. */
const SAMPLES = 16;

/** Every blocker, each with its reason and what would help. Empty when the pair can migrate. */
export async function precheck(from: BlockDevice, to: BlockDevice, area: WorkArea): Promise<string[]> {
  const blockers = [
    ...suspendBlockers(from, 'source'),
    ...suspendBlockers(to, 'destination'),
    ...featureBlockers(from, to),
    ...sizeBlockers(from, to),
  ];
  if (blockers.length > 0) return blockers;
  return (await sharesStorage(from, to, area))
    ? []
    : [
        `${from.device.path} and ${to.device.path} do not share their storage: what was ${area.writes > 0 ? 'written through' : 'read from'} one is not what the other reads. Put both on the same disk.`,
      ];
}

function suspendBlockers({ device, backendFeatures }: BlockDevice, side: string): string[] {
  if ((backendFeatures & VHOST_BACKEND_F_SUSPEND) !== 0n) return [];
  return [
    `The ${side} ${device.path} cannot be suspended (no VHOST_BACKEND_F_SUSPEND), so its requests in flight cannot be known. It needs a driver with VHOST_VDPA_SUSPEND (Linux 6.0; vdpa_sim, mlx5 and snet have it).`,
  ];
}

function featureBlockers(from: BlockDevice, to: BlockDevice): string[] {
  const missing = from.features & ~to.features;
  if (missing === 0n) return [];
  const names = featureNames(VIRTIO_ID_BLOCK, missing).join(', ');
  return [
    `The destination ${to.device.path} lacks features the guest uses: ${names}. Use a destination that has them, or mask them on the source.`,
  ];
}

function sizeBlockers(from: BlockDevice, to: BlockDevice): string[] {
  const blockers: string[] = [];
  if (from.capacity !== to.capacity) {
    blockers.push(
      `The disks differ in size: ${from.capacity} bytes at ${from.device.path}, ${to.capacity} at ${to.device.path}.`,
    );
  }
  const [source, target] = [from.capabilities.vringNumMax, to.capabilities.vringNumMax];
  if (source > target)
    blockers.push(`The destination's queues are smaller: ${target} entries, the source has ${source}.`);
  return blockers;
}

/** Proven by a value written through the source, or, where nothing may be written, by reading the same blocks from both sides. */
async function sharesStorage(from: BlockDevice, to: BlockDevice, area: WorkArea): Promise<boolean> {
  if (area.writes === 0) return equalSamples(from, to, area);
  const proof = crypto.getRandomValues(new Uint8Array(BLOCK_SIZE));
  await DiskAccess.use(from, access => access.write(area.firstBlock, proof));
  const seen = await DiskAccess.use(to, access => access.read(area.firstBlock));
  return Buffer.compare(proof, seen) === 0;
}

async function equalSamples(from: BlockDevice, to: BlockDevice, { firstBlock, blocks }: WorkArea): Promise<boolean> {
  const sample = (block: BlockDevice) =>
    DiskAccess.use(block, async access => {
      const bytes: Uint8Array[] = [];
      for (let i = 0; i < SAMPLES; i++) bytes.push(await access.read(firstBlock + Math.floor((i * blocks) / SAMPLES)));
      return Buffer.concat(bytes);
    });
  return Buffer.compare(await sample(from), await sample(to)) === 0;
}
