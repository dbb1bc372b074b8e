// @ts-check
// Builds a kernel once and keeps the stripped program in the cache, with a JSON file beside it that says what it is.
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  createWriteStream,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from 'node:fs';
import { availableParallelism } from 'node:os';
import { delimiter, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { checkRoom, withLock, withWorkspace } from './cache.mjs';
import { run } from './child.mjs';
import { RigError, RigUsageError } from './errors.mjs';
import { findKernel, KERNELS, kernelFor } from './kernels.mjs';
import { fetchSource, openSource } from './sources.mjs';
import { BUILD_TOOLS, checkCompiler, MACHINE_TOOLS, missingTools, toolDirectory, unpackTools } from './tools.mjs';

const FRAGMENT = fileURLToPath(new URL('uml.config', import.meta.url));

/** A package (170 MB), the archive in it, its tree (1.8 GB) and the objects, all at once. */
const BUILD_BYTES = 3 * 2 ** 30;

/**
 * @typedef {object} BuiltKernel
 * @property {string} path     the program
 * @property {string} series
 * @property {string} version
 * @property {string} origin   the source package with its version, or the path it was built from
 * @property {string} config   hash of the configuration fragment
 */

/**
 * Makes sure that the kernel and the machine's tools are in the cache.
 * @param {string} which   a series of the table, or a path
 * @param {string} cache
 * @param {{say: (message: string) => void, signal?: AbortSignal | undefined}} options
 * @returns {Promise<BuiltKernel>}
 */
export async function ensureKernel(which, cache, options) {
  const kernel = findKernel(which);
  if (kernel === undefined && !existsSync(which)) throw unknownKernel(which);
  if (process.platform !== 'linux' || process.arch !== 'x64')
    throw new RigError(`user-mode Linux runs on Linux on x86-64 only, this is ${process.platform} on ${process.arch}`);
  const ready = () =>
    missingTools(MACHINE_TOOLS, cache).length === 0 && kernel ? readBuilt(cache, kernel.series) : undefined;
  return ready() ?? withLock(cache, options, async () => ready() ?? build(which, cache, options));
}

/** @param {string} which */
const unknownKernel = which =>
  new RigUsageError(
    `--kernel: '${which}' is neither ${KERNELS.map(({ series }) => series).join(' nor ')} nor the path of a Linux source tree or tarball`,
  );

const configHash = () => createHash('sha256').update(readFileSync(FRAGMENT)).digest('hex');

/**
 * @param {string} cache
 * @param {string} name
 * @returns {BuiltKernel | undefined} if it was built with the present configuration
 */
function readBuilt(cache, name) {
  const path = join(cache, `linux-${name}`);
  if (!existsSync(path) || !existsSync(`${path}.json`)) return undefined;
  const built = JSON.parse(readFileSync(`${path}.json`, 'utf8'));
  return built.config === configHash() ? { ...built, path } : undefined;
}

/** @type {typeof ensureKernel} */
async function build(which, cache, { say, signal }) {
  const kernel = findKernel(which);
  const name = kernel?.series ?? createHash('sha256').update(resolve(which)).digest('hex').slice(0, 12);
  const logFile = join(cache, `build-${name}.log`);
  const log = createWriteStream(logFile);
  try {
    return await withWorkspace(cache, async workspace => {
      const options = { say, log, signal, env: buildEnvironment(cache) };
      const built = kernel && readBuilt(cache, name);
      const tools = built ? MACHINE_TOOLS : [...MACHINE_TOOLS, ...BUILD_TOOLS];
      if (!built) checkCompiler();
      await unpackTools(missingTools(tools, cache), cache, workspace, options);
      if (built) return built;
      checkRoom(cache, BUILD_BYTES);
      const source = kernel
        ? await fetchSource(kernel, workspace, options)
        : await openSource(resolve(which), workspace, options);
      // The objects of a given tree are kept: whoever works on a driver builds it again and again.
      const objects = kernel ? join(workspace, 'objects') : join(cache, `objects-${name}`);
      return store(await compile(source, objects, options), source, join(cache, `linux-${name}`));
    });
  } catch (error) {
    signal?.throwIfAborted();
    if (error instanceof RigError) throw new RigError(`${error.message}\nThe whole log: ${logFile}`, { cause: error });
    throw error;
  } finally {
    log.end();
  }
}

/**
 * @param {string} cache
 * @returns {NodeJS.ProcessEnv}
 */
function buildEnvironment(cache) {
  // npm, a surrounding make and a kernel developer's shell leave variables that would change the build.
  const kept = Object.entries(process.env).filter(
    ([name]) => !/^(npm_|KBUILD|KCONFIG|MAKE|MFLAGS|ARCH$|CROSS_COMPILE$|O$)/.test(name),
  );
  return { ...Object.fromEntries(kept), LC_ALL: 'C', PATH: `${process.env.PATH}${delimiter}${toolDirectory(cache)}` };
}

/**
 * @param {import('./sources.mjs').Source} source
 * @param {string} objects
 * @param {import('./sources.mjs').SourceOptions} options
 * @returns {Promise<string>} the path of the program
 */
async function compile(source, objects, options) {
  const kernel = kernelFor(source.series);
  if (kernel === undefined)
    throw new RigError(
      `Linux ${source.version} is older than ${KERNELS.at(-1)?.series}, the oldest that the rig can boot`,
    );
  const jobs = availableParallelism();
  const started = performance.now();
  options.say(`building Linux ${source.version} (${source.origin}) with ${jobs} jobs, which takes minutes`);
  mkdirSync(objects, { recursive: true });
  const make = ['-C', source.tree, `O=${objects}`, 'ARCH=um'];
  await run('make', [...make, 'allnoconfig', `KCONFIG_ALLCONFIG=${FRAGMENT}`], options);
  checkConfig(readFileSync(join(objects, '.config'), 'utf8'), kernel, source);
  await run('make', [...make, `-j${jobs}`, 'linux'], options);
  const program = join(objects, 'linux-stripped');
  copyFileSync(join(objects, 'linux'), program);
  await run('strip', [program], options);
  options.say(`built Linux ${source.version} in ${Math.round((performance.now() - started) / 1000)} s`);
  return program;
}

/**
 * @param {string} config
 * @param {import('./kernels.mjs').Kernel} kernel
 * @param {{version: string}} source
 */
export function checkConfig(config, kernel, source) {
  const enabled = new Set(config.split('\n'));
  const missing = kernel.required.filter(symbol => !enabled.has(`CONFIG_${symbol}=y`));
  if (missing.length > 0)
    throw new RigError(
      `the configuration of Linux ${source.version} lacks ${missing.map(symbol => `CONFIG_${symbol}`).join(', ')}: ` +
        'this version has renamed them or made them depend on something that test/rig/uml.config does not set',
    );
}

/**
 * @param {string} program
 * @param {import('./sources.mjs').Source} source
 * @param {string} path
 * @returns {BuiltKernel}
 */
function store(program, { series, version, origin }, path) {
  const built = { series, version, origin, config: configHash() };
  // Renamed, not written: a boot may be using the old program at this moment, and a killed build leaves no half of a file.
  renameSync(program, path);
  writeFileSync(`${program}.json`, `${JSON.stringify(built, null, 2)}\n`);
  renameSync(`${program}.json`, `${path}.json`);
  return { ...built, path };
}
