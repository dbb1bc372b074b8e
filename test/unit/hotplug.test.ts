/** Memory that changes under load, on the soft device; the kernel tier has the long run. */
import { readFileSync } from 'node:fs';
import type { Placement } from 'vhost-vdpa';
import { afterEach, expect, it } from 'vitest';
import { PluggedGuest } from './plugged-guest.js';

const STEPS = 300;

let guest: PluggedGuest | undefined;
afterEach(async () => {
  await guest?.close();
  guest = undefined;
});

it.each<[Placement, boolean]>([
  ['identity', false],
  ['identity', true],
  ['relocated', true],
  ['allocated', true],
])('memory comes, goes and changes under load, and every byte is right: %s, shadowed %s', async (placement, shadow) => {
  guest = await PluggedGuest.start('soft:blk', { placement, shadow, seed: 3 });
  for (let step = 0; step < STEPS; step++) {
    await guest.step();
    await guest.work(3);
  }
  await guest.finish();
  expect(await guest.attachment.fault()).toBeUndefined();
  // What was unplugged is given back, by the device's thread too once it comes upon other memory. Some of this thread's windows wait
  // for the garbage collector; of more than a hundred memories most are gone.
  await guest.replaceAll();
  await guest.work(100);
  expect(readFileSync('/proc/self/maps', 'utf8').match(/memfd:dimm/g)!.length).toBeLessThan(60);
});

it('memory in which a queue lies cannot go', async () => {
  guest = await PluggedGuest.start('soft:blk', { placement: 'identity', shadow: true, seed: 3 });
  const { held } = guest.attachment.space;
  await expect(guest.removeBootMemory()).rejects.toMatchObject({
    code: 'ERR_VDPA_ADDRESS',
    message: expect.stringMatching(/queue 0 of soft:blk is in it/),
  });
  expect(guest.attachment.space.held).toEqual(held);
  await guest.work(50);
});
