/** vDPA devices in sysfs, on a tree of our own that stands for /sys and /proc/self. */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { listVdpaDevices, maxIotlbEntries, pinnableBytes, pinsMemory } from '../../lib/device/kernel/sysfs.js';

const host = vi.hoisted(() => ({ root: '' }));

// What the code under test reads by absolute path, it finds below the temporary folder.
vi.mock('node:fs', async importOriginal => {
  const fs = await importOriginal<typeof import('node:fs')>();
  const inside = (path: string) => (path.startsWith(host.root) ? path : host.root + path);
  return {
    ...fs,
    existsSync: (path: string) => fs.existsSync(inside(path)),
    readdirSync: (path: string) => fs.readdirSync(inside(path)),
    readFileSync: (path: string, encoding: BufferEncoding) => fs.readFileSync(inside(path), encoding),
    readlinkSync: (path: string) => fs.readlinkSync(inside(path)),
    realpathSync: (path: string) => fs.realpathSync(inside(path)),
  };
});

const temporary = mkdtempSync(join(tmpdir(), 'sysfs-'));
let trees = 0;

function write(path: string, content: string): void {
  mkdirSync(dirname(join(host.root, path)), { recursive: true });
  writeFileSync(join(host.root, path), content);
}

/** A device as the vdpa bus shows it: its own folder in the tree of devices, a link to it on the bus, and one to its driver. */
function addDevice(name: string, folder: string, driver?: string, chardev?: string): void {
  const own = join(host.root, folder);
  const bus = join(host.root, '/sys/bus/vdpa');
  mkdirSync(own, { recursive: true });
  mkdirSync(join(bus, 'devices'), { recursive: true });
  if (chardev) mkdirSync(join(own, chardev));
  if (driver) symlinkSync(join(bus, 'drivers', driver), join(own, 'driver'));
  symlinkSync(own, join(bus, 'devices', name));
}

beforeEach(() => {
  host.root = join(temporary, String(trees++));
  addDevice('vnet0', '/sys/devices/vnet0', 'virtio_vdpa');
  addDevice('vblk0', '/sys/devices/vblk0', 'vhost_vdpa', 'vhost-vdpa-0');
  addDevice('mlx', '/sys/devices/pci0000:00/0000:00:05.0/mlx', 'vhost_vdpa', 'vhost-vdpa-1');
  addDevice('vduse0', '/sys/devices/virtual/vduse/vduse0/vduse0', 'vhost_vdpa', 'vhost-vdpa-2');
  addDevice('loose', '/sys/devices/loose');
  mkdirSync(join(host.root, '/sys/class/vduse/vduse0'), { recursive: true });
});
afterAll(() => rmSync(temporary, { recursive: true }));

describe('the list of devices', () => {
  it('has every device of the bus, by name', () => {
    expect(listVdpaDevices()).toEqual([
      { name: 'loose', driver: undefined, path: undefined, parent: undefined },
      { name: 'mlx', driver: 'vhost_vdpa', path: '/dev/vhost-vdpa-1', parent: '0000:00:05.0' },
      { name: 'vblk0', driver: 'vhost_vdpa', path: '/dev/vhost-vdpa-0', parent: undefined },
      { name: 'vduse0', driver: 'vhost_vdpa', path: '/dev/vhost-vdpa-2', parent: 'vduse0' },
      { name: 'vnet0', driver: 'virtio_vdpa', path: undefined, parent: undefined },
    ]);
  });

  it('is read below another root when one is given', () => {
    const devices = join(host.root, '/sys/bus/vdpa/devices');
    host.root = '/';
    expect(listVdpaDevices(devices).map(({ name }) => name)).toContain('vblk0');
  });

  it('is empty without the module', () => {
    host.root = join(temporary, 'nothing');
    expect(listVdpaDevices()).toEqual([]);
  });

  it('knows only whole names of character devices', () => {
    mkdirSync(join(host.root, '/sys/devices/loose/vhost-vdpa-1x'));
    expect(listVdpaDevices()[0]).toMatchObject({ name: 'loose', path: undefined });
  });
});

describe('whether a device pins what it maps', () => {
  it.each([
    ['a device on a bus', '/dev/vhost-vdpa-1', undefined, true],
    ['a device nobody knows', '/dev/vhost-vdpa-9', undefined, true],
    ['VDUSE', '/dev/vhost-vdpa-2', undefined, false],
    ['the simulator on virtual addresses', '/dev/vhost-vdpa-0', 'Y', false],
    ['the simulator on physical addresses', '/dev/vhost-vdpa-0', 'N', true],
    ['a simulator too old to choose', '/dev/vhost-vdpa-0', undefined, true],
  ])('%s', (_what, path, useVa, pins) => {
    if (useVa) write('/sys/module/vdpa_sim/parameters/use_va', `${useVa}\n`);
    expect(pinsMemory(path)).toBe(pins);
  });
});

describe('the cap on entries', () => {
  it("is the module's parameter", () => {
    write('/sys/module/vhost_vdpa/parameters/max_iotlb_entries', '2048\n');
    expect(maxIotlbEntries()).toBe(2048);
  });

  it('is none on a kernel without it', () => {
    expect(maxIotlbEntries()).toBeUndefined();
  });
});

describe('what may be pinned', () => {
  const limits = (soft: string) =>
    `Limit                     Soft Limit           Hard Limit           Units     
Max processes             7823                 7823                 processes 
Max locked memory         ${soft.padEnd(20)} unlimited            bytes     
Max address space         unlimited            unlimited            bytes     \n`;

  it('is the limit less what is pinned already', () => {
    write('/proc/self/limits', limits('8388608'));
    write('/proc/self/status', 'Name:\tnode\nVmLck:\t     100 kB\nVmPin:\t    1024 kB\n');
    expect(pinnableBytes()).toBe(8388608 - 1024 * 1024);
  });

  it('is the limit where the kernel does not tell what is pinned', () => {
    write('/proc/self/limits', limits('65536'));
    write('/proc/self/status', 'Name:\tnode\n');
    expect(pinnableBytes()).toBe(65536);
  });

  it('is not bounded without a limit', () => {
    write('/proc/self/limits', limits('unlimited'));
    write('/proc/self/status', 'VmPin:\t       0 kB\n');
    expect(pinnableBytes()).toBeUndefined();
  });
});
