import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { BlkBackend } from '../../lib/device/soft/blk.js';
import { Dma } from '../../lib/device/soft/dma.js';
import { DirtyBitmap } from '../../lib/dirty/dirty-bitmap.js';
import { BlkDriver } from '../../lib/guest/blk-driver.js';
import { BlkWorkload } from '../../lib/guest/blk-workload.js';
import { BLOCK_SIZE, layoutGuest, PAGES_PER_KIND } from '../../lib/guest/layout.js';
import { GuestMemory } from '../../lib/memory/guest-memory.js';
import { ringAreas } from '../../lib/ring/addresses.js';
import { Chain } from '../../lib/ring/chain.js';
import { SplitDevice } from '../../lib/ring/split-device.js';

const BLOCKS = 64;
const SLOTS = 8;

/** A guest and the soft device's own data path, in one thread, on real guest memory. */
describe('the workload', () => {
  let memory: GuestMemory;
  let dma: Dma;
  let disk: Uint8Array;
  let dirty: DirtyBitmap;
  let driver: BlkDriver;
  let device: SplitDevice;
  const chain = new Chain(64);

  beforeEach(() => {
    memory = GuestMemory.create(2 ** 24);
    const layout = layoutGuest(memory, 64, SLOTS);
    const [section] = memory.sections;
    dma = new Dma();
    dma.setMaps([{ iova: 0, size: section!.size, region: section!.region, offset: 0, perm: 'rw' }]);
    disk = new Uint8Array(BLOCKS * BLOCK_SIZE);
    dirty = new DirtyBitmap(memory.end);
    driver = new BlkDriver(memory, layout, dirty);
    device = new SplitDevice(
      ringAreas(layout.queue, (gpa, length) => memory.view(gpa, length)),
      64,
      0,
    );
  });
  afterEach(() => {
    dma.close();
    memory.close();
  });

  const makeWorkload = (writes: number) =>
    new BlkWorkload(driver, { firstBlock: 0, blocks: BLOCKS, depth: SLOTS, writes, seed: 3 });

  function serve(backend = new BlkBackend(disk, dma)): void {
    while (device.pop(chain)) device.push(chain.head, backend.execute(chain));
    device.publish();
  }

  test('accounts for every request and verifies what it reads', () => {
    const workload = makeWorkload(0.5);
    for (let round = 0; round < 500; round++) {
      workload.fill();
      expect(workload.inFlight).toBe(SLOTS);
      serve();
      expect(workload.collect()).toBe(SLOTS);
    }
    const { submitted, completed, reads, writes, corrupt, errors } = workload.counters;
    expect([submitted, completed, corrupt, errors]).toEqual([4000, 4000, 0, 0]);
    expect(reads + writes).toBe(4000);
    expect(writes / 4000).toBeCloseTo(0.5, 1);
  });

  test('finds a byte that changed on the disk', () => {
    const workload = makeWorkload(0.5);
    for (let round = 0; round < 50; round++) {
      workload.fill();
      serve();
      workload.collect();
    }
    for (let block = 0; block < BLOCKS; block++) disk[block * BLOCK_SIZE + 77]! ^= 1;
    workload.fill();
    serve();
    workload.collect();
    expect(workload.counters.corrupt).toBeGreaterThan(0);
  });

  test('counts a completion that comes twice, and stops', () => {
    const workload = makeWorkload(0);
    workload.fill();
    device.pop(chain);
    const used = new Uint32Array(memory.view(layoutGuest(memory, 64, SLOTS).queue.device + 4, 16));
    used.set([chain.head, BLOCK_SIZE + 1, chain.head, BLOCK_SIZE + 1]);
    new Uint16Array(memory.view(layoutGuest(memory, 64, SLOTS).queue.device + 2, 2))[0] = 2;
    workload.collect();
    expect(workload.counters.duplicated).toBe(1);
    expect(workload.fault).toMatchObject({ code: 'ERR_VDPA_RING' });
  });

  test('counts an answer that is no success', () => {
    const workload = makeWorkload(0);
    workload.fill();
    serve(new BlkBackend(disk.subarray(0, 0), dma));
    workload.collect();
    expect(workload.counters).toMatchObject({ completed: SLOTS, errors: SLOTS, corrupt: 0 });
  });

  test('goes on in a copy of the memory, requests in flight included', async () => {
    const workload = makeWorkload(0.5);
    workload.fill();
    const copy = GuestMemory.create(2 ** 24);
    new Uint8Array(copy.view(0, 2 ** 24)).set(new Uint8Array(memory.view(0, 2 ** 24)));
    driver.moveTo(driver.openPlace(copy));
    const [section] = copy.sections;
    dma.setMaps([{ iova: 0, size: section!.size, region: section!.region, offset: 0, perm: 'rw' }]);
    const { queue } = layoutGuest(memory, 64, SLOTS);
    device = new SplitDevice(
      ringAreas(queue, (gpa, length) => copy.view(gpa, length)),
      64,
      0,
    );
    serve();
    expect(workload.collect()).toBe(SLOTS);
    workload.fill();
    serve();
    expect(workload.collect()).toBe(SLOTS);
    expect(workload.counters).toMatchObject({ corrupt: 0, errors: 0 });
    copy.close();
  });

  test('marks what the guest writes, and never a page that only the device writes', () => {
    const workload = makeWorkload(0.5);
    const { buffers } = layoutGuest(memory, 64, SLOTS);
    for (let round = 0; round < 100; round++) {
      workload.fill();
      serve();
      workload.collect();
    }
    const half = PAGES_PER_KIND * BLOCK_SIZE;
    for (const buffer of buffers) {
      for (let page = 0; page < half; page += BLOCK_SIZE) {
        expect(dirty.has(buffer + page)).toBe(false);
        expect(dirty.has(buffer + half + page)).toBe(true);
      }
    }
  });
});

test('a memory too small for the depth is refused with what is needed', () => {
  const memory = GuestMemory.create(2 ** 20);
  expect(() => layoutGuest(memory, 64, 32)).toThrow(/too few for 32 request buffers/);
  memory.close();
});
