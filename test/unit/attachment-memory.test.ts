/** Memory that changes while an attachment does other things, or fails. On the soft device. */
import {
  Attachment,
  BlockGuest,
  type Device,
  GuestMemory,
  injectFaults,
  openBlockDevice,
  plug,
  type Topology,
  unplug,
} from 'vhost-vdpa';
import { afterEach, describe, expect, it } from 'vitest';
import { CLEAN, Setup, type SetupOptions } from './attachment-setup.js';

const MIB = 2 ** 20;
const GIB = 2 ** 30;

const MACHINE: Topology = {
  backends: [{ name: 'ram', size: 64 * MIB }],
  sections: [{ name: 'ram', kind: 'ram', gpa: 0, size: 64 * MIB, backend: 'ram', offset: 0 }],
  hotplug: { base: 4 * GIB, size: 4 * GIB, slots: 8 },
};

const WITH_BAR: Topology = {
  ...MACHINE,
  backends: [...MACHINE.backends, { name: 'bar', size: MIB }],
  sections: [
    ...MACHINE.sections,
    { name: 'bar', kind: 'ram-device', gpa: 2 * GIB, size: MIB, backend: 'bar', offset: 0 },
  ],
};

let setup: Setup | undefined;
afterEach(async () => {
  await setup?.close();
  setup = undefined;
});

async function start(options: SetupOptions, reference = 'soft:blk'): Promise<Setup> {
  setup = await Setup.make(reference, { memory: MACHINE, ...options });
  return setup;
}

async function expectNothingLost(): Promise<void> {
  await setup!.progress();
  const { submitted, completed, ...rest } = await setup!.finish();
  expect(completed).toBe(submitted);
  expect(rest).toMatchObject(CLEAN);
}

/** A device that refuses maps at an address. */
const refusing = (matches: (iova: number) => boolean) => (device: Device) =>
  injectFaults(device, operation => (operation.op === 'iotlbUpdate' && matches(operation.iova) ? REFUSED : undefined));
const REFUSED = { errno: 14, when: 'before' as const };

describe('a change of memory', () => {
  it('leaves alone what stands beside it, also of the same memory', async () => {
    const size = 16 * MIB;
    const sections = [0, 1, 2, 3].map(i => ({
      name: `part${i}`,
      kind: 'ram' as const,
      gpa: i * size,
      size,
      backend: 'ram',
      offset: i * size,
    }));
    const { attachment, memory, operations } = await start({ memory: { ...MACHINE, sections } });
    await attachment.startPassthrough();
    const part = memory.sections[3]!;
    const before = operations.length;
    for (const kind of ['rom', 'ram'] as const) {
      const transaction = memory.begin();
      transaction.remove(part.gpa);
      transaction.add({ ...part, kind });
      await transaction.commit();
    }
    const end = 64 * MIB;
    const touched = operations
      .slice(before)
      .flatMap(operation => ('iova' in operation ? [operation.iova as number] : []));
    expect(touched.filter(iova => iova < end)).toEqual([part.gpa, part.gpa, part.gpa, part.gpa]);
    // What is replaced is gone for no moment: both messages are one batch.
    const ops = operations.slice(before).map(({ op }) => op);
    expect(ops.slice(0, 4)).toEqual(['iotlbBatchBegin', 'iotlbInvalidate', 'iotlbUpdate', 'iotlbBatchEnd']);
  });

  it('at once with another finds its own place', async () => {
    const { memory } = await start({});
    const [one, two] = await Promise.all([plug(memory, MIB), plug(memory, MIB)]);
    expect(two.gpa).toBeGreaterThan(one.gpa);
  });

  it('is not for an attachment that could not be made', async () => {
    const { block, guest, memory } = await start({});
    await setup!.attachment.close();
    const failing = Attachment.attach({ ...block, memory, queues: [guest.queue], placement: 'identity' });
    await expect(failing).rejects.toMatchObject({ code: 'ERR_VDPA_CLOSED' });
    await plug(memory, MIB);
  });

  it('at once with an attach is in its maps or after them', async () => {
    const memory = GuestMemory.create(MACHINE);
    const guest = new BlockGuest(memory, 256, { firstBlock: 0, blocks: 64, writes: 0, depth: 1, seed: 1 });
    const block = await openBlockDevice('soft:blk');
    const attaching = Attachment.attach({ ...block, memory, queues: [guest.queue], placement: 'identity' });
    const [attachment, dimm] = await Promise.all([attaching, plug(memory, MIB)]);
    expect(attachment.space.held.map(map => map.iova)).toContain(dimm.gpa);
    expect(memory.sections).toContain(dimm);
    await attachment.close();
    await guest.close();
    memory.close();
  });

  it('is followed by a stopped attachment, so that another can still refuse it', async () => {
    const { attachment, memory } = await start({ startShadowed: true });
    await attachment.startShadow();
    await setup!.progress();
    let refuse = false;
    memory.listen(async () => {
      if (!refuse) return;
      await attachment.stopShadow();
      throw new Error('no room there');
    });
    refuse = true;
    await expect(plug(memory, MIB)).rejects.toThrow(/^no room there$/);
    expect(attachment.space.held.some(map => map.iova === 4 * GIB)).toBe(false);
    refuse = false;
    await attachment.recover();
    await expectNothingLost();
  });

  it('does not outlive the attachment or the memory', async () => {
    const { attachment, memory } = await start({});
    await attachment.startPassthrough();
    const { gpa } = await plug(memory, MIB);
    const change = unplug(memory, gpa);
    await attachment.close();
    await change;
    expect(attachment.mode).toBe('closed');
    memory.close();
    const closed = expect.objectContaining({ code: 'ERR_VDPA_CLOSED' });
    await expect(plug(memory, MIB)).rejects.toThrow(closed);
    expect(() => memory.begin()).toThrow(closed);
  });
});

describe('a switch', () => {
  it('that cannot be mapped is refused while the device works on', async () => {
    const far: Topology = {
      backends: MACHINE.backends,
      sections: [{ name: 'ram', kind: 'ram', gpa: 8 * GIB, size: 64 * MIB, backend: 'ram', offset: 0 }],
    };
    const { attachment } = await start({
      memory: far,
      placement: 'allocated',
      startShadowed: true,
      limits: { last: BigInt(GIB - 1) },
    });
    await attachment.startShadow();
    await setup!.progress();
    await expect(attachment.leaveShadow()).rejects.toMatchObject({ code: 'ERR_VDPA_ADDRESS' });
    expect(attachment.mode).toBe('shadowed');
    await expectNothingLost();
  });

  it.each(['soft:blk', 'soft:blk?persist=off'])(
    "goes on without another device's memory that the kernel refuses only then, %s",
    async reference => {
      const warnings: string[] = [];
      let refused = (_: number) => false;
      const { attachment, memory } = await start(
        {
          memory: WITH_BAR,
          placement: 'relocated',
          wrap: refusing(iova => refused(iova)),
          onWarning: text => warnings.push(text),
        },
        reference,
      );
      await attachment.startPassthrough();
      await setup!.progress();
      expect(attachment.skipped).toEqual([]);
      refused = iova => iova === 2 * GIB + 2 ** 40;
      await attachment.enterShadow();
      expect(attachment.skipped).toMatchObject([{ name: 'bar', reason: 'refused' }]);
      expect(warnings).toEqual([expect.stringMatching(/^bar at 0x80000000/)]);
      await setup!.progress();
      await attachment.leaveShadow();
      await setup!.progress();
      // RAM in its place is another matter.
      const transaction = memory.begin();
      transaction.remove(2 * GIB);
      transaction.add({ name: 'dimm', gpa: 2 * GIB, size: MIB });
      await transaction.commit();
      expect(attachment.skipped).toEqual([]);
      expect(attachment.space.held.some(map => map.iova === 2 * GIB)).toBe(true);
      await expectNothingLost();
    },
  );
});
