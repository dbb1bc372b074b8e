/** The configuration space of a network device (virtio 1.4 §5.1.4, struct virtio_net_config). */
import { type BitRegister, bitNames } from './bits.js';
import { ConfigReader, given } from './config-reader.js';
import {
  VIRTIO_NET_F_HASH_REPORT,
  VIRTIO_NET_F_HASH_TUNNEL,
  VIRTIO_NET_F_MAC,
  VIRTIO_NET_F_MQ,
  VIRTIO_NET_F_MTU,
  VIRTIO_NET_F_RSS,
  VIRTIO_NET_F_SPEED_DUPLEX,
  VIRTIO_NET_F_STATUS,
} from './features.js';

/** Byte offsets of fields. The sizes are those of virtio_net_config. */
export const NET_CONFIG_OFFSETS = {
  mac: 0,
  status: 6,
  max_virtqueue_pairs: 8,
  mtu: 10,
  speed: 12,
  duplex: 16,
  rss_max_key_size: 17,
  rss_max_indirection_table_length: 18,
  supported_hash_types: 20,
  supported_tunnel_types: 24,
} as const;

/** Values as the device gives them, unchecked. */
export interface NetConfig {
  /** `02:00:00:00:00:01`. */
  readonly mac?: string;
  /** Names of the bits set: LINK_UP, ANNOUNCE. */
  readonly status?: readonly string[];
  readonly max_virtqueue_pairs?: number;
  /** Bytes of payload, without the Ethernet header. */
  readonly mtu?: number;
  readonly speed_mbps?: number | 'unknown';
  readonly duplex?: 'half' | 'full' | 'unknown';
  readonly rss_max_key_size_bytes?: number;
  /** In entries of 16 bits. */
  readonly rss_max_indirection_table_length?: number;
  /** Names of VIRTIO_NET_HASH_TYPE_*: IPv4, TCPv4, … */
  readonly supported_hash_types?: readonly string[];
  /** Names of VIRTIO_NET_HASH_TUNNEL_TYPE_*: VXLAN, GENEVE, … */
  readonly supported_tunnel_types?: readonly string[];
}

const STATUS: BitRegister = {
  what: 'network status bit',
  width: 16,
  groups: [{ prefixes: ['VIRTIO_NET_S_'], bits: { LINK_UP: 0, ANNOUNCE: 1 } }],
};

const HASH_TYPES: BitRegister = {
  what: 'hash type',
  width: 32,
  groups: [
    {
      prefixes: ['VIRTIO_NET_HASH_TYPE_'],
      bits: { IPv4: 0, TCPv4: 1, UDPv4: 2, IPv6: 3, TCPv6: 4, UDPv6: 5, IP_EX: 6, TCP_EX: 7, UDP_EX: 8 },
    },
  ],
};

const TUNNEL_TYPES: BitRegister = {
  what: 'tunnel type',
  width: 32,
  groups: [
    {
      prefixes: ['VIRTIO_NET_HASH_TUNNEL_TYPE_'],
      bits: {
        GRE_2784: 0,
        GRE_2890: 1,
        GRE_7676: 2,
        GRE_UDP: 3,
        VXLAN: 4,
        VXLAN_GPE: 5,
        GENEVE: 6,
        IPIP: 7,
        NVGRE: 8,
      },
    },
  ],
};

const HASHING = VIRTIO_NET_F_RSS | VIRTIO_NET_F_HASH_REPORT;

/**
 * Decodes what the device gives under the features it offers: a key is missing when its feature is not offered or the bytes
 * end before it.
 */
export function decodeNetConfig(bytes: Uint8Array, features: bigint): NetConfig {
  const config = new ConfigReader(bytes, features);
  const at = NET_CONFIG_OFFSETS;
  return given({
    mac: config.read(at.mac, 6, VIRTIO_NET_F_MAC, mac),
    status: names(STATUS, config.u16(at.status, VIRTIO_NET_F_STATUS)),
    max_virtqueue_pairs: config.u16(at.max_virtqueue_pairs, VIRTIO_NET_F_MQ | VIRTIO_NET_F_RSS),
    mtu: config.u16(at.mtu, VIRTIO_NET_F_MTU),
    speed_mbps: config.read(at.speed, 4, VIRTIO_NET_F_SPEED_DUPLEX, speed),
    duplex: config.read(at.duplex, 1, VIRTIO_NET_F_SPEED_DUPLEX, duplex),
    rss_max_key_size_bytes: config.u8(at.rss_max_key_size, HASHING),
    rss_max_indirection_table_length: config.u16(at.rss_max_indirection_table_length, VIRTIO_NET_F_RSS),
    supported_hash_types: names(HASH_TYPES, config.u32(at.supported_hash_types, HASHING)),
    supported_tunnel_types: names(TUNNEL_TYPES, config.u32(at.supported_tunnel_types, VIRTIO_NET_F_HASH_TUNNEL)),
  });
}

function mac(view: DataView): string {
  return Array.from({ length: 6 }, (_, byte) => view.getUint8(byte).toString(16).padStart(2, '0')).join(':');
}

/** 0 to 0x7fffffff; anything else means that the device does not know. */
function speed(view: DataView): number | 'unknown' {
  const value = view.getUint32(0, true);
  return value <= 0x7fffffff ? value : 'unknown';
}

/** The spec's normative paragraph swaps 0 and 1; its layout section and every implementation have 1 as full. */
function duplex(view: DataView): 'half' | 'full' | 'unknown' {
  return (['half', 'full'] as const)[view.getUint8(0)] ?? 'unknown';
}

function names(register: BitRegister, value: number | undefined): readonly string[] | undefined {
  return value === undefined ? undefined : bitNames(register, BigInt(value));
}
