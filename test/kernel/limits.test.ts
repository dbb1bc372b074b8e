/** Caps on the number of maps: told before anything is sent, and where they were not known, found out and taken back. */
import { readFileSync } from 'node:fs';
import { type GuestMemory, type IovaLimits, plug, type Topology, unplug } from 'vhost-vdpa';
import { afterEach, beforeAll, expect, test } from 'vitest';
import { CLEAN, Setup } from '../unit/attachment-setup.js';
import { devicePath } from './devices.js';

const MIB = 2 ** 20;
const GIB = 2 ** 30;
const SLOTS = 32;
/** Memory and shadow rings. */
const FIRST_MAPS = 2;

const MACHINE: Topology = {
  backends: [{ name: 'ram', size: 64 * MIB }],
  sections: [{ name: 'ram', kind: 'ram', gpa: 0, size: 64 * MIB, backend: 'ram', offset: 0 }],
  hotplug: { base: GIB, size: 8 * GIB, slots: SLOTS },
};

const parameter = (module: string) =>
  Number(readFileSync(`/sys/module/${module}/parameters/max_iotlb_entries`, 'utf8'));

/** The smaller cap of this boot, and its name. */
const [cap, name] = (['vhost_vdpa', 'vdpa_sim'] as const)
  .map((module): [number, string] => [parameter(module), `${module}.max_iotlb_entries`])
  .sort(([a], [b]) => a - b)[0]!;

beforeAll(() => {
  // The boot of this file has one small cap.
  expect(cap).toBeGreaterThan(FIRST_MAPS);
  expect(cap).toBeLessThan(SLOTS);
});

let setup: Setup | undefined;
afterEach(async () => {
  await setup?.close();
  setup = undefined;
});

async function expectNothingLost(): Promise<void> {
  await setup!.progress();
  const { submitted, completed, ...rest } = await setup!.finish();
  expect(completed).toBe(submitted);
  expect(rest).toMatchObject(CLEAN);
}

/** Adds so many memories at once. */
async function plugMany(memory: GuestMemory, count: number): Promise<void> {
  const transaction = memory.begin();
  for (let i = 0; i < count; i++) transaction.add({ name: 'dimm', gpa: 2 * GIB + i * 16 * MIB, size: MIB });
  await transaction.commit();
}

test(`${name}=${cap}: one map too many is refused with the reason, and nothing has changed`, async () => {
  setup = await Setup.make(devicePath('vblk0'), { memory: MACHINE });
  const { attachment, memory } = setup;
  await attachment.startPassthrough();
  for (let i = FIRST_MAPS; i < cap; i++) await plug(memory, MIB);
  const { held } = attachment.space;
  const { sections } = memory;
  expect(held).toHaveLength(cap);
  const sent = setup.operations.length;
  const refused = { code: 'ERR_VDPA_ADDRESS', message: expect.stringContaining(name) };
  await expect(plug(memory, MIB)).rejects.toMatchObject(refused);
  expect(attachment.space.held).toEqual(held);
  expect(memory.sections).toEqual(sections);
  expect(setup.operations.length).toBe(sent);
  await setup.progress();
  // Another in its place is no more than there was.
  await unplug(memory, sections.at(-1)!.gpa);
  await plug(memory, MIB);
  expect(attachment.space.held).toHaveLength(cap);
  await expectNothingLost();
});

test(`${name}=${cap}: where the cap is not known the kernel's refusal is found, explained and taken back`, async () => {
  const unknown: Partial<IovaLimits> = { maxEntries: undefined, deviceMaxEntries: undefined };
  setup = await Setup.make(devicePath('vblk0'), { memory: MACHINE, limits: unknown });
  const { attachment, memory } = setup;
  await plug(memory, MIB);
  const { held } = attachment.space;
  const { sections } = memory;
  const refused = {
    code: 'ERR_VDPA_ADDRESS',
    message: expect.stringMatching(/EFAULT.*max_iotlb_entries.*The maps are as they were before/s),
    details: expect.objectContaining({ rolledBack: true }),
  };
  await expect(plugMany(memory, cap)).rejects.toMatchObject(refused);
  expect(attachment.space.held).toEqual(held);
  expect(memory.sections).toEqual(sections);
  // The kernel's own table: what was there is in the way, what was refused is not.
  const [first] = held;
  const again = await setup.block.device.submit([{ op: 'iotlbUpdate', asid: 0, ...first! }]);
  expect(again[0]!.errno).not.toBe(0);
  const free = { ...first!, iova: 2 * GIB + 16 * MIB, size: MIB };
  const results = await setup.block.device.submit([
    { op: 'iotlbUpdate', asid: 0, ...free },
    { op: 'iotlbInvalidate', asid: 0, iova: free.iova, size: free.size },
  ]);
  expect(results.map(({ errno }) => errno)).toEqual([0, 0]);
  // And the device's: it works.
  await attachment.startPassthrough();
  await attachment.enterShadow().then(() => attachment.leaveShadow());
  await expectNothingLost();
});

test(`${name}=${cap}: another device's memory that the kernel refuses is left out with a warning, and the guest works`, async () => {
  const bars = Array.from({ length: cap }, (_, i) => ({ name: `bar${i}`, gpa: 16 * GIB + i * GIB }));
  const machine: Topology = {
    backends: [...MACHINE.backends, ...bars.map(bar => ({ name: bar.name, size: MIB }))],
    sections: [
      ...MACHINE.sections,
      ...bars.map(bar => ({ ...bar, kind: 'ram-device' as const, size: MIB, backend: bar.name, offset: 0 })),
    ],
  };
  const warnings: string[] = [];
  setup = await Setup.make(devicePath('vblk0'), {
    memory: machine,
    limits: { maxEntries: undefined, deviceMaxEntries: undefined },
    onWarning: text => warnings.push(text),
  });
  const { attachment } = setup;
  expect(attachment.skipped.length).toBeGreaterThan(1);
  for (const range of attachment.skipped) expect(range).toMatchObject({ kind: 'ram-device', reason: 'refused' });
  expect(warnings).toEqual([expect.stringMatching(/^bar\d+ at 0x.* is not given to .*refused.* more like it/)]);
  await attachment.startPassthrough();
  await setup.progress();
  await attachment.enterShadow();
  await expectNothingLost();
});
