/**
 * Virtio block requests (virtio 1.4 §5.2.6, linux/virtio_blk.h). A request is a header the device reads, data it reads or
 * writes, and one status byte it writes. All fields are little-endian.
 */

/** Unit of every sector number and of the capacity, whatever the block size is. */
export const VIRTIO_BLK_SECTOR_SIZE = 512;

/** Header: u32 type, u32 reserved (0), u64 sector. */
export const VIRTIO_BLK_HEADER_SIZE = 16;
export const VIRTIO_BLK_HEADER_TYPE = 0;
export const VIRTIO_BLK_HEADER_RESERVED = 4;
export const VIRTIO_BLK_HEADER_SECTOR = 8;

/** The status is the last byte the device may write. */
export const VIRTIO_BLK_STATUS_SIZE = 1;

/** The device writes data. */
export const VIRTIO_BLK_T_IN = 0;
/** The device reads data. */
export const VIRTIO_BLK_T_OUT = 1;
/** Needs VIRTIO_BLK_F_FLUSH; sector must be 0. */
export const VIRTIO_BLK_T_FLUSH = 4;
/** The device writes VIRTIO_BLK_ID_BYTES of name, padded with zeroes. */
export const VIRTIO_BLK_T_GET_ID = 8;
export const VIRTIO_BLK_T_GET_LIFETIME = 10;
export const VIRTIO_BLK_T_DISCARD = 11;
export const VIRTIO_BLK_T_WRITE_ZEROES = 13;
export const VIRTIO_BLK_T_SECURE_ERASE = 14;

export const VIRTIO_BLK_S_OK = 0;
export const VIRTIO_BLK_S_IOERR = 1;
export const VIRTIO_BLK_S_UNSUPP = 2;

export const VIRTIO_BLK_ID_BYTES = 20;

/** One segment of DISCARD, WRITE_ZEROES and SECURE_ERASE: u64 sector, u32 num_sectors, u32 flags. */
export const VIRTIO_BLK_RANGE_SIZE = 16;
export const VIRTIO_BLK_RANGE_SECTOR = 0;
export const VIRTIO_BLK_RANGE_NUM_SECTORS = 8;
export const VIRTIO_BLK_RANGE_FLAGS = 12;
/** WRITE_ZEROES may deallocate the sectors. */
export const VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP = 1;

const TYPES: Readonly<Record<number, string>> = {
  [VIRTIO_BLK_T_IN]: 'IN',
  [VIRTIO_BLK_T_OUT]: 'OUT',
  [VIRTIO_BLK_T_FLUSH]: 'FLUSH',
  [VIRTIO_BLK_T_GET_ID]: 'GET_ID',
  [VIRTIO_BLK_T_GET_LIFETIME]: 'GET_LIFETIME',
  [VIRTIO_BLK_T_DISCARD]: 'DISCARD',
  [VIRTIO_BLK_T_WRITE_ZEROES]: 'WRITE_ZEROES',
  [VIRTIO_BLK_T_SECURE_ERASE]: 'SECURE_ERASE',
};

const STATUSES: Readonly<Record<number, string>> = {
  [VIRTIO_BLK_S_OK]: 'OK',
  [VIRTIO_BLK_S_IOERR]: 'IOERR',
  [VIRTIO_BLK_S_UNSUPP]: 'UNSUPP',
};

/** `IN`, `OUT`, …; `TYPE_99` for another. */
export function blkTypeName(type: number): string {
  return TYPES[type] ?? `TYPE_${type}`;
}

/** `OK`, `IOERR`, `UNSUPP`; `STATUS_255` for another. */
export function blkStatusName(status: number): string {
  return STATUSES[status] ?? `STATUS_${status}`;
}
