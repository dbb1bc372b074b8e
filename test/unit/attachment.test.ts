import {
  Attachment,
  type BlockDevice,
  BlockGuest,
  type Device,
  GuestMemory,
  injectFaults,
  type Operation,
  observe,
  openBlockDevice,
  type Placement,
} from 'vhost-vdpa';
import { afterEach, describe, expect, test } from 'vitest';

const MEMORY = 2 ** 26;
const DEPTH = 16;

/** A guest under load on a soft device. */
class Setup {
  readonly operations: Operation[] = [];
  block!: BlockDevice;
  memory!: GuestMemory;
  guest!: BlockGuest;
  attachment!: Attachment;

  static async make(
    reference: string,
    placement: Placement = 'identity',
    wrap: (device: Device) => Device = d => d,
  ): Promise<Setup> {
    const setup = new Setup();
    const record = (device: Device) => observe(wrap(device), operations => setup.operations.push(...operations));
    setup.block = await openBlockDevice(reference, { wrap: record });
    setup.memory = GuestMemory.create(MEMORY);
    setup.guest = new BlockGuest(setup.memory, 256, {
      firstBlock: 0,
      blocks: 4096,
      writes: 0.4,
      depth: DEPTH,
      seed: 5,
    });
    const { device, features, backendFeatures, limits } = setup.block;
    const queues = [setup.guest.queue];
    setup.attachment = await Attachment.attach({
      device,
      features,
      backendFeatures,
      limits,
      queues,
      placement,
      memory: setup.memory,
    });
    await setup.guest.start(setup.memory);
    return setup;
  }

  async progress(): Promise<void> {
    const before = (await this.guest.thread.call('statistics')).completed;
    await expect
      .poll(async () => (await this.guest.thread.call('statistics')).completed, { timeout: 5000 })
      .toBeGreaterThan(before);
  }

  async finish() {
    return this.guest.thread.call('finish', 5000);
  }

  async close(): Promise<void> {
    await this.attachment.close();
    await this.guest.close();
    this.memory.close();
  }
}

let setup: Setup | undefined;
afterEach(async () => {
  await setup?.close();
  setup = undefined;
});

const CLEAN = { corrupt: 0, errors: 0, duplicated: 0, in_flight: 0, fault: undefined };

describe('switching under load', () => {
  test.each<[string, Placement]>([
    ['soft:blk', 'identity'],
    ['soft:blk?latency=300us', 'identity'],
    ['soft:blk', 'relocated'],
    ['soft:blk?persist=off', 'identity'],
    ['soft:blk?persist=off&latency=300us', 'relocated'],
  ])('passthrough and shadow, many times, lose nothing on %s, %s', async (reference, placement) => {
    setup = await Setup.make(reference, placement);
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
  test('refuses a device that stopped with requests half done, and lets it go on from there', async () => {
    let ahead = 0;
    let told = -1;
    const halfDone = (device: Device): Device => ({
      path: device.path,
      close: () => device.close(),
      submit: async (operations, options) => {
        const results = await device.submit(operations, options);
        return results.map((result, i) => {
          if (operations[i]!.op !== 'getVringBase') return result;
          told = (Number(result.value) + ahead) & 0xffff;
          return { ...result, value: told };
        });
      },
    });
    setup = await Setup.make('soft:blk', 'identity', halfDone);
    await setup.attachment.startPassthrough();
    await setup.progress();
    ahead = 1;
    await expect(setup.attachment.enterShadow()).rejects.toMatchObject({ code: 'ERR_VDPA_TAKEOVER' });
    expect(setup.attachment.mode).toBe('passthrough');
    expect(setup.operations).toContainEqual({ op: 'setVringBase', index: 0, num: told });
    expect(setup.operations.at(-1)).toMatchObject({ op: 'getStatus', expect: { equals: 0xf } });
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
    setup = await Setup.make('soft:blk', 'identity', failOnce(op, nth, when));
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
