// @ts-check
import { RigUsageError } from './errors.mjs';
import { DEFAULT_SERIES, KERNELS } from './kernels.mjs';

export const USAGE = `Usage: npm run rig -- [OPTIONS] COMMAND [ARGUMENT…]

Runs COMMAND in the project's directory on a real Linux kernel that runs as an ordinary process and has
/dev/vhost-vdpa-0 and -1 (vnet0, vnet1) and /dev/vhost-vdpa-2 and -3 (vblk0, vblk1, one shared disk).

  --kernel WHICH       ${KERNELS.map(kernel => kernel.series).join(', ')}, or a Linux source tree or tarball (default ${DEFAULT_SERIES})
  --mem SIZE           memory of the machine, such as 512M or 2G (default 2G)
  --timeout SECONDS    end a boot that takes longer (default 300)
  --param KEY[=VALUE]  kernel parameter, such as vdpa_sim.use_va=0; may be repeated
  --env NAME=VALUE     environment variable for COMMAND; may be repeated
  --help               show this

Exit code: that of COMMAND (128 + n when signal n ended it); 1 when the rig failed or the time was over; 2 for wrong usage.
The kernel is built once into $VHOST_VDPA_RIG_CACHE, else $XDG_CACHE_HOME/vhost-vdpa, else ~/.cache/vhost-vdpa. See docs/rig.md.
`;

/**
 * @typedef {object} Arguments
 * @property {string} kernel
 * @property {string} mem
 * @property {number} timeoutSeconds
 * @property {string[]} params
 * @property {Record<string, string>} env
 * @property {string[]} command  empty when help was asked for
 * @property {boolean} help
 */

/** @type {Record<string, (parsed: Arguments, value: string) => void>} */
const OPTIONS = {
  '--kernel': (parsed, value) => {
    parsed.kernel = value;
  },
  '--mem': (parsed, value) => {
    memoryBytes(value);
    parsed.mem = value;
  },
  '--timeout': (parsed, value) => {
    // A longer setTimeout() overflows and fires at once.
    if (!/^\d+(\.\d+)?$/.test(value) || Number(value) === 0 || Number(value) > 2_000_000)
      throw new RigUsageError(`--timeout: '${value}' is not a number of seconds between 0 and 2000000`);
    parsed.timeoutSeconds = Number(value);
  },
  '--param': (parsed, value) => {
    checkParam(value);
    parsed.params.push(value);
  },
  '--env': (parsed, value) => {
    const [, name, text] = /^([A-Za-z_]\w*)=(.*)$/s.exec(value) ?? [];
    if (name === undefined) throw new RigUsageError(`--env: '${value}' is not NAME=VALUE`);
    parsed.env[name] = text;
  },
};

/**
 * @param {string} size such as 512M or 2G
 * @returns {number} bytes
 */
export function memoryBytes(size) {
  const [, digits, unit] = /^([1-9]\d*)([MG])$/i.exec(size) ?? [];
  const bytes = Number(digits) * (unit?.toUpperCase() === 'G' ? 2 ** 30 : 2 ** 20);
  if (!(bytes >= 2 ** 28 && bytes <= 2 ** 40))
    throw new RigUsageError(`memory size '${size}' is not a number of M or G between 256M and 1024G`);
  return bytes;
}

/** @param {string} param */
export function checkParam(param) {
  if (!/^[\w.-]+(=[^\s"]*)?$/.test(param))
    throw new RigUsageError(`kernel parameter '${param}' is not KEY or KEY=VALUE without spaces and quotes`);
}

/**
 * @param {readonly string[]} argv without node and the script
 * @returns {Arguments}
 * @throws {RigUsageError}
 */
export function parseArguments(argv) {
  /** @type {Arguments} */
  const parsed = {
    kernel: DEFAULT_SERIES,
    mem: '2G',
    timeoutSeconds: 300,
    params: [],
    env: {},
    command: [],
    help: false,
  };
  let next = 0;
  for (; next < argv.length && argv[next].startsWith('-'); next++) {
    if (argv[next] === '--') {
      next++;
      break;
    }
    if (argv[next] === '--help') return { ...parsed, help: true };
    const [, name, , inline] = /** @type {RegExpExecArray} */ (/^([^=]*)(=(.*))?$/s.exec(argv[next]));
    const apply = Object.hasOwn(OPTIONS, name) ? OPTIONS[name] : undefined;
    if (apply === undefined)
      throw new RigUsageError(`unknown option '${name}'; the rig knows ${Object.keys(OPTIONS).join(', ')}, --help`);
    const value = inline ?? argv[++next];
    if (value === undefined || value === '') throw new RigUsageError(`${name} needs a value`);
    apply(parsed, value);
  }
  parsed.command = argv.slice(next);
  if (parsed.command.length === 0) throw new RigUsageError('a COMMAND to run is missing');
  return parsed;
}
