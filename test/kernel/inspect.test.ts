import { spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';

function inspect(name: string) {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['bin/svq.js', 'inspect', name, '-j'], {
    encoding: 'utf8',
  });
  expect(stderr).toContain('has reset it');
  expect(status).toBe(0);
  return JSON.parse(stdout);
}

test('inspect shows a net device with its groups, address spaces and config', () => {
  const document = inspect('vnet0');
  expect(document).toMatchObject({
    schema: 'svq.inspect/1',
    type: 'net',
    device_id: 1,
    vqs: 3,
    vring_num_max: 256,
    groups: 2,
    address_spaces: 2,
    iova_range: { first: '0x0', last: '0xffffffffffffffff' },
    config_size: 24,
    config: { mac: '02:00:00:00:00:01', status: ['LINK_UP'], mtu: 1500 },
  });
  expect(document.features.names).toEqual(
    expect.arrayContaining(['MTU', 'MAC', 'STATUS', 'CTRL_VQ', 'CTRL_MAC_ADDR', 'VERSION_1', 'ACCESS_PLATFORM']),
  );
  expect(document.backend_features.names).toEqual(
    expect.arrayContaining(['IOTLB_MSG_V2', 'IOTLB_BATCH', 'IOTLB_ASID', 'SUSPEND', 'RESUME', 'IOTLB_PERSIST']),
  );
  expect(document.queues.map((queue: { group: number }) => queue.group)).toEqual([0, 0, 1]);
});

test('inspect shows a block device with its capacity', () => {
  expect(inspect('vblk0')).toMatchObject({
    type: 'blk',
    vqs: 1,
    groups: 1,
    address_spaces: 1,
    config_size: 96,
    config: { capacity_sectors: 0x40000, size_max_bytes: 0x1000, seg_max: 32, blk_size_bytes: 512 },
  });
});
