// @ts-check
// Where built kernels and unpacked tools live: outside the checkout, shared by all checkouts of one user.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants, mkdirSync, mkdtempSync, readdirSync, rmSync, statfsSync, statSync } from 'node:fs';
import { homedir, tmpdir, userInfo } from 'node:os';
import { join, resolve } from 'node:path';
import { killGroup } from './child.mjs';
import { messageOf, RigError } from './errors.mjs';

/** @param {string} directory */
function makeWritable(directory) {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  accessSync(directory, constants.W_OK);
}

/**
 * Finds the cache directory and creates it.
 * @param {NodeJS.ProcessEnv} [env]
 * @returns {string} absolute
 */
export function cacheDirectory(env = process.env) {
  const chosen = env.VHOST_VDPA_RIG_CACHE;
  if (chosen) {
    try {
      makeWritable(resolve(chosen));
      return resolve(chosen);
    } catch (error) {
      throw new RigError(`VHOST_VDPA_RIG_CACHE=${chosen} cannot be written: ${messageOf(error)}`, { cause: error });
    }
  }
  const home = join(env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'vhost-vdpa');
  try {
    makeWritable(home);
    return home;
  } catch {
    return temporaryCache(home);
  }
}

/** @param {string} unwritable */
function temporaryCache(unwritable) {
  const { uid } = userInfo();
  const directory = join(tmpdir(), `vhost-vdpa-${uid}`);
  try {
    makeWritable(directory);
  } catch (error) {
    throw new RigError(
      `neither ${unwritable} nor ${directory} can be written: ${messageOf(error)}. Set VHOST_VDPA_RIG_CACHE.`,
      { cause: error },
    );
  }
  // Programs are run from here: a directory that another user planted in /tmp must not be trusted.
  if (statSync(directory).uid !== uid)
    throw new RigError(`${directory} belongs to another user. Set VHOST_VDPA_RIG_CACHE to a directory of your own.`);
  return directory;
}

/**
 * Runs `body` while no other process has the cache. The lock is flock(2) held by a child, so that it ends with this process, however that ends.
 * @template T
 * @param {string} cache
 * @param {{say: (message: string) => void, signal?: AbortSignal | undefined}} options
 * @param {() => Promise<T>} body
 * @returns {Promise<T>}
 */
export async function withLock(cache, { say, signal }, body) {
  signal?.throwIfAborted();
  const holder = spawn('flock', [join(cache, 'lock'), 'sh', '-c', 'echo; exec cat'], {
    stdio: ['pipe', 'pipe', 'inherit'],
    detached: true,
  });
  const closed = once(holder, 'close');
  closed.catch(() => {});
  const giveUp = () => killGroup(holder);
  signal?.addEventListener('abort', giveUp);
  const waiting = setTimeout(() => say(`waiting for another process that builds in ${cache}`), 1000);
  const locked = await Promise.race([once(holder.stdout, 'data'), closed]).then(
    ([first]) => Buffer.isBuffer(first),
    error => {
      throw new RigError(`cannot lock ${cache}: ${messageOf(error)} (flock is part of util-linux)`, { cause: error });
    },
  );
  clearTimeout(waiting);
  signal?.removeEventListener('abort', giveUp);
  signal?.throwIfAborted();
  if (!locked) throw new RigError(`cannot lock ${cache}`);
  try {
    return await body();
  } finally {
    holder.stdin.end();
    await closed;
  }
}

/**
 * Runs `body` with an empty directory in the cache, which is removed afterwards. Call it under the lock: it also removes
 * what a killed process left.
 * @template T
 * @param {string} cache
 * @param {(workspace: string) => Promise<T>} body
 * @returns {Promise<T>}
 */
export async function withWorkspace(cache, body) {
  const prefix = 'work-';
  for (const name of readdirSync(cache)) if (name.startsWith(prefix)) removeTree(join(cache, name));
  const workspace = mkdtempSync(join(cache, prefix));
  try {
    return await body(workspace);
  } finally {
    removeTree(workspace);
  }
}

/** @param {string} directory */
export const removeTree = directory => rmSync(directory, { recursive: true, force: true, maxRetries: 3 });

/**
 * @param {string} directory
 * @returns {number} bytes free for this user
 */
export function freeBytes(directory) {
  const { bavail, bsize } = statfsSync(directory);
  return bavail * bsize;
}

/**
 * @param {string} directory
 * @param {number} bytes
 */
export function checkRoom(directory, bytes) {
  const free = freeBytes(directory);
  if (free < bytes)
    throw new RigError(
      `${directory} has ${Math.floor(free / 2 ** 20)} MiB free, building a kernel takes ${Math.ceil(bytes / 2 ** 20)} MiB ` +
        'for a few minutes. Make room, or set VHOST_VDPA_RIG_CACHE to a directory elsewhere.',
    );
}
