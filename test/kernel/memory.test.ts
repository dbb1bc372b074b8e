/** Whole machines' memory on a kernel device: mapped, changed and moved under a guest at work. */
import { readFileSync } from 'node:fs';
import { type Placement, plug, q35, type Section, unplug } from 'vhost-vdpa';
import { afterEach, describe, expect, test } from 'vitest';
import { CLEAN, Setup } from '../unit/attachment-setup.js';
import { BATCH_MAPPING, devicePath } from './devices.js';

const GIB = 2 ** 30;
const SLOTS = 8;

let setup: Setup | undefined;
afterEach(async () => {
  await setup?.close();
  setup = undefined;
});

/** What the device must hold of these sections, whatever the maps are cut into. */
function bytesOf(sections: readonly Section[]): number {
  return sections.reduce((sum, { size }) => sum + size, 0);
}

function heldBytes(): number {
  return setup!.attachment.space.held.reduce((sum, { size }) => sum + size, 0);
}

describe(`a q35 machine of 128 GiB, batch_mapping ${BATCH_MAPPING}`, () => {
  test.each<Placement>(['identity', 'relocated', 'allocated'])(
    'is mapped, gets eight memories more, moves, and gives them back, at work all the time, %s',
    { timeout: 120_000 },
    async placement => {
      const machine = q35({ ram: 128 * GIB, maxmem: 256 * GIB, slots: SLOTS });
      setup = await Setup.make(devicePath('vblk0'), { placement, memory: machine });
      const { attachment, memory } = setup;
      const boot = bytesOf(memory.sections);
      expect(boot).toBeGreaterThan(128 * GIB - 2 ** 20);
      const rings = heldBytes() - boot;
      expect(rings).toBeGreaterThan(0);
      await attachment.startPassthrough();
      await setup.progress();
      for (let slot = 0; slot < SLOTS; slot++) {
        await plug(memory, 8 * GIB);
        await setup.progress();
        // From one place to the other and back with some of them plugged in.
        if (slot % 3 === 0) await attachment.enterShadow();
        if (slot % 3 === 1) await attachment.leaveShadow();
      }
      expect(bytesOf(memory.sections)).toBe(boot + SLOTS * 8 * GIB);
      expect(heldBytes()).toBe(bytesOf(memory.sections) + rings);
      const dimms = memory.sections.filter(({ name }) => name === 'dimm');
      expect(dimms).toHaveLength(SLOTS);
      await setup.progress();
      if (attachment.mode !== 'shadowed') await attachment.enterShadow();
      for (const { gpa } of dimms) await unplug(memory, gpa);
      await setup.progress();
      await attachment.leaveShadow();
      await setup.progress();
      expect(heldBytes()).toBe(bytesOf(memory.sections) + rings);
      const { submitted, completed, ...rest } = await setup.finish();
      expect(completed).toBe(submitted);
      expect(rest).toMatchObject(CLEAN);
    },
  );
});

test('memory that is unplugged is given back while the device stays open', async () => {
  setup = await Setup.make(devicePath('vblk0'), { memory: q35({ ram: GIB, maxmem: 2 * GIB, slots: 2 }) });
  const { attachment, memory } = setup;
  await attachment.startPassthrough();
  for (let i = 0; i < 10; i++) {
    const { gpa } = await plug(memory, 2 ** 22);
    new Uint8Array(memory.view(gpa, 2 ** 22)).fill(1);
    await unplug(memory, gpa);
  }
  expect(readFileSync('/proc/self/maps', 'utf8')).not.toContain('/memfd:dimm');
  await setup.progress();
});
