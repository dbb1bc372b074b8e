/** vDPA devices in sysfs, on a tree of our own that stands for /sys and /proc/self. */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  deviceMaxEntries,
  findVdpaDevice,
  hostPageSize,
  listVdpaDevices,
  maxIotlbEntries,
  pinnableBytes,
  pinsMemory,
  reservedWindows,
} from '../../lib/device/kernel/sysfs.js';

const host = vi.hoisted(() => ({ root: '' }));

// What the code under test reads by absolute path, it finds below the temporary folder.
vi.mock('node:fs', async importOriginal => {
  const fs = await importOriginal<typeof import('node:fs')>();
  const inside = (path: string) => (path.startsWith(host.root) ? path : host.root + path);
  return {
    ...fs,
    existsSync: (path: string) => fs.existsSync(inside(path)),
    readdirSync: (path: string) => fs.readdirSync(inside(path)),
    readFileSync: (path: string, encoding?: BufferEncoding) => fs.readFileSync(inside(path), encoding),
    readlinkSync: (path: string) => fs.readlinkSync(inside(path)),
    realpathSync: (path: string) => fs.realpathSync(inside(path)),
  };
});

const PAGE = 4096;
const temporary = mkdtempSync(join(tmpdir(), 'sysfs-'));
let trees = 0;

function write(path: string, content: string | Uint8Array): void {
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

describe("the cap on entries of the device's own copy", () => {
  const cap = (path: string) => deviceMaxEntries(findVdpaDevice(path)!);

  it("is the parameter of the parent's module", () => {
    write('/sys/module/vdpa_sim/parameters/max_iotlb_entries', '64\n');
    write('/sys/module/vduse/parameters/max_iotlb_entries', '128\n');
    write('/sys/module/mlx5_vdpa/parameters/max_iotlb_entries', '256\n');
    mkdirSync(join(host.root, '/sys/bus/auxiliary/drivers/mlx5_vdpa'), { recursive: true });
    symlinkSync(
      join(host.root, '/sys/module/mlx5_vdpa'),
      join(host.root, '/sys/bus/auxiliary/drivers/mlx5_vdpa/module'),
    );
    symlinkSync(
      join(host.root, '/sys/bus/auxiliary/drivers/mlx5_vdpa'),
      join(host.root, '/sys/devices/pci0000:00/0000:00:05.0/driver'),
    );
    expect(cap('/dev/vhost-vdpa-0')).toEqual({ entries: 64, parameter: 'vdpa_sim.max_iotlb_entries' });
    expect(cap('/dev/vhost-vdpa-1')).toEqual({ entries: 256, parameter: 'mlx5_vdpa.max_iotlb_entries' });
    expect(cap('/dev/vhost-vdpa-2')).toEqual({ entries: 128, parameter: 'vduse.max_iotlb_entries' });
  });

  it('is none where the module has none, or is not known', () => {
    expect(['0', '1', '2'].map(n => cap(`/dev/vhost-vdpa-${n}`))).toEqual([undefined, undefined, undefined]);
  });
});

describe('reserved windows', () => {
  const PARENT = '/sys/devices/pci0000:00/0000:00:05.0';
  const windows = (path: string) => reservedWindows(findVdpaDevice(path)!);
  const addGroup = (folder: string, text: string) => {
    write('/sys/kernel/iommu_groups/7/reserved_regions', text);
    symlinkSync(join(host.root, '/sys/kernel/iommu_groups/7'), join(host.root, folder, 'iommu_group'));
  };

  it("are those of the parent's IOMMU group", () => {
    addGroup(
      PARENT,
      `0x000000007b800000 0x000000007fffffff direct-relaxable
0x0000000080000000 0x00000000800fffff direct
0x00000000fee00000 0x00000000feefffff msi
0x000000fd00000000 0x000000ffffffffff reserved
`,
    );
    expect(windows('/dev/vhost-vdpa-1')).toEqual([
      { first: 0x7b800000, last: 0x7fffffff, type: 'direct-relaxable' },
      { first: 0x80000000, last: 0x800fffff, type: 'direct' },
      { first: 0xfee00000, last: 0xfeefffff, type: 'msi' },
      { first: 0xfd00000000, last: 0xffffffffff, type: 'reserved' },
    ]);
  });

  it('are those of the function that a subfunction belongs to', () => {
    addDevice('sf', `${PARENT}/mlx5_core.sf.2/sf`, 'vhost_vdpa', 'vhost-vdpa-5');
    addGroup(PARENT, '0x00000000fee00000 0x00000000feefffff msi\n');
    expect(windows('/dev/vhost-vdpa-5')).toHaveLength(1);
  });

  it('end where numbers are exact', () => {
    addGroup(
      PARENT,
      '0x001ffffffffff000 0xffffffffffffffff reserved\n0x0020000000000000 0xffffffffffffffff reserved\n',
    );
    expect(windows('/dev/vhost-vdpa-1')).toEqual([
      { first: 2 ** 53 - PAGE, last: Number.MAX_SAFE_INTEGER, type: 'reserved' },
    ]);
  });

  it('are none without an IOMMU', () => {
    expect(windows('/dev/vhost-vdpa-0')).toEqual([]);
    expect(windows('/dev/vhost-vdpa-1')).toEqual([]);
  });
});

describe('the page of this host', () => {
  it('is in the auxiliary vector', () => {
    // AT_HWCAP, AT_PAGESZ, AT_CLKTCK, AT_NULL.
    const pairs = new BigUint64Array([16n, 6n, 6n, 65536n, 17n, 100n, 0n, 0n]);
    write('/proc/self/auxv', new Uint8Array(pairs.buffer));
    expect(hostPageSize()).toBe(65536);
  });

  it('is the smallest where there is no such vector', () => {
    expect(hostPageSize()).toBe(PAGE);
    write('/proc/self/auxv', new Uint8Array(16));
    expect(hostPageSize()).toBe(PAGE);
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
