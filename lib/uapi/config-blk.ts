/** The configuration space of a block device (virtio 1.4 §5.2.4, struct virtio_blk_config). */
import { ConfigReader, given } from './config-reader.js';
import {
  VIRTIO_BLK_F_BLK_SIZE,
  VIRTIO_BLK_F_CONFIG_WCE,
  VIRTIO_BLK_F_DISCARD,
  VIRTIO_BLK_F_GEOMETRY,
  VIRTIO_BLK_F_MQ,
  VIRTIO_BLK_F_SECURE_ERASE,
  VIRTIO_BLK_F_SEG_MAX,
  VIRTIO_BLK_F_SIZE_MAX,
  VIRTIO_BLK_F_TOPOLOGY,
  VIRTIO_BLK_F_WRITE_ZEROES,
  VIRTIO_BLK_F_ZONED,
} from './features.js';

/** Bytes of the whole structure; an older device gives fewer. */
export const BLK_CONFIG_SIZE = 96;

/** Byte offsets of fields. The sizes are those of virtio_blk_config. */
export const BLK_CONFIG_OFFSETS = {
  capacity: 0,
  size_max: 8,
  seg_max: 12,
  geometry: 16,
  blk_size: 20,
  topology: 24,
  writeback: 32,
  num_queues: 34,
  max_discard_sectors: 36,
  max_discard_seg: 40,
  discard_sector_alignment: 44,
  max_write_zeroes_sectors: 48,
  max_write_zeroes_seg: 52,
  write_zeroes_may_unmap: 56,
  max_secure_erase_sectors: 60,
  max_secure_erase_seg: 64,
  secure_erase_sector_alignment: 68,
  zoned: 72,
} as const;

/** Values as the device gives them, unchecked. Sectors are of 512 bytes everywhere; blocks are of `blk_size_bytes`. */
export interface BlkConfig {
  readonly capacity_sectors?: number;
  /** Largest segment, and the most segments, of a request. */
  readonly size_max_bytes?: number;
  readonly seg_max?: number;
  readonly geometry?: { readonly cylinders: number; readonly heads: number; readonly sectors: number };
  readonly blk_size_bytes?: number;
  readonly topology?: BlkTopology;
  /** True: writeback, so that only FLUSH makes data durable. False: writethrough. */
  readonly writeback?: boolean;
  readonly num_queues?: number;
  readonly max_discard_sectors?: number;
  readonly max_discard_seg?: number;
  /** In sectors. */
  readonly discard_sector_alignment?: number;
  readonly max_write_zeroes_sectors?: number;
  readonly max_write_zeroes_seg?: number;
  readonly write_zeroes_may_unmap?: boolean;
  readonly max_secure_erase_sectors?: number;
  readonly max_secure_erase_seg?: number;
  /** In sectors. */
  readonly secure_erase_sector_alignment?: number;
  readonly zoned?: BlkZoned;
}

export interface BlkTopology {
  /** A physical block is 2^exp logical blocks. */
  readonly physical_block_exp: number;
  readonly alignment_offset_blocks: number;
  readonly min_io_size_blocks: number;
  readonly opt_io_size_blocks: number;
}

export interface BlkZoned {
  readonly zone_sectors: number;
  readonly max_open_zones: number;
  readonly max_active_zones: number;
  readonly max_append_sectors: number;
  readonly write_granularity_bytes: number;
  /** `none`, `host-managed`, `host-aware`, or `model 7` for one the spec does not have. */
  readonly model: string;
}

/**
 * Decodes what the device gives under the features it offers: a key is missing when its feature is not offered or the bytes
 * end before it. Throws ERR_VDPA_UNSUPPORTED for a capacity above 2^53-1 sectors.
 */
export function decodeBlkConfig(bytes: Uint8Array, features: bigint): BlkConfig {
  const config = new ConfigReader(bytes, features);
  const at = BLK_CONFIG_OFFSETS;
  return given({
    capacity_sectors: config.u64(at.capacity),
    size_max_bytes: config.u32(at.size_max, VIRTIO_BLK_F_SIZE_MAX),
    seg_max: config.u32(at.seg_max, VIRTIO_BLK_F_SEG_MAX),
    geometry: config.read(at.geometry, 4, VIRTIO_BLK_F_GEOMETRY, view => ({
      cylinders: view.getUint16(0, true),
      heads: view.getUint8(2),
      sectors: view.getUint8(3),
    })),
    blk_size_bytes: config.u32(at.blk_size, VIRTIO_BLK_F_BLK_SIZE),
    topology: config.read(at.topology, 8, VIRTIO_BLK_F_TOPOLOGY, topology),
    writeback: flag(config.u8(at.writeback, VIRTIO_BLK_F_CONFIG_WCE)),
    num_queues: config.u16(at.num_queues, VIRTIO_BLK_F_MQ),
    max_discard_sectors: config.u32(at.max_discard_sectors, VIRTIO_BLK_F_DISCARD),
    max_discard_seg: config.u32(at.max_discard_seg, VIRTIO_BLK_F_DISCARD),
    discard_sector_alignment: config.u32(at.discard_sector_alignment, VIRTIO_BLK_F_DISCARD),
    max_write_zeroes_sectors: config.u32(at.max_write_zeroes_sectors, VIRTIO_BLK_F_WRITE_ZEROES),
    max_write_zeroes_seg: config.u32(at.max_write_zeroes_seg, VIRTIO_BLK_F_WRITE_ZEROES),
    write_zeroes_may_unmap: flag(config.u8(at.write_zeroes_may_unmap, VIRTIO_BLK_F_WRITE_ZEROES)),
    max_secure_erase_sectors: config.u32(at.max_secure_erase_sectors, VIRTIO_BLK_F_SECURE_ERASE),
    max_secure_erase_seg: config.u32(at.max_secure_erase_seg, VIRTIO_BLK_F_SECURE_ERASE),
    secure_erase_sector_alignment: config.u32(at.secure_erase_sector_alignment, VIRTIO_BLK_F_SECURE_ERASE),
    zoned: config.read(at.zoned, 24, VIRTIO_BLK_F_ZONED, zoned),
  });
}

function flag(value: number | undefined): boolean | undefined {
  return value === undefined ? undefined : value !== 0;
}

/** struct virtio_blk_topology: u8, u8, u16, u32. */
function topology(view: DataView): BlkTopology {
  return {
    physical_block_exp: view.getUint8(0),
    alignment_offset_blocks: view.getUint8(1),
    min_io_size_blocks: view.getUint16(2, true),
    opt_io_size_blocks: view.getUint32(4, true),
  };
}

const ZONED_MODELS: Readonly<Record<number, string>> = { 0: 'none', 1: 'host-managed', 2: 'host-aware' };

/** struct virtio_blk_zoned_characteristics: five u32, u8 model, three unused bytes. */
function zoned(view: DataView): BlkZoned {
  const model = view.getUint8(20);
  return {
    zone_sectors: view.getUint32(0, true),
    max_open_zones: view.getUint32(4, true),
    max_active_zones: view.getUint32(8, true),
    max_append_sectors: view.getUint32(12, true),
    write_granularity_bytes: view.getUint32(16, true),
    model: ZONED_MODELS[model] ?? `model ${model}`,
  };
}
