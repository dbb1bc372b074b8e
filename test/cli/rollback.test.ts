/** Device operations that fail at each phase of a rehearsal: before the commit the source must serve again, with nothing lost. */

import {
  type Device,
  ERRNO,
  type FaultPlan,
  injectFaults,
  type MigrationReport,
  type Operation,
  openBlockDevice,
  type Placement,
  permitWrites,
  Rehearsal,
} from 'vhost-vdpa';
import { describe, expect, it } from 'vitest';

interface Scene {
  readonly source?: FaultPlan;
  readonly destination?: FaultPlan;
  readonly device?: string;
  readonly placement?: Placement;
}

/** Fails the `nth` operation that matches, once. */
function failing(matches: (operation: Operation) => boolean, nth: number, when: 'before' | 'after'): FaultPlan {
  let seen = 0;
  return operation => (matches(operation) && ++seen === nth ? { errno: ERRNO.EIO, when } : undefined);
}

async function rehearse({ source, destination, device = 'soft:blk', placement = 'identity' }: Scene) {
  const faulty = (plan: FaultPlan | undefined) => ({
    wrap: (opened: Device) => (plan ? injectFaults(opened, plan) : opened),
  });
  const from = await openBlockDevice(device, faulty(source));
  const to = await openBlockDevice(device, faulty(destination));
  const area = await permitWrites(from, { destroy: true, range: undefined, writes: 0.4 });
  const rehearsal = new Rehearsal({
    from,
    to,
    area,
    memory: 64 * 2 ** 20,
    placement,
    depth: 32,
    seed: 7,
    settleMs: 50,
    maxDowntimeMs: 50,
  });
  try {
    return await rehearsal.run();
  } finally {
    await rehearsal.close();
  }
}

function expectRolledBack(report: MigrationReport, phase: string, message: RegExp): void {
  expect(report.verdict).toBe('fail');
  expect(report.failure).toMatchObject({ phase, source_serves: true, message: expect.stringMatching(message) });
  expect(report.reasons).toEqual([`${phase}: ${report.failure!.message}`]);
  expect(report.phases.at(-1)!.name).toBe('roll_back');
  expect(report.workload).toMatchObject({ lost: 0, duplicated: 0, corrupt: 0, errors: 0 });
  expect(report.workload.completed).toBeGreaterThan(0);
}

const suspend = ({ op }: Operation) => op === 'suspend';
const readBase = ({ op }: Operation) => op === 'getVringBase';
const map = ({ op }: Operation) => op === 'iotlbUpdate';
const driverOk = (operation: Operation) => operation.op === 'setStatus' && operation.status === 0xf;
const features = ({ op }: Operation) => op === 'setFeatures';

describe.each(['before', 'after'] as const)('an operation that fails %s its effect', when => {
  describe.each(['identity', 'relocated'] as const)('%s', placement => {
    it('SUSPEND on the source, at the switch', async () => {
      const report = await rehearse({ placement, source: failing(suspend, 1, when) });
      expectRolledBack(report, 'switch_to_shadow', /^VHOST_VDPA_SUSPEND on soft:blk failed: EIO/);
    });

    it('GET_VRING_BASE on the source, at the switch', async () => {
      const report = await rehearse({ placement, source: failing(readBase, 1, when) });
      expectRolledBack(report, 'switch_to_shadow', /^VHOST_GET_VRING_BASE on soft:blk failed: EIO/);
    });

    it('the start of the source in shadow', async () => {
      const report = await rehearse({ placement, source: failing(driverOk, 2, when) });
      expectRolledBack(report, 'switch_to_shadow', /^VHOST_VDPA_SET_STATUS on soft:blk failed: EIO \(status 0xf\)/);
    });

    it('SUSPEND on the source, for the blackout', async () => {
      const report = await rehearse({ placement, source: failing(suspend, 2, when) });
      expectRolledBack(report, 'suspend', /^VHOST_VDPA_SUSPEND on soft:blk failed: EIO/);
    });

    it('GET_VRING_BASE on the source, for the blackout', async () => {
      const report = await rehearse({ placement, source: failing(readBase, 2, when) });
      expectRolledBack(report, 'suspend', /^VHOST_GET_VRING_BASE on soft:blk failed: EIO/);
    });

    it('the features of the destination', async () => {
      const report = await rehearse({ placement, destination: failing(features, 1, when) });
      expectRolledBack(report, 'start_destination', /^VHOST_SET_FEATURES on soft:blk failed: EIO/);
    });

    it('the start of the destination', async () => {
      const report = await rehearse({ placement, destination: failing(driverOk, 1, when) });
      expectRolledBack(report, 'start_destination', /^VHOST_VDPA_SET_STATUS on soft:blk failed: EIO \(status 0xf\)/);
    });
  });
});

// Two maps at attach, memory and shadow rings; the third is the first that is made again. After: the kernel took it and the
// answer was lost, so nobody knows what it holds.
describe.each(['before', 'after'] as const)('a map that fails %s its effect', when => {
  it('on the source, at the switch', async () => {
    const report = await rehearse({ device: 'soft:blk?persist=off', source: failing(map, 3, when) });
    expectRolledBack(report, 'switch_to_shadow', /^VHOST_IOTLB_UPDATE on .* failed: EIO \(asid 0, iova 0x/);
  });

  it('on the destination can only come after the blackout: for that it was mapped at attach', async () => {
    const report = await rehearse({ placement: 'relocated', destination: failing(map, 3, when) });
    expect(report.failure).toMatchObject({ phase: 'switch_to_passthrough' });
  });

  it('at attach is an error, before anything runs', async () => {
    await expect(rehearse({ destination: failing(map, 1, when) })).rejects.toMatchObject({
      message: expect.stringMatching(/^VHOST_IOTLB_UPDATE on soft:blk failed: EIO/),
    });
  });
});

it('after the commit the source never serves again by itself', async () => {
  const report = await rehearse({ destination: failing(suspend, 1, 'before') });
  expect(report.verdict).toBe('fail');
  expect(report.failure).toMatchObject({ phase: 'switch_to_passthrough', source_serves: false });
});
