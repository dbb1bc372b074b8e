// @ts-check
// Boots a kernel, runs one command in it, and leaves nothing behind.
import { copyFileSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { removeTree } from './cache.mjs';
import { RigError } from './errors.mjs';
import { Machine } from './machine.mjs';
import { findMemoryDirectory } from './memory.mjs';

const INIT = new URL('init.sh', import.meta.url);
const CONSOLE_LINES = 25;

/**
 * @typedef {object} Boot
 * @property {string} kernel             path of the program
 * @property {readonly string[]} params  kernel parameters
 * @property {number} memoryBytes
 * @property {number} timeoutSeconds
 * @property {string} directory          where the command runs
 * @property {readonly string[]} keep    directories it needs that tmpfs may hide
 * @property {string} path               PATH of init
 * @property {Record<string, string>} environment  of the command
 * @property {readonly string[]} command
 * @property {NodeJS.WritableStream} stdout
 * @property {NodeJS.WritableStream} stderr
 * @property {AbortSignal | undefined} [signal]      ends the boot
 */

/**
 * @param {Boot} options
 * @returns {Promise<{code: number, timedOut: boolean, consoleFile?: string}>} the command's exit code; 1 when the time was over
 * @throws {RigError} when the machine did not come up, or died
 */
export async function boot(options) {
  const memoryDirectory = findMemoryDirectory(options.memoryBytes);
  // The kernel covers /dev, and with it /dev/shm, before init can read anything there.
  const files = mkdtempSync(join(tmpdir().startsWith('/dev/') ? '/tmp' : tmpdir(), 'vhost-vdpa-rig-'));
  let consoleFile;
  try {
    writeFiles(files, options);
    const machine = new Machine(options.kernel, kernelArguments(options, files), memoryDirectory, options);
    await machine.ended(options.timeoutSeconds, options.signal);
    options.signal?.throwIfAborted();
    if (machine.code !== undefined) return { code: machine.code, timedOut: false };
    consoleFile = join(files, 'console.log');
    writeFileSync(consoleFile, machine.console.toString());
    if (machine.timedOut) return { code: 1, timedOut: true, consoleFile };
    const last = machine.console.last(CONSOLE_LINES);
    throw new RigError(`${machine.failure}. The end of its console (all of it is in ${consoleFile}):\n${last}`);
  } finally {
    if (consoleFile === undefined) removeTree(files);
  }
}

/**
 * init.sh and what it reads before it covers the temporary directory.
 * @param {string} files
 * @param {Boot} options
 */
function writeFiles(files, { command, environment, keep, directory, path }) {
  const env = Object.entries(environment).map(([name, value]) => `${name}=${value}`);
  for (const [name, items] of Object.entries({ argv: command, env, keep, settings: [directory, path] }))
    writeFileSync(join(files, name), items.map(item => `${item}\0`).join(''));
  copyFileSync(INIT, join(files, 'init.sh'));
}

/**
 * @param {Boot} options
 * @param {string} files
 * @returns {string[]}
 */
function kernelArguments({ memoryBytes, params }, files) {
  if (files.includes('"')) throw new RigError(`the kernel's command line cannot carry the quotation mark in ${files}`);
  return [
    `mem=${memoryBytes / 2 ** 20}M`,
    // Not ~/.uml: HOME may not be writable.
    `uml_dir=${files}/`,
    'rootfstype=hostfs',
    'ro',
    // Consoles are descriptors: 5 the kernel's own, 3 and 4 the command's stdout and stderr, 6 the status.
    ...['ssl=null', 'con=null', 'con0=null,fd:5', 'con1=null,fd:3', 'con2=null,fd:4', 'con3=null,fd:6'],
    'vdpa_sim_blk.shared_backend=1',
    ...params,
    'init=/bin/bash',
    '--',
    `"${join(files, 'init.sh')}"`,
  ];
}
