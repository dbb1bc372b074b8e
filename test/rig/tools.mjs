// @ts-check
// Programs that the host lacks are unpacked into the cache, never installed. Each gets a wrapper that says where its
// libraries and data are, so that users need nothing but the directory of the wrappers in their PATH.
import { chmodSync, existsSync, mkdirSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import { basename, join, relative } from 'node:path';
import { hostRelease, openSuite } from './apt.mjs';
import { findProgram, run, SYSTEM_PATH } from './child.mjs';
import { messageOf, RigError } from './errors.mjs';

/** What brings each program, and how it is asked whether it runs. @type {Record<string, {packages: string[], check: string[]}>} */
const TOOLS = {
  flex: { packages: ['flex', 'm4', 'libsigsegv2'], check: ['--version'] },
  bison: { packages: ['bison', 'm4', 'libsigsegv2'], check: ['--version'] },
  bc: { packages: ['bc'], check: ['--version'] },
  vdpa: { packages: ['iproute2', 'libmnl0', 'libcap2'], check: ['-V'] },
};

/** What the compiler and the archive tools are called, and the package that an administrator must install for them. */
const INSTALLED = { gcc: 'gcc', make: 'make', ld: 'binutils', strip: 'binutils', tar: 'tar', xz: 'xz-utils' };

export const BUILD_TOOLS = ['flex', 'bison', 'bc'];
export const MACHINE_TOOLS = ['vdpa'];

/** @param {string} cache */
export const toolDirectory = cache => join(cache, 'tools/bin');

/** @throws {RigError} naming all that is missing */
export function checkCompiler() {
  const missing = Object.entries(INSTALLED).filter(([name]) => !findProgram(name));
  if (missing.length === 0) return;
  const packages = [...new Set(missing.map(([, name]) => name))].join(' ');
  throw new RigError(
    `a kernel is built with ${missing.map(([name]) => name).join(', ')}, which this host lacks: apt-get install ${packages}`,
  );
}

/**
 * @param {readonly string[]} names
 * @param {string} cache
 * @returns {string[]} those that neither the host nor the cache has
 */
export const missingTools = (names, cache) =>
  names.filter(name => !findProgram(name) && !findProgram(name, [toolDirectory(cache)]));

/**
 * Unpacks programs into the cache. Call it under the lock.
 * @param {readonly string[]} names
 * @param {string} cache
 * @param {string} workspace
 * @param {import('./sources.mjs').SourceOptions} options
 */
export async function unpackTools(names, cache, workspace, options) {
  if (names.length === 0) return;
  const list = names.join(', ');
  try {
    const release = hostRelease();
    if (release === undefined) throw new RigError('this host has no apt of a Debian release to fetch it with');
    options.say(`unpacking ${list} into the cache`);
    const suite = await openSuite(release, workspace, options);
    for (const name of names) await unpackTool(name, cache, join(workspace, name), suite, options);
  } catch (error) {
    options.signal?.throwIfAborted();
    const packages = names.map(name => TOOLS[name].packages[0]).join(' ');
    throw new RigError(`this host lacks ${list}: ${messageOf(error)}\nInstall it: apt-get install ${packages}`, {
      cause: error,
    });
  }
}

/**
 * @param {string} name
 * @param {string} cache
 * @param {string} downloads
 * @param {import('./apt.mjs').Suite} suite
 * @param {import('./child.mjs').RunOptions} options
 */
async function unpackTool(name, cache, downloads, suite, options) {
  const { packages, check } = TOOLS[name];
  const root = join(cache, 'tools', name);
  await suite.download(packages, downloads);
  mkdirSync(root, { recursive: true });
  for (const file of readdirSync(downloads)) await run('dpkg-deb', ['-x', join(downloads, file), root], options);
  const program = findProgram(
    name,
    SYSTEM_PATH.map(directory => join(root, directory)),
  );
  if (program === undefined) throw new RigError(`${packages[0]} of ${suite.name} holds no ${name}`);
  const wrapper = join(root, 'wrapper');
  writeFileSync(wrapper, wrapperScript(root, program));
  chmodSync(wrapper, 0o755);
  await run(wrapper, check, options);
  mkdirSync(toolDirectory(cache), { recursive: true });
  renameSync(wrapper, join(toolDirectory(cache), name));
}

/**
 * The directories are told relative to the wrapper, so that a cache can be moved or copied.
 * @param {string} root
 * @param {string} program
 */
function wrapperScript(root, program) {
  const libraries = ['usr/lib', 'lib']
    .filter(directory => existsSync(join(root, directory)))
    .flatMap(directory => readdirSync(join(root, directory)).map(entry => join(directory, entry)))
    .filter(directory => directory.endsWith('-linux-gnu'));
  return [
    '#!/bin/sh',
    `root=\${0%/*}/../${basename(root)}`,
    `export LD_LIBRARY_PATH="${libraries.map(directory => `$root/${directory}`).join(':')}"`,
    'export BISON_PKGDATADIR="$root/usr/share/bison" M4="$root/usr/bin/m4"',
    `exec "$root/${relative(root, program)}" "$@"\n`,
  ].join('\n');
}
