/** Virtio device types (virtio 1.4 §5, linux/virtio_ids.h). */

export const VIRTIO_ID_NET = 1;
export const VIRTIO_ID_BLOCK = 2;
export const VIRTIO_ID_FS = 26;

/** Names as in linux/virtio_ids.h, save `blk`, which is what everyone says. */
const NAMES: Readonly<Record<number, string>> = {
  [VIRTIO_ID_NET]: 'net',
  [VIRTIO_ID_BLOCK]: 'blk',
  3: 'console',
  4: 'rng',
  5: 'balloon',
  8: 'scsi',
  9: '9p',
  16: 'gpu',
  18: 'input',
  19: 'vsock',
  20: 'crypto',
  22: 'pstore',
  23: 'iommu',
  24: 'mem',
  25: 'sound',
  [VIRTIO_ID_FS]: 'fs',
  27: 'pmem',
  28: 'rpmb',
  30: 'video-encoder',
  31: 'video-decoder',
  32: 'scmi',
  34: 'i2c',
  35: 'watchdog',
  36: 'can',
  40: 'bt',
  41: 'gpio',
  45: 'spi',
};

/** `net`, `blk`, …; `device 57` for a type this library has no name for. */
export function deviceName(deviceId: number): string {
  return NAMES[deviceId] ?? `device ${deviceId}`;
}

/** The device type of a name (`block` too), or undefined. */
export function deviceIdOf(name: string): number | undefined {
  if (name === 'block') return VIRTIO_ID_BLOCK;
  const entry = Object.entries(NAMES).find(([, known]) => known === name);
  return entry && Number(entry[0]);
}
