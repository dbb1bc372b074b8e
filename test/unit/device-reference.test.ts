/** How users name devices. */
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { listVdpaDevices } from '../../lib/device/kernel/sysfs.js';
import { isSoft, resolvePath } from '../../lib/device/reference.js';

vi.mock('../../lib/device/kernel/sysfs.js');

beforeEach(() => {
  vi.mocked(listVdpaDevices).mockReturnValue([
    { name: 'vblk0', driver: 'vhost_vdpa', path: '/dev/vhost-vdpa-3', parent: undefined },
    { name: 'vnet0', driver: 'virtio_vdpa', path: undefined, parent: undefined },
    { name: 'loose', driver: undefined, path: undefined, parent: undefined },
  ]);
});

describe('a reference', () => {
  it.each([
    ['/dev/vhost-vdpa-0', '/dev/vhost-vdpa-0'],
    ['./file', './file'],
    ['vhost-vdpa-12', '/dev/vhost-vdpa-12'],
    ['vblk0', '/dev/vhost-vdpa-3'],
  ])('%s is %s', (reference, path) => {
    expect(resolvePath(reference)).toBe(path);
  });

  const messageOf = (reference: string): string => {
    try {
      resolvePath(reference);
    } catch (error) {
      expect(error).toMatchObject({ code: 'ERR_VDPA_NO_DEVICE', details: { reference } });
      return (error as Error).message;
    }
    expect.unreachable('it was resolved');
  };

  it('to a device of another driver says how to bind it', () => {
    expect(messageOf('vnet0')).toMatch(
      /bound to virtio_vdpa, not to vhost_vdpa.*\/sys\/bus\/vdpa\/devices\/vnet0\/driver_override/,
    );
    expect(messageOf('loose')).toContain('bound to no driver');
  });

  it('to nothing suggests the nearest name', () => {
    expect(messageOf('vblk1')).toBe('There is no device "vblk1". Did you mean vblk0?');
    expect(messageOf('sof:blk')).toContain('Did you mean soft:blk?');
  });

  it('to nothing that is near lists the names', () => {
    expect(messageOf('something')).toBe('There is no device "something". Known here: vblk0, vnet0, loose, soft:blk.');
    expect(messageOf('vhost-vdpa-')).toContain('Known here');
  });
});

it.each([
  ['soft', true],
  ['soft:blk', true],
  ['soft:blk?latency=1ms', true],
  ['software', false],
  ['/dev/soft:blk', false],
  ['vblk0', false],
])('whether %s is embedded: %s', (reference, soft) => {
  expect(isSoft(reference)).toBe(soft);
});
