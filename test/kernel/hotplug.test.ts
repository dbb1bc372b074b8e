import type { Placement } from 'vhost-vdpa';
import { afterEach, expect, test } from 'vitest';
import { PluggedGuest } from '../unit/plugged-guest.js';
import { devicePath } from './devices.js';

/** Changes of memory in this boot, over all cases. */
const STEPS = Number(process.env['VHOST_VDPA_HOTPLUG_STEPS'] ?? 10_000);
const CASES: readonly (readonly [Placement, boolean])[] = [
  ['identity', false],
  ['identity', true],
  ['relocated', true],
  ['allocated', true],
];

let guest: PluggedGuest | undefined;
afterEach(async () => {
  await guest?.close();
  guest = undefined;
});

test.each(CASES)(
  'memory comes, goes, moves and changes under load, and every byte is right: %s, shadowed %s',
  { timeout: 300_000 },
  async (placement, shadow) => {
    guest = await PluggedGuest.start(devicePath('vblk0'), { placement, shadow, seed: 11 });
    const steps = STEPS / CASES.length;
    for (let step = 0; step < steps; step++) {
      await guest.step();
      await guest.work(2);
    }
    await guest.finish();
    expect(await guest.attachment.fault()).toBeUndefined();
    expect(guest.completed).toBeGreaterThan(2 * steps);
    // Every kind of change was made many times.
    for (const kind of ['plug', 'unplug', 'replace', 'alias', 'protect', 'switch']) {
      expect(guest.changes[kind]).toBeGreaterThan(steps / 100);
    }
  },
);
