/**
 * Virtio feature bits by name (virtio 1.4 §6 and each device's own section; linux/virtio_config.h).
 *
 * vhost-vdpa carries 64 bits, so what the spec puts at 64 and above cannot be offered here and has no name.
 */
import { type BitGroup, type BitRegister, type BitSpec, bitMask, bitNames, mask } from './bits.js';
import { deviceName, VIRTIO_ID_BLOCK, VIRTIO_ID_FS, VIRTIO_ID_NET } from './devices.js';

const TRANSPORT = {
  NOTIFY_ON_EMPTY: 24,
  ANY_LAYOUT: 27,
  INDIRECT_DESC: 28,
  EVENT_IDX: 29,
  VERSION_1: 32,
  ACCESS_PLATFORM: 33,
  RING_PACKED: 34,
  IN_ORDER: 35,
  ORDER_PLATFORM: 36,
  SR_IOV: 37,
  NOTIFICATION_DATA: 38,
  NOTIF_CONFIG_DATA: 39,
  RING_RESET: 40,
  ADMIN_VQ: 41,
  SUSPEND: 43,
} as const;

const NET = {
  CSUM: 0,
  GUEST_CSUM: 1,
  CTRL_GUEST_OFFLOADS: 2,
  MTU: 3,
  MAC: 5,
  GSO: 6,
  GUEST_TSO4: 7,
  GUEST_TSO6: 8,
  GUEST_ECN: 9,
  GUEST_UFO: 10,
  HOST_TSO4: 11,
  HOST_TSO6: 12,
  HOST_ECN: 13,
  HOST_UFO: 14,
  MRG_RXBUF: 15,
  STATUS: 16,
  CTRL_VQ: 17,
  CTRL_RX: 18,
  CTRL_VLAN: 19,
  CTRL_RX_EXTRA: 20,
  GUEST_ANNOUNCE: 21,
  MQ: 22,
  CTRL_MAC_ADDR: 23,
  DEVICE_STATS: 50,
  HASH_TUNNEL: 51,
  VQ_NOTF_COAL: 52,
  NOTF_COAL: 53,
  GUEST_USO4: 54,
  GUEST_USO6: 55,
  HOST_USO: 56,
  HASH_REPORT: 57,
  GUEST_HDRLEN: 59,
  RSS: 60,
  RSC_EXT: 61,
  STANDBY: 62,
  SPEED_DUPLEX: 63,
} as const;

const BLK = {
  BARRIER: 0,
  SIZE_MAX: 1,
  SEG_MAX: 2,
  GEOMETRY: 4,
  RO: 5,
  BLK_SIZE: 6,
  SCSI: 7,
  FLUSH: 9,
  TOPOLOGY: 10,
  CONFIG_WCE: 11,
  MQ: 12,
  DISCARD: 13,
  WRITE_ZEROES: 14,
  LIFETIME: 15,
  SECURE_ERASE: 16,
  ZONED: 17,
} as const;

// The kernel spells two of them VIRTIO_RING_F_.
const TRANSPORT_GROUP: BitGroup = { prefixes: ['VIRTIO_F_', 'VIRTIO_RING_F_'], bits: TRANSPORT };

const DEVICE_GROUPS: Readonly<Record<number, BitGroup>> = {
  [VIRTIO_ID_NET]: { prefixes: ['VIRTIO_NET_F_'], bits: NET },
  [VIRTIO_ID_BLOCK]: { prefixes: ['VIRTIO_BLK_F_'], bits: BLK },
  [VIRTIO_ID_FS]: { prefixes: ['VIRTIO_FS_F_'], bits: { NOTIFICATION: 0 } },
};

export const VIRTIO_F_NOTIFY_ON_EMPTY = mask(TRANSPORT.NOTIFY_ON_EMPTY);
export const VIRTIO_F_ANY_LAYOUT = mask(TRANSPORT.ANY_LAYOUT);
export const VIRTIO_F_INDIRECT_DESC = mask(TRANSPORT.INDIRECT_DESC);
export const VIRTIO_F_EVENT_IDX = mask(TRANSPORT.EVENT_IDX);
export const VIRTIO_F_VERSION_1 = mask(TRANSPORT.VERSION_1);
/** Descriptors hold IOVAs. vdpa_sim refuses driver features without it. */
export const VIRTIO_F_ACCESS_PLATFORM = mask(TRANSPORT.ACCESS_PLATFORM);
export const VIRTIO_F_RING_PACKED = mask(TRANSPORT.RING_PACKED);
export const VIRTIO_F_IN_ORDER = mask(TRANSPORT.IN_ORDER);
export const VIRTIO_F_ORDER_PLATFORM = mask(TRANSPORT.ORDER_PLATFORM);
export const VIRTIO_F_SR_IOV = mask(TRANSPORT.SR_IOV);
export const VIRTIO_F_NOTIFICATION_DATA = mask(TRANSPORT.NOTIFICATION_DATA);
export const VIRTIO_F_NOTIF_CONFIG_DATA = mask(TRANSPORT.NOTIF_CONFIG_DATA);
export const VIRTIO_F_RING_RESET = mask(TRANSPORT.RING_RESET);
export const VIRTIO_F_ADMIN_VQ = mask(TRANSPORT.ADMIN_VQ);

export const VIRTIO_NET_F_MTU = mask(NET.MTU);
export const VIRTIO_NET_F_MAC = mask(NET.MAC);
export const VIRTIO_NET_F_STATUS = mask(NET.STATUS);
export const VIRTIO_NET_F_CTRL_VQ = mask(NET.CTRL_VQ);
export const VIRTIO_NET_F_MQ = mask(NET.MQ);
export const VIRTIO_NET_F_CTRL_MAC_ADDR = mask(NET.CTRL_MAC_ADDR);
export const VIRTIO_NET_F_HASH_TUNNEL = mask(NET.HASH_TUNNEL);
export const VIRTIO_NET_F_HASH_REPORT = mask(NET.HASH_REPORT);
export const VIRTIO_NET_F_RSS = mask(NET.RSS);
export const VIRTIO_NET_F_SPEED_DUPLEX = mask(NET.SPEED_DUPLEX);

export const VIRTIO_BLK_F_SIZE_MAX = mask(BLK.SIZE_MAX);
export const VIRTIO_BLK_F_SEG_MAX = mask(BLK.SEG_MAX);
export const VIRTIO_BLK_F_GEOMETRY = mask(BLK.GEOMETRY);
export const VIRTIO_BLK_F_RO = mask(BLK.RO);
export const VIRTIO_BLK_F_BLK_SIZE = mask(BLK.BLK_SIZE);
export const VIRTIO_BLK_F_FLUSH = mask(BLK.FLUSH);
export const VIRTIO_BLK_F_TOPOLOGY = mask(BLK.TOPOLOGY);
export const VIRTIO_BLK_F_CONFIG_WCE = mask(BLK.CONFIG_WCE);
export const VIRTIO_BLK_F_MQ = mask(BLK.MQ);
export const VIRTIO_BLK_F_DISCARD = mask(BLK.DISCARD);
export const VIRTIO_BLK_F_WRITE_ZEROES = mask(BLK.WRITE_ZEROES);
export const VIRTIO_BLK_F_LIFETIME = mask(BLK.LIFETIME);
export const VIRTIO_BLK_F_SECURE_ERASE = mask(BLK.SECURE_ERASE);
export const VIRTIO_BLK_F_ZONED = mask(BLK.ZONED);

/** Short names, such as `VERSION_1`, `MAC`, lowest bit first; bits this device type has no name for as `BIT_57`. */
export function featureNames(deviceId: number, bits: bigint): string[] {
  return bitNames(register(deviceId), bits);
}

/**
 * The mask of all features given: names with or without VIRTIO_F_ / VIRTIO_NET_F_ / VIRTIO_BLK_F_, bit numbers, 0x masks
 * (see BitSpec). Throws ERR_VDPA_INVALID_ARGUMENT for what this device type does not know.
 */
export function featureBits(deviceId: number, specs: Iterable<BitSpec>): bigint {
  return bitMask(register(deviceId), specs);
}

function register(deviceId: number): BitRegister {
  const device = DEVICE_GROUPS[deviceId];
  return {
    what: `virtio ${deviceName(deviceId)} feature`,
    width: 64,
    groups: device ? [device, TRANSPORT_GROUP] : [TRANSPORT_GROUP],
  };
}
