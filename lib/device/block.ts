/** A block device opened, understood and negotiated, ready for a guest's queues. */
import { UnsupportedError } from '../errors.js';
import type { IovaLimits } from '../iova/limits.js';
import {
  backendFeatureNames,
  VHOST_BACKEND_F_IOTLB_ASID,
  VHOST_BACKEND_F_IOTLB_BATCH,
  VHOST_BACKEND_F_IOTLB_MSG_V2,
  VHOST_BACKEND_F_IOTLB_PERSIST,
  VHOST_BACKEND_F_RESUME,
  VHOST_BACKEND_F_SUSPEND,
} from '../uapi/backend-features.js';
import { decodeBlkConfig } from '../uapi/config-blk.js';
import { deviceName, VIRTIO_ID_BLOCK } from '../uapi/devices.js';
import {
  VIRTIO_BLK_F_BLK_SIZE,
  VIRTIO_BLK_F_FLUSH,
  VIRTIO_BLK_F_RO,
  VIRTIO_BLK_F_SEG_MAX,
  VIRTIO_BLK_F_SIZE_MAX,
  VIRTIO_F_ACCESS_PLATFORM,
  VIRTIO_F_VERSION_1,
} from '../uapi/features.js';
import { VIRTIO_BLK_SECTOR_SIZE } from '../uapi/virtio-blk.js';
import { type Capabilities, readCapabilities } from './capabilities.js';
import type { Device } from './device.js';
import { readLimits } from './host-limits.js';
import { openDevice } from './open.js';

/** What our block guest and the shadow understand: an allow-list, so that a new bit is never acknowledged by accident. */
const FEATURES =
  VIRTIO_F_VERSION_1 |
  VIRTIO_F_ACCESS_PLATFORM |
  VIRTIO_BLK_F_SIZE_MAX |
  VIRTIO_BLK_F_SEG_MAX |
  VIRTIO_BLK_F_RO |
  VIRTIO_BLK_F_BLK_SIZE |
  VIRTIO_BLK_F_FLUSH;

const BACKEND_FEATURES =
  VHOST_BACKEND_F_IOTLB_MSG_V2 |
  VHOST_BACKEND_F_IOTLB_BATCH |
  VHOST_BACKEND_F_IOTLB_ASID |
  VHOST_BACKEND_F_SUSPEND |
  VHOST_BACKEND_F_RESUME |
  VHOST_BACKEND_F_IOTLB_PERSIST;

export interface BlockDevice {
  readonly device: Device;
  readonly capabilities: Capabilities;
  /** Negotiated with the device, and acknowledged to its backend. */
  readonly features: bigint;
  readonly backendFeatures: bigint;
  readonly limits: IovaLimits;
  /** Bytes. */
  readonly capacity: number;
  readonly readOnly: boolean;
}

export interface OpenBlockOptions {
  /** Backend features not to acknowledge, for trying out what a device without them would do. */
  readonly withoutBackendFeatures?: bigint;
  /** Wraps the device before anything is asked of it: traces, faults. */
  readonly wrap?: (device: Device) => Device;
}

/**
 * Opens a block device, which resets it.
 * @throws what `openDevice` throws; UnsupportedError for a device of another type or without VERSION_1.
 */
export async function openBlockDevice(reference: string, options: OpenBlockOptions = {}): Promise<BlockDevice> {
  const opened = await openDevice(reference);
  const device = options.wrap?.(opened) ?? opened;
  try {
    return describe(device, await readCapabilities(device), options.withoutBackendFeatures ?? 0n);
  } catch (error) {
    await device.close();
    throw error;
  }
}

function describe(device: Device, capabilities: Capabilities, without: bigint): BlockDevice {
  const { deviceId, features, backendFeatures, config } = capabilities;
  if (deviceId !== VIRTIO_ID_BLOCK) {
    throw new UnsupportedError(`${device.path} is a ${deviceName(deviceId)} device; this needs a block device.`, {
      details: { deviceId },
    });
  }
  if ((features & VIRTIO_F_VERSION_1) === 0n) {
    throw new UnsupportedError(`${device.path} does not offer VIRTIO_F_VERSION_1; legacy devices are not supported.`);
  }
  return {
    device,
    capabilities,
    features: features & FEATURES,
    backendFeatures: backendFeatures & BACKEND_FEATURES & ~without,
    limits: readLimits(device.path, capabilities),
    capacity: (decodeBlkConfig(config, features).capacity_sectors ?? 0) * VIRTIO_BLK_SECTOR_SIZE,
    readOnly: (features & VIRTIO_BLK_F_RO) !== 0n,
  };
}

/** Acknowledged backend features by name. */
export function acknowledged(block: BlockDevice): string[] {
  return backendFeatureNames(block.backendFeatures);
}
