/** Calls between threads, against a real worker. */
import { spawnSync } from 'node:child_process';
import { afterEach, describe, expect, it } from 'vitest';
import { VdpaError } from '../../dist/errors.js';
import { serve, Thread } from '../../dist/thread.js';

type Worker = {
  add(a: number, b: number): number;
  late(ms: number, value: string): Promise<string>;
  data(): unknown;
  count(shared: SharedArrayBuffer): number;
  refuse(): void;
  fail(): void;
  throwText(): void;
  uncloneable(): unknown;
  never(): Promise<void>;
  crash(): Promise<void>;
};

const WORKER = new URL('./thread-worker.mjs', import.meta.url);
const threads: Thread<Worker>[] = [];

function start(data?: unknown): Thread<Worker> {
  const thread = new Thread<Worker>(WORKER, data);
  threads.push(thread);
  return thread;
}

afterEach(async () => {
  for (const thread of threads.splice(0)) await thread.end();
});

describe('a call', () => {
  it('is answered with the result', async () => {
    expect(await start().call('add', 2, 3)).toBe(5);
  });

  it('waits for a promise, and a later call may be answered first', async () => {
    const thread = start();
    const order: string[] = [];
    const note = (value: unknown) => order.push(String(value));
    await Promise.all([thread.call('late', 50, 'slow').then(note), thread.call('add', 1, 1).then(note)]);
    expect(order).toEqual(['2', 'slow']);
  });

  it('shares memory', async () => {
    const thread = start();
    const shared = new SharedArrayBuffer(4);
    await thread.call('count', shared);
    await thread.call('count', shared);
    expect(new Int32Array(shared)[0]).toBe(2);
  });

  it('finds what the owner gave the worker', async () => {
    const region = { id: 7, ranges: Float64Array.of(1, 2) };
    expect(await start(region).call('data')).toEqual(region);
  });
});

describe('a failure', () => {
  it('of the library keeps its code, its message and its details', async () => {
    const error = await start()
      .call('refuse')
      .catch(reason => reason);
    expect(error).toBeInstanceOf(VdpaError);
    expect(error).toMatchObject({
      code: 'ERR_VDPA_BUSY',
      message: 'It is busy.',
      details: { errno: 16, address: 2n ** 60n },
    });
  });

  it('of another kind stays what it is', async () => {
    await expect(start().call('fail')).rejects.toThrow(new TypeError('No such thing.'));
    await expect(start().call('throwText')).rejects.toThrow('just text');
  });

  it('to send the answer is one of the call, not of the thread', async () => {
    const thread = start();
    await expect(thread.call('uncloneable')).rejects.toThrow(/could not be cloned/);
    expect(await thread.call('add', 1, 1)).toBe(2);
  });
});

describe('the end', () => {
  it('of the worker by its owner ends calls under way and calls to come', async () => {
    const thread = start();
    await thread.call('add', 1, 1);
    const under = expect(thread.call('never')).rejects.toThrow('The worker thread ended.');
    await thread.end();
    await under;
    await expect(thread.call('add', 1, 1)).rejects.toThrow('The worker thread ended.');
  });

  it('of the worker by a failure says which', async () => {
    const thread = start();
    await expect(thread.call('crash')).rejects.toThrow('The thread broke.');
    await expect(thread.call('add', 1, 1)).rejects.toThrow('The thread broke.');
  });

  it('of the process waits for a call, not for an idle worker', () => {
    const script = `
      import(${JSON.stringify(new URL('../../dist/thread.js', import.meta.url).href)}).then(({ Thread }) => {
        const thread = new Thread(new URL(${JSON.stringify(WORKER.href)}));
        thread.call('late', 30, 'answered').then(console.log);
      });`;
    const { status, stdout } = spawnSync(process.execPath, ['-e', script], { encoding: 'utf8', timeout: 20_000 });
    expect({ status, stdout }).toEqual({ status: 0, stdout: 'answered\n' });
  });
});

it('serves in worker threads only', () => {
  expect(() => serve({})).toThrow(expect.objectContaining({ code: 'ERR_VDPA_INVALID_ARGUMENT' }));
});
