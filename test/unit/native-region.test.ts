import { constants } from 'node:buffer';
import { statSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { ADDON_PATH, addon, EBADF, EINVAL, isMapped, PAGE, runScript, UNTIL } from './native-support.js';

const EFBIG = 27;
const GIB = 2 ** 30;

const window = (region: number, offset: number, length: number): ArrayBuffer => {
  const buffer = addon.regionView(region, offset, length, constants.MAX_LENGTH);
  if (typeof buffer === 'number') throw new Error(`regionView answered ${buffer}`);
  return buffer;
};

describe('a region', () => {
  it('refuses sizes that are not whole pages', () => {
    for (const size of [0, 1, PAGE - 1, PAGE + 1, -PAGE, 0.5, Number.NaN, 2 ** 60]) {
      expect(addon.regionCreate('sizes', size)).toBe(-EINVAL);
    }
  });

  it('knows its size, its file and its one mapping, aligned for large pages', () => {
    for (const [size, alignment] of [
      [PAGE, PAGE],
      [3 * PAGE, PAGE],
      [2 ** 21, 2 ** 21],
      [GIB - PAGE, 2 ** 21],
      [GIB, GIB],
    ]) {
      const region = addon.regionCreate('alignment', size);
      expect(addon.regionSize(region)).toBe(size);
      expect(addon.regionAddress(region) % alignment).toBe(0);
      expect(statSync(`/proc/self/fd/${addon.regionFd(region)}`).size).toBe(size);
      expect(addon.regionClose(region)).toBe(0);
    }
  });

  it('costs what is touched', () => {
    const region = addon.regionCreate('sparse', 64 * GIB);
    const file = `/proc/self/fd/${addon.regionFd(region)}`;
    expect(statSync(file)).toMatchObject({ size: 64 * GIB, blocks: 0 });
    new Uint8Array(window(region, 63 * GIB, PAGE))[0] = 1;
    expect(statSync(file).blocks * 512).toBe(PAGE);
    addon.regionClose(region);
  });

  it('shows the same memory in every window', () => {
    const region = addon.regionCreate('windows', 4 * PAGE);
    const whole = new Uint8Array(window(region, 0, 4 * PAGE));
    const part = new Uint8Array(window(region, PAGE, PAGE));
    part[7] = 42;
    expect(whole[PAGE + 7]).toBe(42);
    expect(whole.length + part.length).toBe(5 * PAGE);
    addon.regionClose(region);
  });

  it('refuses windows out of bounds, and above the length it is told', () => {
    const region = addon.regionCreate('bounds', 4 * PAGE);
    for (const [offset, length] of [
      [0, 0],
      [0, 5 * PAGE],
      [4 * PAGE, 1],
      [2 ** 53 - 1, PAGE],
      [-1, PAGE],
      [0, -1],
      [0.5, PAGE],
    ]) {
      expect(addon.regionView(region, offset, length, constants.MAX_LENGTH)).toBe(-EINVAL);
    }
    expect(addon.regionView(region, 0, 2 * PAGE, PAGE)).toBe(-EFBIG);
    addon.regionClose(region);
  });

  it('does not crash where Node refuses the window', async () => {
    // Told a limit that is not Node's: up to 21 external ArrayBuffers end at 4 GiB, from 22 on this one is fine.
    const { code, stdout, stderr } = await runScript(
      `const region = addon.regionCreate('big', 8 * 2 ** 30);
       const buffer = addon.regionView(region, 0, 8 * 2 ** 30, 2 ** 53 - 1);
       setTimeout(() => { gc(); console.log(typeof buffer === 'number' ? buffer : buffer.byteLength); addon.regionClose(region); }, 10);`,
      { flags: ['--expose-gc'] },
    );
    expect({ code, stdout, stderr }).toEqual({
      code: 0,
      stderr: '',
      stdout: expect.stringMatching(/^(-27|8589934592)\n$/),
    });
  });

  it('detaches its windows, which keeps the memory', () => {
    const region = addon.regionCreate('detach', PAGE);
    const bytes = new Uint8Array(window(region, 0, PAGE));
    bytes[0] = 9;
    expect(addon.regionDetach(region)).toBe(0);
    expect([bytes.length, bytes[0]]).toEqual([0, undefined]);
    bytes[0] = 1;
    expect(new Uint8Array(window(region, 0, PAGE))[0]).toBe(9);
    addon.regionClose(region);
  });

  it('goes when it is closed: its windows have length 0, its memory is unmapped, its id means nothing', async () => {
    const region = addon.regionCreate('goes', PAGE);
    const buffer = window(region, 0, PAGE);
    expect(isMapped('goes')).toBe(true);
    expect(addon.regionClose(region)).toBe(0);
    expect(buffer.byteLength).toBe(0);
    expect(isMapped('goes')).toBe(false);
    expect(addon.regionView(region, 0, PAGE, PAGE)).toBe(-EBADF);
    expect([addon.regionSize(region), addon.regionFd(region), addon.regionAddress(region)]).toEqual(
      Array(3).fill(-EBADF),
    );
    expect([addon.regionDetach(region), addon.regionClose(region)]).toEqual([-EBADF, -EBADF]);
    expect(addon.regionCreate('next', PAGE)).toBeGreaterThan(region);
  });

  it('survives collection of windows, and sub-views that outlive theirs', async () => {
    const { code, stdout, stderr } = await runScript(
      `${UNTIL}
       const mapped = () => require('fs').readFileSync('/proc/self/maps', 'utf8').includes('/memfd:collect');
       const region = addon.regionCreate('collect', 1 << 20);
       const view = () => new Uint8Array(addon.regionView(region, 0, 1 << 20, 2 ** 32));
       let collected = 0;
       const registry = new FinalizationRegistry(() => collected++);
       for (let i = 0; i < 100; i++) {
         const bytes = view();
         bytes[i] = i;
         registry.register(bytes.buffer);
       }
       const part = view().subarray(50, 60);
       const collect = condition => until(() => { gc(); return condition(); });
       (async () => {
         const seen = [await collect(() => collected >= 99), part[0], view()[99], mapped()];
         addon.regionClose(region);
         console.log(JSON.stringify([...seen, part.length, await collect(() => !mapped())]));
       })();`,
      { flags: ['--expose-gc'] },
    );
    expect({ code, stdout, stderr }).toEqual({ code: 0, stderr: '', stdout: '[true,50,99,true,0,true]\n' });
  });

  it('is the same memory in a worker, by its id, and lives while the worker has a window', async () => {
    const region = addon.regionCreate('shared', PAGE);
    const bytes = new Uint8Array(window(region, 0, PAGE));
    const worker = new Worker(
      `const { parentPort, workerData } = require('worker_threads');
       const addon = require(workerData.addon);
       const bytes = new Uint8Array(addon.regionView(workerData.region, 0, 4096, 4096));
       parentPort.on('message', () => parentPort.postMessage(bytes[1]));
       bytes[0] = 11;
       parentPort.postMessage(bytes.length);`,
      { eval: true, workerData: { addon: ADDON_PATH, region } },
    );
    const message = () => new Promise(resolve => worker.once('message', resolve));
    expect(await message()).toBe(PAGE);
    expect(bytes[0]).toBe(11);
    bytes[1] = 12;
    addon.regionClose(region);
    expect([bytes.length, isMapped('shared')]).toEqual([0, true]);
    worker.postMessage('read');
    expect(await message()).toBe(12);
    await worker.terminate();
    expect(isMapped('shared')).toBe(false);
  });
});
