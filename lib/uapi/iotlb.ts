/** IOTLB messages: what write(2) on a vhost-vdpa file takes (`struct vhost_msg_v2`, linux/vhost_types.h). */
import type { Permission } from './operation.js';

/** The outer type of a message; version 1 (type 1) has no address space. */
export const VHOST_IOTLB_MSG_V2 = 2;

/** Types of the inner message. 1 (MISS) and 4 (ACCESS_FAIL) go from the kernel to user space and never occur with vDPA. */
export const VHOST_IOTLB_UPDATE = 2;
export const VHOST_IOTLB_INVALIDATE = 3;
export const VHOST_IOTLB_BATCH_BEGIN = 5;
export const VHOST_IOTLB_BATCH_END = 6;

/** Bytes of a message. The kernel reads 40 of them and always answers 72, so a shorter write cannot be told from a whole one. */
export const IOTLB_MSG_SIZE = 72;

/** Byte offsets in a message, all little-endian on the machines vDPA exists for: u32, u32, u64, u64, u64, u8, u8. */
export const IOTLB_MSG_OFFSETS = {
  type: 0,
  asid: 4,
  iova: 8,
  size: 16,
  uaddr: 24,
  perm: 32,
  iotlbType: 33,
} as const;

/** VHOST_ACCESS_*: what the device may do with a mapping. There is no 0: a mapping without access fails late. */
const ACCESS: Readonly<Record<Permission, number>> = { ro: 1, wo: 2, rw: 3 };

export function accessOf(perm: Permission): number {
  return ACCESS[perm];
}

/** Undefined for anything but 1, 2 and 3. */
export function permissionOf(access: number): Permission | undefined {
  return (Object.keys(ACCESS) as Permission[]).find(perm => ACCESS[perm] === access);
}

/** Whether a mapping of permission `held` allows every access of `wanted`. */
export function permits(held: Permission, wanted: Permission): boolean {
  return (ACCESS[held] & ACCESS[wanted]) === ACCESS[wanted];
}
