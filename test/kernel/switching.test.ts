import type { Placement } from 'vhost-vdpa';
import { afterEach, expect, test } from 'vitest';
import { CLEAN, halfDone, Setup } from '../unit/attachment-setup.js';
import { devicePath, PINNED } from './devices.js';

const memory = PINNED ? 5 * 2 ** 20 : 2 ** 26;

let setup: Setup | undefined;
afterEach(async () => {
  await setup?.close();
  setup = undefined;
});

async function expectNothingLost(): Promise<void> {
  const { submitted, completed, ...rest } = await setup!.finish();
  expect(completed).toBe(submitted);
  expect(rest).toMatchObject(CLEAN);
}

test.each<Placement>(PINNED ? ['identity'] : ['identity', 'relocated'])(
  'passthrough and shadow, ten times under load, lose nothing, %s',
  async placement => {
    setup = await Setup.make(devicePath('vblk0'), { placement, memory });
    await setup.attachment.startPassthrough();
    for (let round = 0; round < 10; round++) {
      await setup.progress();
      await setup.attachment.enterShadow();
      await setup.progress();
      await setup.attachment.leaveShadow();
    }
    await expectNothingLost();
  },
);

test('a takeover that is refused leaves the device at work: it resumes', async () => {
  const lie = { ahead: 0 };
  setup = await Setup.make(devicePath('vblk0'), { memory, wrap: device => halfDone(device, lie) });
  await setup.attachment.startPassthrough();
  await setup.progress();
  lie.ahead = 1;
  await expect(setup.attachment.enterShadow()).rejects.toMatchObject({ code: 'ERR_VDPA_TAKEOVER' });
  expect(setup.operations.at(-1)).toEqual({ op: 'resume' });
  await setup.progress();
  await expectNothingLost();
});
