/** Devices that pin what they map (vdpa_sim.use_va=0), within the memlock limit and the cap on entries of this boot. */
import { readFileSync } from 'node:fs';
import { AddressSpace, changeMaps, GuestMemory, openBlockDevice, plug, type Topology } from 'vhost-vdpa';
import { afterEach, beforeAll, expect, test } from 'vitest';
import { CLEAN, Setup } from '../unit/attachment-setup.js';
import { devicePath, PINNED } from './devices.js';

const MIB = 2 ** 20;
const PAGE = 4096;
const GIB = 2 ** 30;

const MACHINE: Topology = {
  backends: [{ name: 'ram', size: 4 * MIB }],
  sections: [{ name: 'ram', kind: 'ram', gpa: 0, size: 4 * MIB, backend: 'ram', offset: 0 }],
  hotplug: { base: GIB, size: GIB, slots: 8 },
};

beforeAll(() => {
  expect(PINNED).toBe(true);
  expect(memlock()).toBeLessThan(64 * MIB);
});

let setup: Setup | undefined;
afterEach(async () => {
  await setup?.close();
  setup = undefined;
});

/** Bytes this process may pin, root or not. */
function memlock(): number {
  return Number(/^Max locked memory\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1]);
}

test('more than may be pinned is refused with both figures before anything is sent, and works within the limit', async () => {
  setup = await Setup.make(devicePath('vblk0'), { memory: MACHINE });
  const { attachment, memory } = setup;
  await attachment.startPassthrough();
  await setup.progress();
  await plug(memory, MIB);
  const { held } = attachment.space;
  const sent = setup.operations.length;
  const refused = { code: 'ERR_VDPA_MEMLOCK', message: expect.stringMatching(/pins.*memlock.*ulimit -l/s) };
  await expect(plug(memory, memlock())).rejects.toMatchObject(refused);
  expect(setup.operations.length).toBe(sent);
  expect(attachment.space.held).toEqual(held);
  await setup.progress();
  const { submitted, completed, ...rest } = await setup.finish();
  expect(completed).toBe(submitted);
  expect(rest).toMatchObject(CLEAN);
});

test('memory in scattered pages takes an entry for each run of them: over the cap it is explained and taken back', async () => {
  const cap = Number(readFileSync('/sys/module/vhost_vdpa/parameters/max_iotlb_entries', 'utf8'));
  const pages = Math.ceil(1.5 * cap);
  expect(pages * PAGE).toBeLessThan(memlock());
  const block = await openBlockDevice(devicePath('vblk0'));
  const [scattered, other] = [GuestMemory.create(pages * PAGE), GuestMemory.create(pages * PAGE)];
  try {
    // Pages are given out as they are touched: taking turns, no two of one memory are neighbours for long.
    const views = [scattered, other].map(memory => new Uint8Array(memory.view(0, pages * PAGE)));
    for (let i = 0; i < pages; i++) for (const view of views) view[((i * 37) % pages) * PAGE] = 1;
    const space = new AddressSpace(0, block.limits);
    const [section] = scattered.sections;
    const map = { iova: GIB, size: section!.size, region: section!.region, offset: 0, perm: 'rw' } as const;
    const refused = {
      code: 'ERR_VDPA_ADDRESS',
      message: expect.stringMatching(/EFAULT.*physically contiguous.*max_iotlb_entries/s),
      details: expect.objectContaining({ rolledBack: true }),
    };
    await expect(changeMaps(block.device, space, [map])).rejects.toMatchObject(refused);
    expect(space.held).toEqual([]);
    // Nothing of it is left, and nothing stays pinned.
    const small = { ...map, size: PAGE };
    expect((await changeMaps(block.device, space, [small])).refused).toEqual([]);
    expect(readFileSync('/proc/self/status', 'utf8')).toMatch(/^VmPin:\s+4 kB$/m);
  } finally {
    await block.device.close();
    scattered.close();
    other.close();
  }
});
