/** The virtio device status byte (virtio 1.4 §2.1, linux/virtio_config.h). */
import { type BitRegister, type BitSpec, bitMask, bitNames } from './bits.js';

/** Not a bit: written alone it resets the device. */
export const VIRTIO_CONFIG_S_RESET = 0;
export const VIRTIO_CONFIG_S_ACKNOWLEDGE = 1;
export const VIRTIO_CONFIG_S_DRIVER = 2;
export const VIRTIO_CONFIG_S_DRIVER_OK = 4;
/** The device took the features; a refusal is silent, so it must be read back. */
export const VIRTIO_CONFIG_S_FEATURES_OK = 8;
/** Set by the device: only a reset helps. */
export const VIRTIO_CONFIG_S_NEEDS_RESET = 64;
/** Set by the driver: it has given up. */
export const VIRTIO_CONFIG_S_FAILED = 128;

const REGISTER: BitRegister = {
  what: 'status bit',
  width: 8,
  groups: [
    {
      prefixes: ['VIRTIO_CONFIG_S_'],
      // SUSPEND is virtio 1.4's; vhost-vdpa suspends by a request of its own and leaves this bit alone.
      bits: { ACKNOWLEDGE: 0, DRIVER: 1, DRIVER_OK: 2, FEATURES_OK: 3, SUSPEND: 4, NEEDS_RESET: 6, FAILED: 7 },
    },
  ],
};

/** Short names, such as `DRIVER_OK`, lowest bit first; none for 0. */
export function statusNames(status: number): string[] {
  return bitNames(REGISTER, BigInt(status));
}

/** The status byte of all bits given (see BitSpec). Throws ERR_VDPA_INVALID_ARGUMENT. */
export function statusBits(specs: Iterable<BitSpec>): number {
  return Number(bitMask(REGISTER, specs));
}
