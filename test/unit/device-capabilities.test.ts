/** What is asked of a device, and what an old kernel's or a poor device's refusals become. */
import { describe, expect, it } from 'vitest';
import { readCapabilities } from '../../lib/device/capabilities.js';
import { readLimits } from '../../lib/device/host-limits.js';
import { ERRNO } from '../../lib/uapi/errno.js';
import type { Operation } from '../../lib/uapi/operation.js';
import { type FakeAnswer, FakeDevice } from './device-fake.js';

const RANGE = { first: 0x1000n, last: 0xff_ffffn };

/** vdpa_sim_net's answers; the config is six bytes. */
function answerOf(operation: Operation): FakeAnswer {
  switch (operation.op) {
    case 'getDeviceId':
      return 1;
    case 'getFeatures':
      return 0x308830028n;
    case 'getBackendFeatures':
      return 0x17en;
    case 'getVqsCount':
      return 3;
    case 'getVringNum':
      return 256;
    case 'getIovaRange':
      return RANGE;
    case 'getAsNum':
    case 'getGroupNum':
      return 2;
    case 'getConfigSize':
      return 6;
    case 'getConfig':
      return Uint8Array.of(2, 0, 0, 0, 0, 1);
    case 'getVringGroup':
      return operation.index === 2 ? 1 : 0;
    case 'getVringDescGroup':
      return { errno: ERRNO.EOPNOTSUPP };
    case 'getVringSize':
      return operation.index === 2 ? 64 : 256;
    default:
      return { errno: ERRNO.ENOTTY };
  }
}

const without =
  (errno: number, ...lacking: Operation['op'][]) =>
  (operation: Operation): FakeAnswer =>
    lacking.includes(operation.op) ? { errno } : answerOf(operation);

describe('capabilities', () => {
  it("are the device's answers", async () => {
    const device = new FakeDevice(answerOf);
    expect(await readCapabilities(device)).toEqual({
      deviceId: 1,
      features: 0x308830028n,
      backendFeatures: 0x17en,
      vqs: 3,
      vringNumMax: 256,
      iovaRange: RANGE,
      asids: 2,
      groups: 2,
      config: Uint8Array.of(2, 0, 0, 0, 0, 1),
      queues: [
        { group: 0, descGroup: undefined, size: 256 },
        { group: 0, descGroup: undefined, size: 256 },
        { group: 1, descGroup: undefined, size: 64 },
      ],
    });
    const reads = device.submissions.flat();
    expect(reads.filter(({ op }) => !op.startsWith('get'))).toEqual([]);
    expect(reads).toContainEqual({ op: 'getConfig', offset: 0, length: 6 });
  });

  it('are fewer on an old kernel', async () => {
    const lacking = without(
      ERRNO.ENOTTY,
      'getAsNum',
      'getGroupNum',
      'getVringGroup',
      'getVringDescGroup',
      'getVringSize',
    );
    const capabilities = await readCapabilities(new FakeDevice(lacking));
    expect(capabilities).toMatchObject({ asids: 1, groups: 1 });
    expect(capabilities.queues).toEqual(Array(3).fill({ group: undefined, descGroup: undefined, size: undefined }));
  });

  it.each(['getDeviceId', 'getFeatures', 'getBackendFeatures', 'getVqsCount', 'getVringNum', 'getIovaRange'] as const)(
    'cannot do without %s',
    async op => {
      const device = new FakeDevice(without(ERRNO.EIO, op));
      await expect(readCapabilities(device)).rejects.toThrow(expect.objectContaining({ code: 'ERR_VDPA_OPERATION' }));
    },
  );

  it('read the config until it stands still: there is no generation to tell a torn read', async () => {
    let reads = 0;
    const device = new FakeDevice(operation => {
      if (operation.op !== 'getConfig') return answerOf(operation);
      reads++;
      return Uint8Array.of(Math.min(reads, 3));
    });
    expect((await readCapabilities(device)).config).toEqual(Uint8Array.of(3));
    expect(reads).toBe(4);
  });

  it('take the last config of a device that never stands still', async () => {
    let reads = 0;
    const device = new FakeDevice(operation =>
      operation.op === 'getConfig' ? Uint8Array.of(++reads) : answerOf(operation),
    );
    expect((await readCapabilities(device)).config).toEqual(Uint8Array.of(reads));
    expect(reads).toBe(8);
  });
});

describe('limits', () => {
  it('of the embedded device are its own alone', async () => {
    const capabilities = await readCapabilities(new FakeDevice(answerOf));
    expect(readLimits('soft:blk', capabilities)).toEqual({
      first: 0x1000n,
      last: 0xff_ffffn,
      asids: 2,
      granule: 4096,
      reserved: [],
      maxEntries: undefined,
      deviceMaxEntries: undefined,
      pinnable: expect.any(Function),
    });
  });
});
