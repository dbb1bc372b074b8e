import { closeSync, openSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import { addon, EBADF, EINVAL, polled, runScript } from './native-support.js';

const EPERM = 1;
const EAGAIN = 11;

const fds: number[] = [];
const eventfd = (): number => {
  fds.push(addon.eventfdCreate());
  return fds[fds.length - 1];
};
afterEach(() => {
  for (const fd of fds.splice(0)) addon.fdClose(fd);
});

describe('eventfd', () => {
  it('counts, and reading clears it', () => {
    const fd = eventfd();
    expect(addon.eventfdRead(fd)).toBe(-EAGAIN);
    expect([addon.eventfdWrite(fd), addon.eventfdWrite(fd)]).toEqual([0, 0]);
    expect([addon.eventfdRead(fd), addon.eventfdRead(fd)]).toEqual([2, -EAGAIN]);
  });

  it('answers the errno of a bad number', () => {
    for (const fd of [-1, 1 << 30, 2 ** 40, 0.5]) {
      expect([addon.eventfdRead(fd), addon.eventfdWrite(fd), addon.fdClose(fd)]).toEqual(Array(3).fill(-EBADF));
    }
  });
});

describe('timerfd', () => {
  it('fires once after the time it was set to, and is disarmed by 0', async () => {
    const fd = addon.timerfdCreate();
    fds.push(fd);
    const start = performance.now();
    addon.timerfdSet(fd, 20e6);
    const count = await new Promise(resolve => {
      const watch = addon.watchStart(fd, n => {
        addon.watchStop(watch);
        resolve(n);
      });
    });
    expect(count).toBe(1);
    expect(performance.now() - start).toBeGreaterThanOrEqual(19.5);
    expect(addon.timerfdSet(fd, 1e6)).toBe(0);
    expect(addon.timerfdSet(fd, 0)).toBe(0);
    await new Promise(resolve => setTimeout(resolve, 5));
    expect(addon.eventfdRead(fd)).toBe(-EAGAIN);
  });

  it('takes seconds and more, and refuses what is no time', () => {
    const fd = addon.timerfdCreate();
    fds.push(fd);
    expect(addon.timerfdSet(fd, 3600e9)).toBe(0);
    expect([addon.timerfdSet(fd, -1), addon.timerfdSet(fd, 0.5), addon.timerfdSet(fd, Number.NaN)]).toEqual(
      Array(3).fill(-EINVAL),
    );
    expect(addon.timerfdSet(1 << 30, 1)).toBe(-EBADF);
  });
});

describe('watchStart', () => {
  it('calls back with the counter, which it read, each time', async () => {
    const fd = eventfd();
    const counts: number[] = [];
    const watch = addon.watchStart(fd, count => counts.push(count));
    addon.eventfdWrite(fd);
    addon.eventfdWrite(fd);
    await polled();
    addon.eventfdWrite(fd);
    await polled();
    expect(counts).toEqual([2, 1]);
    expect(addon.eventfdRead(fd)).toBe(-EAGAIN);
    addon.watchStop(watch);
  });

  it('does not call when another reader was faster', async () => {
    const fd = eventfd();
    let calls = 0;
    const watches = [1, 2].map(() => addon.watchStart(fd, () => calls++));
    addon.eventfdWrite(fd);
    await polled();
    expect(calls).toBe(1);
    for (const watch of watches) addon.watchStop(watch);
  });

  it('stops when told, also from its own callback', async () => {
    const fd = eventfd();
    let calls = 0;
    const watch = addon.watchStart(fd, () => {
      calls++;
      expect([addon.watchStop(watch), addon.watchStop(watch)]).toEqual([0, -EBADF]);
    });
    addon.eventfdWrite(fd);
    await polled();
    addon.eventfdWrite(fd);
    await polled();
    expect([calls, addon.eventfdRead(fd)]).toEqual([1, 1]);
    expect([addon.watchRef(watch), addon.watchUnref(watch)]).toEqual([-EBADF, -EBADF]);
  });

  it('outlives its number: closing it, and its use for another, change nothing', async () => {
    const fd = addon.eventfdCreate();
    const counts: string[] = [];
    const first = addon.watchStart(fd, () => counts.push('first'));
    addon.fdClose(fd);
    const again = eventfd();
    expect(again).toBe(fd);
    const second = addon.watchStart(again, () => counts.push('second'));
    addon.watchStop(first);
    await polled();
    addon.eventfdWrite(again);
    await polled();
    expect(counts).toEqual(['second']);
    addon.watchStop(second);
  });

  it('refuses what cannot be waited for', () => {
    const file = openSync(new URL(import.meta.url), 'r');
    expect(addon.watchStart(file, () => {})).toBe(-EPERM);
    expect(addon.watchStart(1 << 30, () => {})).toBe(-EBADF);
    expect(addon.watchStart(eventfd(), undefined as never)).toBe(-EINVAL);
    closeSync(file);
  });

  it('runs microtasks and ticks after each call', async () => {
    const fd = eventfd();
    const order: string[] = [];
    const watch = addon.watchStart(fd, () => {
      process.nextTick(() => order.push('tick'));
      Promise.resolve().then(() => order.push('microtask'));
      setImmediate(() => order.push('immediate'));
    });
    addon.eventfdWrite(fd);
    await polled();
    expect(order).toEqual(['tick', 'microtask', 'immediate']);
    addon.watchStop(watch);
  });

  it('keeps the process alive, unless it is told not to', async () => {
    const script = `const fd = addon.eventfdCreate(); const watch = addon.watchStart(fd, () => {}); addon.watchUnref(watch);`;
    expect(await runScript(script)).toMatchObject({ code: 0, stderr: '' });
    const kept = `${script} addon.watchRef(watch); setTimeout(() => { console.log('alive'); addon.watchStop(watch); }, 50).unref();`;
    expect(await runScript(kept)).toMatchObject({ code: 0, stdout: 'alive\n', stderr: '' });
  });

  it('turns what its callback throws into an uncaughtException, and goes on', async () => {
    const { code, stdout, stderr } = await runScript(
      `const fd = addon.eventfdCreate();
       let calls = 0;
       process.on('uncaughtException', error => console.log(error.message));
       const watch = addon.watchStart(fd, () => {
         if (++calls === 2) return addon.watchStop(watch);
         addon.eventfdWrite(fd);
         throw new Error('thrown');
       });
       addon.eventfdWrite(fd);
       process.on('exit', () => console.log(calls));`,
    );
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: 'thrown\n2\n', stderr: '' });
  });

  it('without a handler of it the process ends as for any uncaught error', async () => {
    const { code, stderr } = await runScript(
      `const fd = addon.eventfdCreate(); addon.watchStart(fd, () => { throw new Error('thrown'); }); addon.eventfdWrite(fd);`,
    );
    expect(code).toBe(1);
    expect(stderr).toContain('Error: thrown');
  });
});
