// @ts-check
// User-mode Linux backs its memory by a file, from which it also executes. On a full file system it dies of SIGBUS in the
// middle of a run, so room is checked before.
import { accessSync, constants, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freeBytes, removeTree } from './cache.mjs';
import { messageOf, RigError } from './errors.mjs';

/**
 * @param {number} bytes
 * @param {Iterable<string>} [candidates]
 * @returns {string} a directory with room for the memory file
 */
export function findMemoryDirectory(bytes, candidates = new Set(['/dev/shm', tmpdir(), '/var/tmp'])) {
  const refusals = [];
  for (const directory of candidates) {
    const refusal = refuse(directory, bytes);
    if (refusal === undefined) return directory;
    refusals.push(`${directory}: ${refusal}`);
  }
  throw new RigError(
    `no place for a memory file of ${bytes / 2 ** 20} MiB:\n${refusals.join('\n')}\n` +
      'Make room, give the machine less memory (--mem), or set TMPDIR to a directory with room.',
  );
}

/**
 * @param {string} directory
 * @param {number} bytes
 * @returns {string | undefined} why it cannot be used
 */
function refuse(directory, bytes) {
  let probe;
  try {
    probe = mkdtempSync(join(directory, 'vhost-vdpa-rig-'));
    writeFileSync(join(probe, 'probe'), '', { mode: 0o700 });
    // access(2) tells a noexec mount, as containers often have on /dev/shm.
    accessSync(join(probe, 'probe'), constants.X_OK);
    const free = freeBytes(directory);
    return free >= bytes ? undefined : `${Math.floor(free / 2 ** 20)} MiB free`;
  } catch (error) {
    return `not writable, or mounted noexec (${messageOf(error)})`;
  } finally {
    if (probe) removeTree(probe);
  }
}
