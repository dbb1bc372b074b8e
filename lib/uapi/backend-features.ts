/**
 * Backend features: what the vhost-vdpa interface itself can do, apart from the virtio device behind it
 * (VHOST_GET_BACKEND_FEATURES; linux/vhost_types.h).
 */
import { type BitRegister, type BitSpec, bitMask, bitNames, mask } from './bits.js';

const BITS = {
  IOTLB_MSG_V2: 1,
  IOTLB_BATCH: 2,
  IOTLB_ASID: 3,
  SUSPEND: 4,
  RESUME: 5,
  ENABLE_AFTER_DRIVER_OK: 6,
  DESC_ASID: 7,
  IOTLB_PERSIST: 8,
} as const;

/** IOTLB messages are `struct vhost_msg_v2`. Offered by every kernel. */
export const VHOST_BACKEND_F_IOTLB_MSG_V2 = mask(BITS.IOTLB_MSG_V2);
/** BATCH_BEGIN and BATCH_END are understood. Offered even where they change nothing. */
export const VHOST_BACKEND_F_IOTLB_BATCH = mask(BITS.IOTLB_BATCH);
/** Messages carry an address space; until this is acknowledged the kernel ignores theirs and uses 0. */
export const VHOST_BACKEND_F_IOTLB_ASID = mask(BITS.IOTLB_ASID);
/** VHOST_VDPA_SUSPEND works on this device (Linux 6.0). */
export const VHOST_BACKEND_F_SUSPEND = mask(BITS.SUSPEND);
/** VHOST_VDPA_RESUME works on this device (Linux 6.3). */
export const VHOST_BACKEND_F_RESUME = mask(BITS.RESUME);
/** Queues may be enabled after DRIVER_OK (Linux 6.6). */
export const VHOST_BACKEND_F_ENABLE_AFTER_DRIVER_OK = mask(BITS.ENABLE_AFTER_DRIVER_OK);
/** Ring areas may live in another address space than the buffers (Linux 6.7). Needs IOTLB_ASID acknowledged as well. */
export const VHOST_BACKEND_F_DESC_ASID = mask(BITS.DESC_ASID);
/** Once acknowledged, the device keeps its mappings through a reset (Linux 6.7). */
export const VHOST_BACKEND_F_IOTLB_PERSIST = mask(BITS.IOTLB_PERSIST);

const REGISTER: BitRegister = {
  what: 'backend feature',
  width: 64,
  groups: [{ prefixes: ['VHOST_BACKEND_F_'], bits: BITS }],
};

/** Short names, such as `IOTLB_PERSIST`, lowest bit first; unknown bits as `BIT_57`. */
export function backendFeatureNames(bits: bigint): string[] {
  return bitNames(REGISTER, bits);
}

/** The mask of all features given (see BitSpec). Throws ERR_VDPA_INVALID_ARGUMENT. */
export function backendFeatureBits(specs: Iterable<BitSpec>): bigint {
  return bitMask(REGISTER, specs);
}
