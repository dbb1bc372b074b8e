#!/usr/bin/env node
// @ts-check
// npm run rig -- [OPTIONS] COMMAND…: runs a command on a real kernel with real /dev/vhost-vdpa devices. See docs/rig.md.
import { existsSync, realpathSync } from 'node:fs';
import { delimiter, dirname } from 'node:path';
import { Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { checkParam, memoryBytes, parseArguments, USAGE } from './arguments.mjs';
import { boot } from './boot.mjs';
import { cacheDirectory } from './cache.mjs';
import { SYSTEM_PATH } from './child.mjs';
import { messageOf, RigError, RigUsageError } from './errors.mjs';
import { ensureKernel } from './kernel.mjs';
import { DEFAULT_SERIES, kernelFor } from './kernels.mjs';
import { toolDirectory } from './tools.mjs';

const PROJECT = realpathSync(fileURLToPath(new URL('../..', import.meta.url)));
const PASSED_ON = /^(CI|NO_COLOR|NODE_.*|VHOST_VDPA_.*)$/;
const SHELL = '/bin/bash';

/**
 * @typedef {object} RigOptions
 * @property {readonly string[]} command
 * @property {string} [kernel]               a series of the table or a path; default 7.2
 * @property {readonly string[]} [params]    kernel parameters
 * @property {string} [mem]                  such as 512M; default 2G
 * @property {number} [timeoutSeconds]       for the boot, not for a build; default 300
 * @property {Record<string, string>} [env]
 * @property {NodeJS.WritableStream} [stdout]  gets the command's stdout as it comes; without it the result holds it
 * @property {NodeJS.WritableStream} [stderr]
 * @property {(message: string) => void} [say]  told what a build does
 * @property {AbortSignal | undefined} [signal]          ends the build or the boot
 */

/**
 * @typedef {object} RigResult
 * @property {number} code           the command's exit code; 1 when the time was over
 * @property {Buffer} stdout         empty when it went to a stream
 * @property {Buffer} stderr
 * @property {boolean} timedOut
 * @property {string} [consoleFile]  the kernel's console, when the time was over
 */

/**
 * Runs a command in the project's directory on a real kernel, which is built first if it is not in the cache.
 * @param {RigOptions} options
 * @returns {Promise<RigResult>}
 * @throws {RigError} when the kernel could not be built or booted
 * @throws {RigUsageError} when an option is wrong
 */
export async function runInRig(options) {
  const { kernel = DEFAULT_SERIES, params = [], mem = '2G', timeoutSeconds = 300, say = () => {}, signal } = options;
  params.forEach(checkParam);
  const memory = memoryBytes(mem);
  if (!existsSync(SHELL)) throw new RigError(`the machine's first process needs ${SHELL}, which this host lacks`);
  const cache = cacheDirectory();
  const built = await ensureKernel(kernel, cache, { say, signal });
  if (/^\d/.test(kernel) && built.series !== kernel)
    say(`Linux ${built.version} (${built.origin}) stands in for ${kernel}, which could not be had`);
  const node = dirname(process.execPath);
  const path = [node, process.env.PATH, ...SYSTEM_PATH, toolDirectory(cache)].join(delimiter);
  const captured = { stdout: new Capture(), stderr: new Capture() };
  const end = await boot({
    kernel: built.path,
    params: [...(kernelFor(built.series)?.boot ?? []), ...params],
    memoryBytes: memory,
    timeoutSeconds,
    directory: PROJECT,
    keep: [PROJECT, node, dirname(node), cache].filter(hiddenByTmpfs),
    path,
    environment: commandEnvironment(path, options.env),
    command: options.command,
    stdout: options.stdout ?? captured.stdout,
    stderr: options.stderr ?? captured.stderr,
    signal,
  });
  return { ...end, stdout: captured.stdout.bytes(), stderr: captured.stderr.bytes() };
}

/** @param {string} path */
const hiddenByTmpfs = path => /^\/(tmp|run|dev\/shm)\//.test(path);

/**
 * @param {string} path
 * @param {Record<string, string>} [extra]
 * @returns {Record<string, string>}
 */
function commandEnvironment(path, extra) {
  const passed = Object.entries(process.env).filter(([name]) => PASSED_ON.test(name));
  const fixed = { PATH: path, HOME: '/tmp/home', TMPDIR: '/tmp', TERM: 'dumb' };
  return { .../** @type {Record<string, string>} */ (Object.fromEntries(passed)), ...fixed, ...extra };
}

class Capture extends Writable {
  /** @type {Buffer[]} */
  #chunks = [];

  /**
   * @override
   * @param {Buffer} chunk
   * @param {BufferEncoding} _encoding
   * @param {() => void} done
   */
  _write(chunk, _encoding, done) {
    this.#chunks.push(chunk);
    done();
  }

  bytes() {
    return Buffer.concat(this.#chunks);
  }
}

/** @param {string} message */
const say = message => process.stderr.write(`${message.replace(/^/gm, 'rig: ')}\n`);

/**
 * @param {readonly string[]} argv
 * @returns {Promise<number>} exit code
 */
async function main(argv) {
  const stop = new AbortController();
  /** @param {number} code */
  const stopWith = code => () => {
    process.exitCode = code;
    stop.abort();
  };
  process.once('SIGINT', stopWith(130));
  process.once('SIGTERM', stopWith(143));
  process.once('SIGHUP', stopWith(129));
  // What SIGPIPE does to other programs whose reader has gone; node ignores that signal.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', stopWith(141));
  try {
    const { help, ...options } = parseArguments(argv);
    if (help) {
      process.stdout.write(USAGE);
      return 0;
    }
    const { stdout, stderr } = process;
    const end = await runInRig({ ...options, stdout, stderr, say, signal: stop.signal });
    if (end.timedOut) say(`deadline of ${options.timeoutSeconds} s passed; the console is in ${end.consoleFile}`);
    return end.code;
  } catch (error) {
    if (stop.signal.aborted) return Number(process.exitCode);
    say(messageOf(error));
    if (error instanceof RigUsageError) say("see 'npm run rig -- --help'");
    return error instanceof RigUsageError ? 2 : 1;
  }
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url))
  process.exitCode = await main(process.argv.slice(2));
