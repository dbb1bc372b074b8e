// @ts-check
// One kernel as a process: its streams, its deadline, its end.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { killGroup } from './child.mjs';
import { Console } from './console.mjs';
import { RigError } from './errors.mjs';

/** The line of a kernel that will not come back; the second it repeats for ever, deaf to SIGTERM. */
const DEATH = /^.*(?:Kernel panic - not syncing|scheduling from the idle thread).*$/m;

/** A line may arrive in pieces: as much of the console is looked at again. */
const LINE_BYTES = 256;

/** Time for the rest of the message. */
const DEATH_GRACE_MS = 500;

/** From the command's end to the machine's. */
const POWER_OFF_MS = 10_000;

// No core file of the size of the memory when it panics, and no kernel left behind when this process is killed.
const LAUNCH = 'ulimit -c 0; exec setpriv --pdeathsig KILL "$0" "$@"';

export class Machine {
  console = new Console();
  /** @type {number | undefined} the command's exit code, once it has ended */
  code = undefined;
  /** Why there is no exit code. */
  failure = '';
  timedOut = false;
  #recent = '';
  #child;
  /** @type {NodeJS.Timeout[]} */
  #timers = [];

  /**
   * @param {string} kernel
   * @param {readonly string[]} args
   * @param {string} memoryDirectory
   * @param {{stdout: NodeJS.WritableStream, stderr: NodeJS.WritableStream}} to
   */
  constructor(kernel, args, memoryDirectory, to) {
    this.#child = spawn('sh', ['-c', LAUNCH, kernel, ...args], {
      cwd: '/',
      env: { PATH: process.env.PATH, TMPDIR: memoryDirectory },
      stdio: ['ignore', ...Array(6).fill('pipe')],
      // A process group of its own: the kernel has a process for each of its address spaces.
      detached: true,
    });
    const [, ownOut, ownErr, out, err, terminal, status] = /** @type {import('node:stream').Readable[]} */ (
      this.#child.stdio
    );
    out.pipe(to.stdout, { end: false });
    err.pipe(to.stderr, { end: false });
    createInterface(status).on('line', line => this.#onStatus(line));
    for (const stream of [ownOut, ownErr, terminal])
      stream.setEncoding('latin1').on('data', text => this.#onConsole(text));
  }

  /**
   * Waits for the end of the machine, and brings it about when the time is over or `signal` says so.
   * @param {number} timeoutSeconds
   * @param {AbortSignal | undefined} signal
   * @returns {Promise<void>}
   */
  async ended(timeoutSeconds, signal) {
    const kill = () => killGroup(this.#child);
    signal?.addEventListener('abort', kill);
    if (signal?.aborted) kill();
    this.#after(timeoutSeconds * 1000, () => {
      this.timedOut = this.code === undefined;
      kill();
    });
    try {
      await new Promise((resolve, reject) => {
        this.#child.on('error', error =>
          reject(new RigError(`cannot start the kernel: ${error.message}`, { cause: error })),
        );
        this.#child.on('exit', (code, by) => {
          kill();
          this.failure ||= `the kernel ended (${by ?? `exit code ${code}`}) before the command did`;
        });
        this.#child.on('close', resolve);
      });
    } finally {
      this.#timers.forEach(clearTimeout);
      signal?.removeEventListener('abort', kill);
    }
  }

  /** @param {string} line  `exit CODE` or `failed MESSAGE`, from init.sh */
  #onStatus(line) {
    const [, word, rest] = /^(exit|failed) (.*)$/.exec(line) ?? [];
    if (word === 'exit') this.code = Number(rest);
    if (word === 'failed') this.failure = `the machine could not be prepared: ${rest}`;
    this.#after(POWER_OFF_MS, () => killGroup(this.#child));
  }

  /** @param {string} text */
  #onConsole(text) {
    this.console.write(text);
    if (this.failure !== '') return;
    this.#recent = this.#recent.slice(-LINE_BYTES) + text;
    const line = DEATH.exec(this.#recent)?.[0];
    if (line === undefined) return;
    this.failure = `the kernel died: ${line.trim()}`;
    this.#after(DEATH_GRACE_MS, () => killGroup(this.#child));
  }

  /**
   * @param {number} ms
   * @param {() => void} action
   */
  #after(ms, action) {
    this.#timers.push(setTimeout(action, ms));
  }
}
