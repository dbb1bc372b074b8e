/** A guest under load attached to a device, for tests on the soft device and on the kernel's. */
import {
  Attachment,
  type BlockDevice,
  BlockGuest,
  type Device,
  GuestMemory,
  type IovaLimits,
  type Operation,
  observe,
  openBlockDevice,
  type Placement,
  type Topology,
} from 'vhost-vdpa';
import { expect } from 'vitest';

/** What a finished guest must show. */
export const CLEAN = { corrupt: 0, errors: 0, duplicated: 0, in_flight: 0, fault: undefined };

export interface SetupOptions {
  readonly placement?: Placement;
  readonly wrap?: (device: Device) => Device;
  /** Bytes of guest memory, or a machine's. */
  readonly memory?: number | Topology;
  /** What is known of the device's limits instead. */
  readonly limits?: Partial<IovaLimits>;
  readonly onWarning?: (text: string) => void;
  readonly startShadowed?: boolean;
}

const MEMORY = 2 ** 26;
const DEPTH = 16;

/** A guest under load on a soft device. */
export class Setup {
  readonly operations: Operation[] = [];
  block!: BlockDevice;
  memory!: GuestMemory;
  guest!: BlockGuest;
  attachment!: Attachment;

  static async make(
    reference: string,
    {
      placement = 'identity',
      wrap = d => d,
      memory = MEMORY,
      limits: known = {},
      onWarning,
      startShadowed = false,
    }: SetupOptions = {},
  ): Promise<Setup> {
    const setup = new Setup();
    const record = (device: Device) => observe(wrap(device), operations => setup.operations.push(...operations));
    setup.block = await openBlockDevice(reference, { wrap: record });
    setup.memory = GuestMemory.create(memory);
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
      limits: { ...limits, ...known },
      startShadowed,
      ...(onWarning && { onWarning }),
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

/** A device that says it has taken `lie.ahead` requests more than it completed. */
export function halfDone(device: Device, lie: { ahead: number }): Device {
  return {
    path: device.path,
    close: () => device.close(),
    submit: async (operations, options) => {
      const results = await device.submit(operations, options);
      return results.map((result, i) =>
        operations[i]!.op === 'getVringBase'
          ? { ...result, value: (Number(result.value) + lie.ahead) & 0xffff }
          : result,
      );
    },
  };
}
