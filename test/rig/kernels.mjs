// @ts-check
// The kernels the rig knows: where Debian keeps their sources, how they boot, and what their configuration must hold.

/**
 * @typedef {object} Kernel
 * @property {string} series      the first two numbers of the version
 * @property {string[]} suites    Debian suites that carry `linux-source-SERIES`, best first
 * @property {string[]} boot      options this kernel needs and older ones do not know
 * @property {string[]} required  symbols that must be =y; kconfig drops silently what a version does not know
 */

const REQUIRED = [
  ...['HOSTFS', 'DEVTMPFS', 'TMPFS', 'SHMEM', 'MEMFD_CREATE', 'EVENTFD', 'EPOLL', 'FUTEX', 'AIO', 'IO_URING'],
  ...['BINFMT_ELF', 'BINFMT_SCRIPT', 'HIGH_RES_TIMERS', 'UML_RANDOM', 'MCONSOLE', 'MAGIC_SYSRQ', 'SSL', 'NULL_CHAN'],
  ...['VIRTIO_VDPA', 'VIRTIO_UML', 'VIRTIO_BLK', 'VIRTIO_NET', 'VDPA', 'VDPA_SIM', 'VDPA_SIM_NET', 'VDPA_SIM_BLOCK'],
  ...['VHOST_VDPA', 'VHOST_NET', 'TUN'],
];

/** @type {readonly Kernel[]} newest first */
export const KERNELS = [
  {
    series: '7.2',
    suites: ['trixie-backports', 'sid'],
    // SMP came to user-mode Linux together with its seccomp mode, and only works with it.
    boot: ['seccomp=on', 'ncpus=2'],
    required: [...REQUIRED, 'SMP', 'VDPA_USER'],
  },
  {
    series: '6.12',
    suites: ['bookworm-security', 'trixie', 'bookworm-backports'],
    boot: [],
    required: REQUIRED,
  },
];

export const DEFAULT_SERIES = KERNELS[0].series;

/**
 * @param {string} a
 * @param {string} b
 * @returns {number} below, equal to or above 0 as `a` is older, the same or newer
 */
export function compareSeries(a, b) {
  const [majorA, minorA] = a.split('.').map(Number);
  const [majorB, minorB] = b.split('.').map(Number);
  return majorA - majorB || minorA - minorB;
}

/**
 * @param {string} wanted
 * @param {readonly string[]} offered
 * @returns {string | undefined} the wanted series, else the newest later one
 */
export function chooseSeries(wanted, offered) {
  if (offered.includes(wanted)) return wanted;
  return offered
    .filter(series => compareSeries(series, wanted) > 0)
    .sort(compareSeries)
    .at(-1);
}

/**
 * @param {string} series
 * @returns {Kernel | undefined}
 */
export const findKernel = series => KERNELS.find(kernel => kernel.series === series);

/**
 * The entry that describes a kernel of any version: the newest one that is not newer than it.
 * @param {string} series
 * @returns {Kernel | undefined}
 */
export const kernelFor = series => KERNELS.find(kernel => compareSeries(kernel.series, series) <= 0);
