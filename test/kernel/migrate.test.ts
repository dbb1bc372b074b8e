import {
  type MigrationReport,
  openBlockDevice,
  type Placement,
  permitWrites,
  precheck,
  RELOCATION,
  Rehearsal,
  VHOST_BACKEND_F_IOTLB_PERSIST,
} from 'vhost-vdpa';
import { describe, expect, test } from 'vitest';
import { devicePath, PINNED } from './devices.js';
import { type Given, witness } from './witness.js';

const MEMORY = PINNED ? 3 * 2 ** 20 : 2 ** 30;
const DEPTH = PINNED ? 8 : 32;
const SIZE = 256;

async function rehearse(
  placement: Placement,
  without = 0n,
): Promise<{ report: MigrationReport; source: Given; target: Given }> {
  const source: Given = { rings: [], buffers: [] };
  const target: Given = { rings: [], buffers: [] };
  const open = (name: string, given: Given) =>
    openBlockDevice(devicePath(name), {
      withoutBackendFeatures: without,
      wrap: device => witness(device, given, SIZE),
    });
  const from = await open('vblk0', source);
  const to = await open('vblk1', target);
  const area = await permitWrites(from, { destroy: true, range: undefined, writes: 0.35 });
  expect(await precheck(from, to, area)).toEqual([]);
  // What the checks did before is not the rehearsal's.
  for (const given of [source, target]) given.rings.length = given.buffers.length = 0;
  const rehearsal = new Rehearsal({
    from,
    to,
    memory: MEMORY,
    placement,
    area,
    depth: DEPTH,
    seed: 7,
    settleMs: 200,
    maxDowntimeMs: 50,
  });
  try {
    return { report: await rehearsal.run(), source, target };
  } finally {
    await rehearsal.close();
  }
}

function expectPass({ verdict, reasons, workload, verification, memory }: MigrationReport): void {
  expect({ verdict, reasons }).toEqual({ verdict: 'pass', reasons: [] });
  expect(workload).toMatchObject({ lost: 0, duplicated: 0, corrupt: 0, errors: 0 });
  expect(workload.completed).toBe(workload.submitted);
  expect(workload.writes / workload.completed).toBeGreaterThan(0.3);
  expect(workload.in_flight_at_switch).toBeGreaterThan(0);
  expect(workload.in_flight_at_blackout).toBeGreaterThan(0);
  expect(workload.available_in_blackout).toBeGreaterThan(0);
  expect(verification).toMatchObject({ pages_compared: MEMORY / 4096, mismatches: 0 });
  expect(memory.device_dirty_pages).toBeGreaterThan(0);
  expect(memory.copied_bytes).toBeGreaterThan(0);
}

const placements: Placement[] = PINNED ? ['identity'] : ['identity', 'relocated'];

describe.each(placements)('a migration with memory in %s placement', placement => {
  test.each([
    ['maps kept through resets', 0n],
    ['maps made again at each reset', VHOST_BACKEND_F_IOTLB_PERSIST],
  ])('passes under load, %s', async (_, without) => {
    const { report, source, target } = await rehearse(placement, without);
    expectPass(report);
    expect(report.maps_kept).toBe(placement === 'identity' && without === 0n);
    expectShadowBetween(source, target, placement);
  });
});

/** While shadowed, the device never sees the guest's rings, nor, relocated, any of the guest's addresses. */
function expectShadowBetween(source: Given, target: Given, placement: Placement): void {
  const [guestRing, shadowRing] = source.rings;
  const [otherShadow, guestRingThere] = target.rings;
  expect(source.rings).toHaveLength(2);
  expect(target.rings).toHaveLength(2);
  expect(guestRingThere).toMatchObject({ desc: guestRing!.desc, avail: guestRing!.avail, used: guestRing!.used });
  for (const ring of [shadowRing!, otherShadow!]) {
    for (const address of [ring.desc, ring.avail, ring.used]) expect(address).toBeGreaterThanOrEqual(MEMORY);
  }
  // The second suspend of the source and the first of the destination found the device on shadow rings.
  const lowest = placement === 'relocated' ? RELOCATION : 0;
  for (const buffers of [source.buffers[1]!, target.buffers[0]!]) {
    expect(buffers.length).toBeGreaterThan(0);
    for (const address of buffers) {
      expect(address).toBeGreaterThanOrEqual(lowest);
      expect(address).toBeLessThan(lowest + MEMORY);
    }
  }
}
