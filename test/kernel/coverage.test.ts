import { spawnSync } from 'node:child_process';
import { release } from 'node:os';
import {
  backendFeatureNames,
  deviceName,
  featureNames,
  listVdpaDevices,
  openDevice,
  readCapabilities,
} from 'vhost-vdpa';
import { expect, test } from 'vitest';
import { PINNED } from './devices.js';

/** The management device that made a device, such as vdpasim_net: only iproute2's vdpa tells. */
function parentOf(name: string): string {
  const { stdout, stderr } = spawnSync('vdpa', ['-j', 'dev', 'show', name], { encoding: 'utf8' });
  expect(stderr).toBe('');
  return JSON.parse(stdout).dev[name].mgmtdev;
}

test('the tier runs on real devices, and says which', async () => {
  const found = listVdpaDevices();
  for (const { name, path, driver } of found) {
    expect(path, `${name} is bound to ${driver}`).toMatch(/^\/dev\/vhost-vdpa-\d+$/);
    const device = await openDevice(path!);
    const { deviceId, features, backendFeatures, vqs, groups, asids } = await readCapabilities(device);
    await device.close();
    const memory = PINNED ? 'pins memory' : 'works on virtual addresses';
    process.stderr.write(
      `covered: Linux ${release()}, ${parentOf(name)} ${name} (${deviceName(deviceId)}), ${memory}, ${vqs} vqs, ${groups} groups, ${asids} address spaces\n` +
        `covered:   features ${featureNames(deviceId, features).join(' ')}\n` +
        `covered:   backend features ${backendFeatureNames(backendFeatures).join(' ')}\n`,
    );
  }
  expect(found.map(device => device.name)).toEqual(expect.arrayContaining(['vblk0', 'vblk1', 'vnet0', 'vnet1']));
});
