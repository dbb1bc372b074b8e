/** Layouts of rings, block requests and IOTLB messages against literals of the specification and of linux/vhost_types.h. */
import { describe, expect, it } from 'vitest';
import * as iotlb from '../../lib/uapi/iotlb.js';
import * as blk from '../../lib/uapi/virtio-blk.js';
import * as ring from '../../lib/uapi/virtio-ring.js';

describe('the split ring', () => {
  it('has the flags, sizes and alignments of virtio §2.7', () => {
    expect(ring).toMatchObject({
      VIRTQ_DESC_F_NEXT: 1,
      VIRTQ_DESC_F_WRITE: 2,
      VIRTQ_DESC_F_INDIRECT: 4,
      VIRTQ_AVAIL_F_NO_INTERRUPT: 1,
      VIRTQ_USED_F_NO_NOTIFY: 1,
      VIRTQ_DESC_SIZE: 16,
      VIRTQ_USED_ELEM_SIZE: 8,
      VIRTQ_RING_OFFSET: 4,
      VIRTQ_MAX_SIZE: 32768,
      VIRTQ_DESC_ALIGN: 16,
      VIRTQ_AVAIL_ALIGN: 2,
      VIRTQ_USED_ALIGN: 4,
    });
  });

  it.each([
    [1, 16, 8, 14],
    [2, 32, 10, 22],
    [256, 4096, 518, 2054],
    [32768, 524288, 65542, 262150],
  ])('of %i entries', (n, desc, avail, used) => {
    expect([ring.splitDescSize(n), ring.splitAvailSize(n), ring.splitUsedSize(n)]).toEqual([desc, avail, used]);
  });

  it('ends both rings with their event index, two bytes', () => {
    for (const n of [1, 8, 32768]) {
      expect(ring.usedEventOffset(n)).toBe(ring.splitAvailSize(n) - 2);
      expect(ring.availEventOffset(n)).toBe(ring.splitUsedSize(n) - 2);
    }
  });

  it('has a size that is a power of two up to 32768', () => {
    expect([1, 2, 256, 32768].every(ring.isQueueSize)).toBe(true);
    expect([0, -1, 3, 1.5, 65536, 2 ** 32, Number.NaN].some(ring.isQueueSize)).toBe(false);
  });
});

describe('a block request', () => {
  it('has the numbers of linux/virtio_blk.h', () => {
    expect(blk).toMatchObject({
      VIRTIO_BLK_SECTOR_SIZE: 512,
      VIRTIO_BLK_HEADER_SIZE: 16,
      VIRTIO_BLK_HEADER_TYPE: 0,
      VIRTIO_BLK_HEADER_RESERVED: 4,
      VIRTIO_BLK_HEADER_SECTOR: 8,
      VIRTIO_BLK_STATUS_SIZE: 1,
      VIRTIO_BLK_ID_BYTES: 20,
      VIRTIO_BLK_RANGE_SIZE: 16,
      VIRTIO_BLK_RANGE_SECTOR: 0,
      VIRTIO_BLK_RANGE_NUM_SECTORS: 8,
      VIRTIO_BLK_RANGE_FLAGS: 12,
      VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP: 1,
    });
  });

  it('has names for its types and statuses', () => {
    const types = [blk.VIRTIO_BLK_T_IN, blk.VIRTIO_BLK_T_OUT, blk.VIRTIO_BLK_T_FLUSH, blk.VIRTIO_BLK_T_GET_ID];
    expect(types).toEqual([0, 1, 4, 8]);
    expect([0, 1, 4, 8, 10, 11, 13, 14, 2].map(blk.blkTypeName)).toEqual(
      'IN OUT FLUSH GET_ID GET_LIFETIME DISCARD WRITE_ZEROES SECURE_ERASE TYPE_2'.split(' '),
    );
    expect([0, 1, 2, 255].map(blk.blkStatusName)).toEqual(['OK', 'IOERR', 'UNSUPP', 'STATUS_255']);
  });
});

describe('an IOTLB message', () => {
  it('is struct vhost_msg_v2', () => {
    expect(iotlb.IOTLB_MSG_SIZE).toBe(72);
    expect(iotlb.IOTLB_MSG_OFFSETS).toEqual({
      type: 0,
      asid: 4,
      iova: 8,
      size: 16,
      uaddr: 24,
      perm: 32,
      iotlbType: 33,
    });
    expect(iotlb).toMatchObject({
      VHOST_IOTLB_MSG_V2: 2,
      VHOST_IOTLB_UPDATE: 2,
      VHOST_IOTLB_INVALIDATE: 3,
      VHOST_IOTLB_BATCH_BEGIN: 5,
      VHOST_IOTLB_BATCH_END: 6,
    });
  });
});
