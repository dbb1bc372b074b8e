import { type Device, injectFaults, type Operation, type Placement } from 'vhost-vdpa';
import { afterEach, describe, expect, test } from 'vitest';
import { CLEAN, halfDone, Setup } from './attachment-setup.js';

let setup: Setup | undefined;
afterEach(async () => {
  await setup?.close();
  setup = undefined;
});

describe('switching under load', () => {
  test.each<[string, Placement]>([
    ['soft:blk', 'identity'],
    ['soft:blk?latency=300us', 'identity'],
    ['soft:blk', 'relocated'],
    ['soft:blk?persist=off', 'identity'],
    ['soft:blk?persist=off&latency=300us', 'relocated'],
  ])('passthrough and shadow, many times, lose nothing on %s, %s', async (reference, placement) => {
    setup = await Setup.make(reference, { placement });
    await setup.attachment.startPassthrough();
    for (let round = 0; round < 5; round++) {
      await setup.progress();
      await setup.attachment.enterShadow();
      expect(setup.attachment.mode).toBe('shadowed');
      await setup.progress();
      await setup.attachment.leaveShadow();
      expect(setup.attachment.mode).toBe('passthrough');
    }
    const { submitted, completed, ...rest } = await setup.finish();
    expect(completed).toBe(submitted);
    expect(rest).toMatchObject(CLEAN);
  });

  test('sends no IOTLB message when the maps are kept', async () => {
    setup = await Setup.make('soft:blk');
    await setup.attachment.startPassthrough();
    await setup.progress();
    setup.operations.length = 0;
    await setup.attachment.enterShadow();
    await setup.attachment.leaveShadow();
    expect(setup.operations.filter(({ op }) => op.startsWith('iotlb'))).toEqual([]);
  });

  test('makes the same maps again, in one batch, when they are lost', async () => {
    setup = await Setup.make('soft:blk?persist=off');
    const mapped = setup.attachment.space.held;
    await setup.attachment.startPassthrough();
    setup.operations.length = 0;
    await setup.attachment.enterShadow();
    const messages = setup.operations.filter(({ op }) => op.startsWith('iotlb')).map(({ op }) => op);
    expect(messages).toEqual([
      'iotlbBatchBegin',
      'iotlbInvalidate',
      'iotlbInvalidate',
      'iotlbUpdate',
      'iotlbUpdate',
      'iotlbBatchEnd',
    ]);
    expect(setup.attachment.space.held).toEqual(mapped);
  });
});

describe('the takeover rule', () => {
  test('refuses a device that stopped with requests half done, which then goes on as if nothing had happened', async () => {
    const lie = { ahead: 0 };
    setup = await Setup.make('soft:blk', { wrap: device => halfDone(device, lie) });
    await setup.attachment.startPassthrough();
    await setup.progress();
    lie.ahead = 1;
    await expect(setup.attachment.enterShadow()).rejects.toMatchObject({ code: 'ERR_VDPA_TAKEOVER' });
    expect(setup.attachment.mode).toBe('passthrough');
    expect(setup.operations.at(-1)).toEqual({ op: 'resume' });
    await setup.progress();
  });

  test('needs a device that can be suspended', async () => {
    setup = await Setup.make('soft:blk?suspend=off');
    await setup.attachment.startPassthrough();
    await expect(setup.attachment.enterShadow()).rejects.toMatchObject({ code: 'ERR_VDPA_UNSUPPORTED' });
    await setup.progress();
  });
});

describe('recovery', () => {
  /** Fails the nth operation of a kind once. */
  function failOnce(op: Operation['op'], nth: number, when: 'before' | 'after') {
    let left = nth;
    return (device: Device) =>
      injectFaults(device, operation => (operation.op === op && --left === 0 ? { errno: 5, when } : undefined));
  }

  test.each<[Operation['op'], number, 'before' | 'after']>([
    ['suspend', 1, 'before'],
    ['suspend', 1, 'after'],
    ['getVringBase', 1, 'after'],
    ['setFeatures', 2, 'before'],
    ['setVringAddr', 2, 'before'],
    ['setVringEnable', 2, 'after'],
    ['getStatus', 5, 'before'],
  ])('a switch that fails at %s number %i, %s its effect, can be taken back', async (op, nth, when) => {
    setup = await Setup.make('soft:blk', { wrap: failOnce(op, nth, when) });
    await setup.attachment.startPassthrough();
    await setup.progress();
    await expect(setup.attachment.enterShadow()).rejects.toThrow();
    await setup.attachment.recover();
    await setup.progress();
    const { submitted, completed, ...rest } = await setup.finish();
    expect(completed).toBe(submitted);
    expect(rest).toMatchObject(CLEAN);
  });
});

test('close leaves nothing mapped and the device reset, whatever the mode', async () => {
  setup = await Setup.make('soft:blk');
  await setup.attachment.startShadow();
  await setup.progress();
  setup.operations.length = 0;
  await setup.attachment.close();
  expect(setup.operations.map(({ op }) => op)).toEqual([
    'setStatus',
    'getStatus',
    'iotlbBatchBegin',
    'iotlbInvalidate',
    'iotlbInvalidate',
    'iotlbBatchEnd',
  ]);
  await expect(setup.attachment.device.submit([])).rejects.toMatchObject({ code: 'ERR_VDPA_CLOSED' });
});
