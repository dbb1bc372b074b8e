import { describe, expect, it } from 'vitest';
import { addon } from './native-support.js';

// Typed from the kernel's headers, in the order of the table: name, request number, bytes of argument (-1: the entry's own).
const EXPECTED: [string, number, number][] = [
  ['open', 0, -1],
  ['close', 0, 0],
  ['VHOST_GET_FEATURES', 0x8008af00, 8],
  ['VHOST_SET_FEATURES', 0x4008af00, 8],
  ['VHOST_SET_OWNER', 0xaf01, 0],
  ['VHOST_RESET_OWNER', 0xaf02, 0],
  ['VHOST_SET_MEM_TABLE', 0x4008af03, 8],
  ['VHOST_SET_LOG_BASE', 0x4008af04, 8],
  ['VHOST_SET_LOG_FD', 0x4004af07, 4],
  ['VHOST_SET_VRING_NUM', 0x4008af10, 8],
  ['VHOST_SET_VRING_ADDR', 0x4028af11, 40],
  ['VHOST_SET_VRING_BASE', 0x4008af12, 8],
  ['VHOST_GET_VRING_BASE', 0xc008af12, 8],
  ['VHOST_SET_VRING_ENDIAN', 0x4008af13, 8],
  ['VHOST_GET_VRING_ENDIAN', 0x4008af14, 8],
  ['VHOST_SET_VRING_KICK', 0x4008af20, 8],
  ['VHOST_SET_VRING_CALL', 0x4008af21, 8],
  ['VHOST_SET_VRING_ERR', 0x4008af22, 8],
  ['VHOST_SET_VRING_BUSYLOOP_TIMEOUT', 0x4008af23, 8],
  ['VHOST_GET_VRING_BUSYLOOP_TIMEOUT', 0x4008af24, 8],
  ['VHOST_SET_BACKEND_FEATURES', 0x4008af25, 8],
  ['VHOST_GET_BACKEND_FEATURES', 0x8008af26, 8],
  ['VHOST_VDPA_GET_DEVICE_ID', 0x8004af70, 4],
  ['VHOST_VDPA_GET_STATUS', 0x8001af71, 1],
  ['VHOST_VDPA_SET_STATUS', 0x4001af72, 1],
  ['VHOST_VDPA_GET_CONFIG', 0x8008af73, -1],
  ['VHOST_VDPA_SET_CONFIG', 0x4008af74, -1],
  ['VHOST_VDPA_SET_VRING_ENABLE', 0x4008af75, 8],
  ['VHOST_VDPA_GET_VRING_NUM', 0x8002af76, 2],
  ['VHOST_VDPA_SET_CONFIG_CALL', 0x4004af77, 4],
  ['VHOST_VDPA_GET_IOVA_RANGE', 0x8010af78, 16],
  ['VHOST_VDPA_GET_CONFIG_SIZE', 0x8004af79, 4],
  ['VHOST_VDPA_GET_AS_NUM', 0x8004af7a, 4],
  ['VHOST_VDPA_GET_VRING_GROUP', 0xc008af7b, 8],
  ['VHOST_VDPA_SET_GROUP_ASID', 0x4008af7c, 8],
  ['VHOST_VDPA_SUSPEND', 0xaf7d, 0],
  ['VHOST_VDPA_RESUME', 0xaf7e, 0],
  ['VHOST_VDPA_GET_VRING_DESC_GROUP', 0xc008af7f, 8],
  ['VHOST_VDPA_GET_VQS_COUNT', 0x8004af80, 4],
  ['VHOST_VDPA_GET_GROUP_NUM', 0x8004af81, 4],
  ['VHOST_VDPA_GET_VRING_SIZE', 0xc008af82, 8],
  ['VHOST_SET_FORK_FROM_OWNER', 0x4001af84, 1],
  ['VHOST_GET_FORK_FROM_OWNER', 0x8001af85, 1],
  ['VHOST_IOTLB_UPDATE', 0, 40],
  ['VHOST_IOTLB_INVALIDATE', 0, 40],
  ['VHOST_IOTLB_BATCH_BEGIN', 0, 40],
  ['VHOST_IOTLB_BATCH_END', 0, 40],
];

describe('the table of requests', () => {
  it('has the kernel’s numbers and argument sizes', () => {
    expect(addon.requests().map(({ name, number, size }) => [name, number, size])).toEqual(EXPECTED);
  });
});
