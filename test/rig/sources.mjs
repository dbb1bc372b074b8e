// @ts-check
// Kernel sources: from the distribution, or from a tree, tarball or linux-source package that is given.
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { hostRelease, openSuite } from './apt.mjs';
import { findProgram, run } from './child.mjs';
import { messageOf, RigError } from './errors.mjs';
import { chooseSeries } from './kernels.mjs';

const PACKAGE = 'linux-source-';

/**
 * @typedef {object} Source
 * @property {string} tree     the unpacked tree
 * @property {string} series   such as 7.2
 * @property {string} version  such as 7.2.12
 * @property {string} origin   the package with its version and suite, or the path
 */

/** @typedef {import('./child.mjs').RunOptions & {say: (message: string) => void}} SourceOptions */

/**
 * Fetches a kernel of the table from the distribution: that series, or the newest later one.
 * @param {import('./kernels.mjs').Kernel} kernel
 * @param {string} workspace
 * @param {SourceOptions} options
 * @returns {Promise<Source>}
 */
export async function fetchSource(kernel, workspace, options) {
  const { suite, series } = await findPackage(kernel, workspace, options);
  options.say(`fetching ${PACKAGE}${series} from ${suite.name}`);
  const packages = join(workspace, 'package');
  await suite.download([PACKAGE + series], packages);
  const [file] = readdirSync(packages);
  const source = await unpackPackage(join(packages, file), workspace, options);
  return { ...source, origin: `${basename(file, '_all.deb').replace('_', ' ')} from ${suite.name}` };
}

/**
 * @param {import('./kernels.mjs').Kernel} kernel
 * @param {string} workspace
 * @param {SourceOptions} options
 */
async function findPackage(kernel, workspace, options) {
  if (!findProgram('apt-get') || hostRelease() === undefined)
    throw unobtainable(kernel, 'this host has no apt of a Debian release to fetch it with');
  /** @type {{suite: import('./apt.mjs').Suite, series: string}[]} */
  const offers = [];
  /** @type {string[]} */
  const failures = [];
  for (const name of kernel.suites) {
    try {
      const suite = await openSuite(name, workspace, options);
      const names = (await suite.names(PACKAGE)).map(found => found.slice(PACKAGE.length));
      offers.push(...names.filter(series => /^\d+\.\d+$/.test(series)).map(series => ({ suite, series })));
    } catch (error) {
      options.signal?.throwIfAborted();
      failures.push(`${name}: ${messageOf(error)}`);
    }
    if (offers.some(({ series }) => series === kernel.series)) break;
  }
  const chosen = chooseSeries(
    kernel.series,
    offers.map(({ series }) => series),
  );
  const offer = offers.find(({ series }) => series === chosen);
  if (offer) return offer;
  const seen = offers.map(({ suite, series }) => `${series} (${suite.name})`).join(', ');
  throw unobtainable(kernel, [`Debian's suites offer ${seen || 'none'}`, ...failures].join('\n'));
}

/**
 * @param {import('./kernels.mjs').Kernel} kernel
 * @param {string} why
 */
const unobtainable = ({ series, suites }, why) =>
  new RigError(
    `the source of Linux ${series} cannot be had: ${why}\nGive it yourself: unpack or download any Linux source of ` +
      `${series} or later (kernel.org, or Debian's ${PACKAGE}${series} from ${suites.join(' or ')}) and pass --kernel PATH.`,
  );

/**
 * Unpacks what a path holds: a tree stays where it is and is not written to.
 * @param {string} path
 * @param {string} workspace
 * @param {SourceOptions} options
 * @returns {Promise<Source>}
 */
export async function openSource(path, workspace, options) {
  if (!existsSync(path)) throw new RigError(`${path} does not exist; --kernel takes a Linux source tree or tarball`);
  if (statSync(path).isDirectory()) return { ...readVersion(path), origin: path };
  const source = await (path.endsWith('.deb') ? unpackPackage : unpackTarball)(path, workspace, options);
  return { ...source, origin: path };
}

/** @type {typeof unpackTarball} */
async function unpackPackage(file, workspace, options) {
  const contents = join(workspace, 'contents');
  await run('dpkg-deb', ['-x', file, contents], options);
  const directory = join(contents, 'usr/src');
  const name = existsSync(directory) && readdirSync(directory).find(entry => /^linux-source-.*\.tar\.\w+$/.test(entry));
  if (!name) throw new RigError(`${file} holds no /usr/src/linux-source-*.tar.*: it is not a Linux source package`);
  return unpackTarball(join(directory, name), workspace, options);
}

/**
 * @param {string} file
 * @param {string} workspace
 * @param {SourceOptions} options
 */
async function unpackTarball(file, workspace, options) {
  options.say(`unpacking ${basename(file)}`);
  const into = join(workspace, 'tree');
  mkdirSync(into);
  await run('tar', ['-x', '-f', file, '-C', into, '--no-same-owner'], options);
  const [directory, ...more] = readdirSync(into);
  return readVersion(more.length === 0 ? join(into, directory) : into);
}

/**
 * @param {string} tree
 * @returns {{tree: string, series: string, version: string}}
 */
function readVersion(tree) {
  const makefile = join(tree, 'Makefile');
  if (!existsSync(makefile) || !existsSync(join(tree, 'arch/um/Kconfig')))
    throw new RigError(`${tree} is not a Linux source tree: it has no Makefile or no arch/um`);
  const text = readFileSync(makefile, 'utf8');
  const [major, minor, patch, extra] = ['VERSION', 'PATCHLEVEL', 'SUBLEVEL', 'EXTRAVERSION'].map(
    name => new RegExp(`^${name} *= *(\\S*)$`, 'm').exec(text)?.[1] ?? '',
  );
  return { tree, series: `${major}.${minor}`, version: `${major}.${minor}.${patch}${extra}` };
}
