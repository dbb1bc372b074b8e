/** The two sides in two threads on shared memory: nothing torn, nothing out of order, no notification lost. */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { expect, it } from 'vitest';
import { ringLayout } from '../../lib/ring/areas.js';

interface Exchange {
  readonly size: number;
  readonly base: number;
  /** Number of chains. */
  readonly total: number;
  /** Whether the threads sleep when there is nothing to do, and are kicked and called; they spin otherwise. */
  readonly sleeps: boolean;
}

/** Carries chains from a driver thread to a device thread and back; returns how often each notified the other. */
async function exchange(parameters: Exchange): Promise<{ kicks: number; calls: number }> {
  const { bytes, ...offsets } = ringLayout(parameters.size);
  // What windows on one memfd are to processes, a SharedArrayBuffer is to threads.
  const block = new SharedArrayBuffer(bytes);
  const areas = { desc: block, driver: block, device: block, ...offsets };
  const bells = new SharedArrayBuffer(8);
  const start = (side: 'driver' | 'device') =>
    new Worker(new URL('./ring-threads-worker.mjs', import.meta.url), {
      workerData: { side, areas, bells, ...parameters },
    });
  const driver = start('driver');
  await once(driver, 'message');
  const device = start('device');
  try {
    // `once` rejects with a worker's own error.
    await Promise.all([once(driver, 'message'), once(device, 'message')]);
  } finally {
    await Promise.all([driver.terminate(), device.terminate()]);
  }
  const [kicks, calls] = new Int32Array(bells);
  return { kicks, calls };
}

it('carries 300,000 chains between spinning threads, in order and whole', async () => {
  await exchange({ size: 64, base: 0xff00, total: 300_000, sleeps: false });
});

it('loses no kick and no call between sleeping threads, and suppresses some', async () => {
  const total = 60_000;
  const { kicks, calls } = await exchange({ size: 8, base: 0xfff0, total, sleeps: true });
  for (const count of [kicks, calls]) {
    expect(count).toBeGreaterThan(0);
    expect(count).toBeLessThan(total);
  }
});
