/** Device configuration spaces by device type. */
import { type BlkConfig, decodeBlkConfig } from './config-blk.js';
import { decodeNetConfig, type NetConfig } from './config-net.js';
import { VIRTIO_ID_BLOCK, VIRTIO_ID_NET } from './devices.js';

export type DeviceConfig =
  | { readonly type: 'net'; readonly config: NetConfig }
  | { readonly type: 'blk'; readonly config: BlkConfig };

/** Decodes a configuration space under the features the device offers; undefined for a device type without a decoder. */
export function decodeConfig(deviceId: number, bytes: Uint8Array, features: bigint): DeviceConfig | undefined {
  if (deviceId === VIRTIO_ID_NET) return { type: 'net', config: decodeNetConfig(bytes, features) };
  if (deviceId === VIRTIO_ID_BLOCK) return { type: 'blk', config: decodeBlkConfig(bytes, features) };
  return undefined;
}
