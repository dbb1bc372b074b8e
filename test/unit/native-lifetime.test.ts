/** Ends: of workers, of the process, with everything alive and with a system call that does not return. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  ADDON_PATH,
  addon,
  decode,
  EBADF,
  type Ended,
  type Entry,
  encode,
  ended,
  finished,
  path,
  runScript,
  startScript,
  UNTIL,
} from './native-support.js';

const ENOTTY = 25;

const OK = { code: 0, signal: null, stderr: '' };
const result = ({ code, signal, stderr }: Ended) => ({ code, signal, stderr });

/** Everything the addon can have alive, made where the script runs. */
const EVERYTHING = `
  const region = addon.regionCreate('everything', 1 << 30);
  const other = addon.regionCreate('everything else', 1 << 30);
  const bytes = new Uint8Array(addon.regionView(region, 0, 1 << 30, 2 ** 32)).fill(1, 0, 64 << 20);
  const device = addon.deviceCreate();
  const deviceWatch = addon.watchStart(addon.deviceEventFd(device), () => {});
  const eventfd = addon.eventfdCreate();
  addon.watchStart(eventfd, () => addon.eventfdWrite(eventfd));
  addon.eventfdWrite(eventfd);
  const timer = addon.timerfdCreate();
  addon.watchStart(timer, () => addon.timerfdSet(timer, 1000));
  addon.timerfdSet(timer, 1000);
  addon.regionCopy(region, other, Float64Array.of(0, 1 << 30));
`;

/** How many device threads there are. */
const THREADS = `
  const fs = require('fs');
  const threadName = id => {
    try {
      return fs.readFileSync('/proc/self/task/' + id + '/comm', 'utf8').trim();
    } catch {
      return 'ended meanwhile';
    }
  };
  const threads = () => fs.readdirSync('/proc/self/task').filter(id => threadName(id) === 'vhost-vdpa').length;
`;

const inWorker = (script: string): string =>
  `const { Worker } = require('worker_threads');
   const worker = new Worker(${JSON.stringify(`const addon = require(${JSON.stringify(ADDON_PATH)}); ${script}`)}, { eval: true });
   worker.on('error', error => { throw error; });`;

describe('with everything alive', () => {
  it('the process exits', async () => {
    expect(result(await runScript(`${EVERYTHING} setTimeout(() => process.exit(0), 20);`))).toEqual(OK);
  });

  it('a worker can be terminated, again and again', async () => {
    const script = `${UNTIL} ${THREADS}
      const { Worker } = require('worker_threads');
      const code = ${JSON.stringify(`const addon = require(${JSON.stringify(ADDON_PATH)}); ${EVERYTHING} require('worker_threads').parentPort.postMessage('ready');`)};
      (async () => {
        for (let i = 0; i < 5; i++) {
          const worker = new Worker(code, { eval: true });
          await new Promise(resolve => worker.once('message', resolve));
          await worker.terminate();
        }
        console.log(await until(() => threads() === 0));
      })();`;
    const end = await runScript(script);
    expect(result(end)).toEqual(OK);
    expect(end.stdout).toBe('true\n');
  });

  it('a worker can exit, and the process with a worker', async () => {
    const exits = inWorker(`${EVERYTHING} setTimeout(() => process.exit(0), 20);`);
    expect(result(await runScript(`${exits} worker.on('exit', code => process.exit(code));`))).toEqual(OK);
    const lives = inWorker(`${EVERYTHING} require('worker_threads').parentPort.postMessage('ready');`);
    expect(result(await runScript(`${lives} worker.once('message', () => process.exit(0));`))).toEqual(OK);
  });

  it('watching works in a worker', async () => {
    const worker = inWorker(`
      const fd = addon.eventfdCreate();
      const watch = addon.watchStart(fd, count => { addon.watchStop(watch); require('worker_threads').parentPort.postMessage(count); });
      addon.eventfdWrite(fd);`);
    const end = await runScript(`${worker} worker.on('message', count => console.log(count));`);
    expect(result(end)).toEqual(OK);
    expect(end.stdout).toBe('1\n');
  });
});

// Whoever opens a file for writing on which another process holds a lease is blocked until that is given up.
describe('with a system call that does not return', () => {
  const LEASE = `
import fcntl, os, signal, sys
signal.signal(signal.SIGIO, lambda *_: os.write(1, b"blocks\\n"))
file = open(sys.argv[1], "w")
fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
os.write(1, b"held\\n")
sys.stdin.read()
`;
  // Longer than any of this takes, shorter than the kernel's patience with a lease (45 s).
  const DEADLINE_MS = 20_000;
  let directory: string;
  let leased: string;
  let holder: ChildProcess;
  const told = async (child: ChildProcess): Promise<string> => String((await once(child.stdout!, 'data'))[0]);
  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'native-lifetime-'));
    leased = join(directory, 'leased');
    writeFileSync(leased, '');
    holder = spawn('python3', ['-c', LEASE, leased], { stdio: ['pipe', 'pipe', 'inherit'] });
    expect(await told(holder)).toBe('held\n');
  });
  afterEach(async () => {
    await release();
    rmSync(directory, { recursive: true });
  });

  async function release(): Promise<void> {
    if (holder.exitCode !== null) return;
    holder.stdin!.end();
    await once(holder, 'exit');
  }

  const openLeased = (): Uint8Array => encode([{ op: 'open', argument: path(leased) }]);
  const submit = (): string =>
    `const device = addon.deviceCreate(); addon.deviceSubmit(device, Uint8Array.from(${JSON.stringify([...openLeased()])}));`;

  it('batches that wait can be canceled', async () => {
    const device = addon.deviceCreate();
    const blocks = told(holder);
    addon.deviceSubmit(device, openLeased());
    const entries: Entry[] = [
      { op: 'open', argument: path('/dev/null') },
      { op: 'close', always: true },
    ];
    const waiting = addon.deviceSubmit(device, encode(entries));
    expect(await blocks).toBe('blocks\n');
    expect([addon.deviceCancel(device, waiting), addon.deviceReap(device)]).toEqual([0, undefined]);
    await release();
    expect(decode(await finished(device))).toMatchObject([{ ran: true, errno: ENOTTY }]);
    const canceled = addon.deviceReap(device) ?? (await finished(device));
    expect(decode(canceled)).toMatchObject([
      { ran: false, errno: 0 },
      { ran: true, errno: EBADF },
    ]);
    addon.deviceDestroy(device);
  });

  it('the process exits at once', async () => {
    const blocks = told(holder);
    const child = startScript(`${submit()} process.stdin.once('data', () => process.exit(0));`);
    const end = ended(child);
    await blocks;
    child.stdin!.write('exit');
    expect(result(await end)).toEqual(OK);
    expect((await end).elapsed_ms).toBeLessThan(DEADLINE_MS);
  });

  it('a worker ends at once, and its thread comes back to code that is still there', async () => {
    const blocks = told(holder);
    // The addon is loaded in the worker alone, so that Node gives it back when the worker ends.
    const script = `${UNTIL} ${THREADS} ${inWorker(`${submit()} setInterval(() => {}, 1000);`)}
      process.stdin.once('data', async () => {
        await worker.terminate();
        console.log('terminated', threads());
      });
      process.stdin.on('end', async () => console.log('ended', await until(() => threads() === 0)));`;
    const child = startScript(script, { withAddon: false });
    const end = ended(child);
    await blocks;
    child.stdin!.write('terminate');
    expect(await told(child)).toBe('terminated 1\n');
    await release();
    child.stdin!.end();
    expect(result(await end)).toEqual(OK);
    expect((await end).stdout).toBe('terminated 1\nended true\n');
    expect((await end).elapsed_ms).toBeLessThan(DEADLINE_MS);
  });
});
