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

test('the tier runs on real devices, and says which', async () => {
  const found = listVdpaDevices();
  for (const { name, path, driver } of found) {
    expect(path, `${name} is bound to ${driver}`).toMatch(/^\/dev\/vhost-vdpa-\d+$/);
    const device = await openDevice(path!);
    const { deviceId, features, backendFeatures, vqs, groups, asids } = await readCapabilities(device);
    await device.close();
    process.stderr.write(
      `covered: Linux ${release()} ${name} ${deviceName(deviceId)} ${vqs} vqs ${groups} groups ${asids} address spaces; ` +
        `features ${featureNames(deviceId, features).join(' ')}; backend ${backendFeatureNames(backendFeatures).join(' ')}\n`,
    );
  }
  expect(found.map(device => device.name)).toEqual(expect.arrayContaining(['vblk0', 'vblk1', 'vnet0', 'vnet1']));
});
