/** Configuration spaces, from bytes laid out by hand after the specification's structures. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { VdpaError } from '../../lib/errors.js';
import { decodeConfig } from '../../lib/uapi/config.js';
import { BLK_CONFIG_OFFSETS, BLK_CONFIG_SIZE, decodeBlkConfig } from '../../lib/uapi/config-blk.js';
import { decodeNetConfig } from '../../lib/uapi/config-net.js';

const ALL = (1n << 64n) - 1n;

/** Bytes from hex, spaces and line ends ignored. */
function bytes(...lines: string[]): Uint8Array {
  return Uint8Array.from(Buffer.from(lines.join('').replace(/\s/g, ''), 'hex'));
}

// What vdpa_sim_blk serves: capacity 0x40000, size_max 0x1000, seg_max 32, blk_size 512, io sizes 1, num_queues 1.
const SIM_BLK = bytes(
  '0000040000000000', // capacity
  '00100000 20000000', // size_max, seg_max
  '0000 00 00', // geometry
  '00020000', // blk_size
  '00 00 0100 01000000', // topology
  '00 00 0100', // writeback, unused, num_queues
  'ffffffff 01000000 00020000', // discard
  'ffffffff 01000000 00 000000', // write zeroes
  '00000000 00000000 00000000', // secure erase
  '00000000 00000000 00000000 00000000 00000000 00 000000', // zoned
);
const SIM_BLK_FEATURES = 0x308007646n;

// Every field another value, so that no two offsets can be mistaken for each other.
const FULL_BLK = bytes(
  '0102030405060000', // capacity
  '11121314 15161718',
  '2122 23 24',
  '31323334',
  '41 42 4344 45464748',
  '01 ff 5152',
  '61626364 65666768 696a6b6c',
  '71727374 75767778 01 ffffff',
  '81828384 85868788 898a8b8c',
  '91929394 95969798 999a9b9c 9d9e9fa0 a1a2a3a4 01 ffffff',
);
const FULL_BLK_CONFIG = {
  capacity_sectors: 0x060504030201,
  size_max_bytes: 0x14131211,
  seg_max: 0x18171615,
  geometry: { cylinders: 0x2221, heads: 0x23, sectors: 0x24 },
  blk_size_bytes: 0x34333231,
  topology: {
    physical_block_exp: 0x41,
    alignment_offset_blocks: 0x42,
    min_io_size_blocks: 0x4443,
    opt_io_size_blocks: 0x48474645,
  },
  writeback: true,
  num_queues: 0x5251,
  max_discard_sectors: 0x64636261,
  max_discard_seg: 0x68676665,
  discard_sector_alignment: 0x6c6b6a69,
  max_write_zeroes_sectors: 0x74737271,
  max_write_zeroes_seg: 0x78777675,
  write_zeroes_may_unmap: true,
  max_secure_erase_sectors: 0x84838281,
  max_secure_erase_seg: 0x88878685,
  secure_erase_sector_alignment: 0x8c8b8a89,
  zoned: {
    zone_sectors: 0x94939291,
    max_open_zones: 0x98979695,
    max_active_zones: 0x9c9b9a99,
    max_append_sectors: 0xa09f9e9d,
    write_granularity_bytes: 0xa4a3a2a1,
    model: 'host-managed',
  },
};

// The feature bit, by number, that each field of a block device's configuration hangs on, and the byte it ends before.
const BLK_FIELDS: Record<keyof typeof FULL_BLK_CONFIG, { bit?: number; end: number }> = {
  capacity_sectors: { end: 8 },
  size_max_bytes: { bit: 1, end: 12 },
  seg_max: { bit: 2, end: 16 },
  geometry: { bit: 4, end: 20 },
  blk_size_bytes: { bit: 6, end: 24 },
  topology: { bit: 10, end: 32 },
  writeback: { bit: 11, end: 33 },
  num_queues: { bit: 12, end: 36 },
  max_discard_sectors: { bit: 13, end: 40 },
  max_discard_seg: { bit: 13, end: 44 },
  discard_sector_alignment: { bit: 13, end: 48 },
  max_write_zeroes_sectors: { bit: 14, end: 52 },
  max_write_zeroes_seg: { bit: 14, end: 56 },
  write_zeroes_may_unmap: { bit: 14, end: 57 },
  max_secure_erase_sectors: { bit: 16, end: 64 },
  max_secure_erase_seg: { bit: 16, end: 68 },
  secure_erase_sector_alignment: { bit: 16, end: 72 },
  zoned: { bit: 17, end: 96 },
};

// What vdpa_sim_net serves, with a MAC address given.
const SIM_NET = bytes('020000000001', '0100', '0000', 'dc05', '00000000', '00', '00', '0000', '00000000');
const SIM_NET_FEATURES = 0x308830028n;

const FULL_NET = bytes('525400abcdef', '0380', '0400', '2823', 'a8610000', '01', '28', '8000', 'ff010080', 'ff030000');
const FULL_NET_CONFIG = {
  mac: '52:54:00:ab:cd:ef',
  status: ['LINK_UP', 'ANNOUNCE', 'BIT_15'],
  max_virtqueue_pairs: 4,
  mtu: 9000,
  speed_mbps: 25000,
  duplex: 'full',
  rss_max_key_size_bytes: 40,
  rss_max_indirection_table_length: 128,
  supported_hash_types: 'IPv4 TCPv4 UDPv4 IPv6 TCPv6 UDPv6 IP_EX TCP_EX UDP_EX BIT_31'.split(' '),
  supported_tunnel_types: 'GRE_2784 GRE_2890 GRE_7676 GRE_UDP VXLAN VXLAN_GPE GENEVE IPIP NVGRE BIT_9'.split(' '),
};
const NET_FIELDS: Record<keyof typeof FULL_NET_CONFIG, { bits: readonly number[]; end: number }> = {
  mac: { bits: [5], end: 6 },
  status: { bits: [16], end: 8 },
  max_virtqueue_pairs: { bits: [22, 60], end: 10 },
  mtu: { bits: [3], end: 12 },
  speed_mbps: { bits: [63], end: 16 },
  duplex: { bits: [63], end: 17 },
  rss_max_key_size_bytes: { bits: [57, 60], end: 18 },
  rss_max_indirection_table_length: { bits: [60], end: 20 },
  supported_hash_types: { bits: [57, 60], end: 24 },
  supported_tunnel_types: { bits: [51], end: 28 },
};

/** The members of `config` whose fields end within `length` and hang on one of `features`. */
function visible(
  config: object,
  fields: Record<string, { bits: readonly number[]; end: number }>,
  length: number,
  features: bigint,
) {
  const offered = (bits: readonly number[]) => bits.length === 0 || bits.some(bit => (features >> BigInt(bit)) & 1n);
  return Object.fromEntries(
    Object.entries(config).filter(([key]) => fields[key].end <= length && offered(fields[key].bits)),
  );
}

describe('a block device', () => {
  const fields = Object.fromEntries(
    Object.entries(BLK_FIELDS).map(([key, { bit, end }]) => [key, { bits: bit === undefined ? [] : [bit], end }]),
  );

  it('as vdpa_sim serves it', () => {
    expect(SIM_BLK.length).toBe(BLK_CONFIG_SIZE);
    expect(decodeBlkConfig(SIM_BLK, SIM_BLK_FEATURES)).toStrictEqual({
      capacity_sectors: 0x40000,
      size_max_bytes: 0x1000,
      seg_max: 32,
      blk_size_bytes: 512,
      topology: { physical_block_exp: 0, alignment_offset_blocks: 0, min_io_size_blocks: 1, opt_io_size_blocks: 1 },
      num_queues: 1,
      max_discard_sectors: 0xffffffff,
      max_discard_seg: 1,
      discard_sector_alignment: 512,
      max_write_zeroes_sectors: 0xffffffff,
      max_write_zeroes_seg: 1,
      write_zeroes_may_unmap: false,
    });
  });

  it('with every feature', () => {
    expect(decodeBlkConfig(FULL_BLK, ALL)).toStrictEqual(FULL_BLK_CONFIG);
  });

  it('with any feature bits and any length gives what is offered and there, no more', () => {
    fc.assert(
      fc.property(fc.nat(BLK_CONFIG_SIZE), fc.bigInt(0n, ALL), (length, features) => {
        const expected = visible(FULL_BLK_CONFIG, fields, length, features);
        expect(decodeBlkConfig(FULL_BLK.subarray(0, length), features)).toStrictEqual(expected);
      }),
      { numRuns: 1000 },
    );
  });

  it('reads a window of a larger buffer, and not around it', () => {
    const around = new Uint8Array(BLK_CONFIG_SIZE + 16).fill(0xee);
    around.set(FULL_BLK, 8);
    expect(decodeBlkConfig(around.subarray(8, 8 + BLK_CONFIG_SIZE), ALL)).toStrictEqual(FULL_BLK_CONFIG);
  });

  it('names the zoned models, and numbers the others', () => {
    const models = [0, 1, 2, 9].map(model => {
      const config = FULL_BLK.slice();
      config[92] = model;
      return decodeBlkConfig(config, ALL).zoned?.model;
    });
    expect(models).toEqual(['none', 'host-managed', 'host-aware', 'model 9']);
  });

  it('refuses a capacity that numbers cannot hold, and takes the largest they can', () => {
    const largest = bytes('ffffffffffff1f00');
    expect(decodeBlkConfig(largest, 0n).capacity_sectors).toBe(Number.MAX_SAFE_INTEGER);
    const refused = () => decodeBlkConfig(bytes('0000000000002000'), 0n);
    expect(refused).toThrow(VdpaError);
    expect(refused).toThrow(/0x20000000000000/);
  });

  it('has the offsets of struct virtio_blk_config', () => {
    expect(BLK_CONFIG_OFFSETS).toMatchObject({
      capacity: 0,
      geometry: 16,
      topology: 24,
      writeback: 32,
      num_queues: 34,
      zoned: 72,
    });
  });
});

describe('a network device', () => {
  it('as vdpa_sim serves it', () => {
    expect(SIM_NET.length).toBe(24);
    expect(decodeNetConfig(SIM_NET, SIM_NET_FEATURES)).toStrictEqual({
      mac: '02:00:00:00:00:01',
      status: ['LINK_UP'],
      mtu: 1500,
    });
  });

  it('with every feature', () => {
    expect(decodeNetConfig(FULL_NET, ALL)).toStrictEqual(FULL_NET_CONFIG);
  });

  it('with any feature bits and any length gives what is offered and there, no more', () => {
    fc.assert(
      fc.property(fc.nat(FULL_NET.length), fc.bigInt(0n, ALL), (length, features) => {
        const expected = visible(FULL_NET_CONFIG, NET_FIELDS, length, features);
        expect(decodeNetConfig(FULL_NET.subarray(0, length), features)).toStrictEqual(expected);
      }),
      { numRuns: 1000 },
    );
  });

  it.each([
    ['00000000', '00', 0, 'half'],
    ['ffffff7f', '01', 0x7fffffff, 'full'],
    ['00000080', '02', 'unknown', 'unknown'],
    ['ffffffff', 'ff', 'unknown', 'unknown'],
  ])('speed %s and duplex %s', (speedBytes, duplexByte, speed_mbps, duplex) => {
    const config = bytes('000000000000', '0000', '0000', '0000', speedBytes, duplexByte);
    expect(decodeNetConfig(config, 1n << 63n)).toStrictEqual({ speed_mbps, duplex });
  });
});

describe('by device type', () => {
  it('net and blk have a decoder, others none', () => {
    expect(decodeConfig(1, SIM_NET, SIM_NET_FEATURES)).toEqual({
      type: 'net',
      config: decodeNetConfig(SIM_NET, SIM_NET_FEATURES),
    });
    expect(decodeConfig(2, SIM_BLK, SIM_BLK_FEATURES)).toEqual({
      type: 'blk',
      config: decodeBlkConfig(SIM_BLK, SIM_BLK_FEATURES),
    });
    expect(decodeConfig(26, SIM_BLK, ALL)).toBeUndefined();
  });
});
