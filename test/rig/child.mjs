// @ts-check
import { spawn } from 'node:child_process';
import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { RigError } from './errors.mjs';

const LOG_TAIL_LINES = 25;

/**
 * @typedef {object} RunOptions
 * @property {string} [cwd]
 * @property {NodeJS.ProcessEnv} [env]
 * @property {import('node:fs').WriteStream} [log]  gets stdout (unless wanted) and stderr
 * @property {AbortSignal | undefined} [signal]
 */

/**
 * Ends a process and all that it started. It must have been spawned `detached`.
 * @param {import('node:child_process').ChildProcess} child
 */
export function killGroup(child) {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    // ESRCH: the whole group has ended already.
  }
}

/**
 * Runs a program to its end.
 * @param {string} program
 * @param {readonly string[]} args
 * @param {RunOptions} [options]
 * @returns {Promise<string>} its stdout
 * @throws {RigError} with the last lines of its output when it fails
 */
export function run(program, args, { cwd, env, log, signal } = {}) {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    log?.write(`\n$ ${program} ${args.join(' ')}\n`);
    const child = spawn(program, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    const abort = () => killGroup(child);
    signal?.addEventListener('abort', abort);
    let stdout = '';
    let tail = '';
    child.stdout.setEncoding('utf8').on('data', text => {
      stdout += text;
    });
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', text => {
        log?.write(text);
        tail = `${tail}${text}`.slice(-16384);
      });
    child.on('error', error => reject(new RigError(`cannot run ${program}: ${error.message}`, { cause: error })));
    child.on('close', (code, by) => {
      signal?.removeEventListener('abort', abort);
      if (code === 0) return resolve(stdout);
      if (signal?.aborted) return reject(signal.reason);
      const lines = tail.trimEnd().split('\n').slice(-LOG_TAIL_LINES).join('\n');
      reject(new RigError(`'${program} ${args.join(' ')}' ended with ${by ?? `exit code ${code}`}:\n${lines}`));
    });
  });
}

/** Administrators' programs, which an ordinary user's PATH may lack. */
export const SYSTEM_PATH = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'];

/**
 * @param {string} name
 * @param {readonly string[]} [directories]
 * @returns {string | undefined} the path of a program
 */
export function findProgram(name, directories = [...(process.env.PATH ?? '').split(delimiter), ...SYSTEM_PATH]) {
  return directories
    .filter(directory => directory !== '')
    .map(directory => join(directory, name))
    .find(path => {
      try {
        accessSync(path, constants.X_OK);
        return statSync(path).isFile();
      } catch {
        return false;
      }
    });
}
