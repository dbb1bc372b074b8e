import { describe, expect, it } from 'vitest';
import { document, expectFailure, expectNoStack, run, SVQ, svq } from './svq.js';

describe('svq devices', () => {
  it('lists the embedded device last, in columns', async () => {
    const { code, stdout } = await svq(['devices']);
    const lines = stdout.trimEnd().split('\n');
    expect(lines[0]).toMatch(/^NAME +DEVICE +DRIVER +PARENT$/);
    expect(lines.at(-1)).toMatch(/^soft:blk +- +embedded +-$/);
    expect(code).toBe(0);
  });

  it('has the same as JSON', async () => {
    const { schema, devices } = document(await svq(['devices', '--json']));
    expect(schema).toBe('svq.devices/1');
    expect(devices).toContainEqual({ name: 'soft:blk', path: null, driver: 'embedded', parent: null });
  });
});

describe('svq inspect soft:blk', () => {
  it('shows features by name, address spaces, range and config', async () => {
    const { code, stdout, stderr } = await svq(['inspect', 'soft:blk']);
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toBe(`device              soft:blk (blk)
features            0x300000246  SIZE_MAX SEG_MAX BLK_SIZE FLUSH VERSION_1 ACCESS_PLATFORM
backend features    0x17e  IOTLB_MSG_V2 IOTLB_BATCH IOTLB_ASID SUSPEND RESUME ENABLE_AFTER_DRIVER_OK IOTLB_PERSIST
queues              1, at most 256 entries
groups              1
address spaces      1
IOVA range          0x0 to 0xffffffffffffffff
config              96 bytes
  capacity_sectors  262144
  size_max_bytes    4096
  seg_max           32
  blk_size_bytes    512

QUEUE  GROUP  DESC GROUP  SIZE
0      0      -           -
`);
  });

  it('gives 64-bit values as hex strings in JSON', async () => {
    expect(document(await svq(['inspect', 'soft:blk', '-j']))).toEqual({
      schema: 'svq.inspect/1',
      device: 'soft:blk',
      type: 'blk',
      device_id: 2,
      features: {
        value: '0x300000246',
        names: ['SIZE_MAX', 'SEG_MAX', 'BLK_SIZE', 'FLUSH', 'VERSION_1', 'ACCESS_PLATFORM'],
      },
      backend_features: {
        value: '0x17e',
        names: [
          'IOTLB_MSG_V2',
          'IOTLB_BATCH',
          'IOTLB_ASID',
          'SUSPEND',
          'RESUME',
          'ENABLE_AFTER_DRIVER_OK',
          'IOTLB_PERSIST',
        ],
      },
      vqs: 1,
      vring_num_max: 256,
      groups: 1,
      address_spaces: 1,
      iova_range: { first: '0x0', last: '0xffffffffffffffff' },
      queues: [{ index: 0, group: 0, desc_group: null, size: null }],
      config_size: 96,
      config: expect.objectContaining({ capacity_sectors: 262144, blk_size_bytes: 512 }),
    });
  });

  it('follows the device it is told to be', async () => {
    const { backend_features } = document(await svq(['inspect', 'soft:blk?persist=off&suspend=off', '-j']));
    expect((backend_features as { names: string[] }).names).toEqual([
      'IOTLB_MSG_V2',
      'IOTLB_BATCH',
      'IOTLB_ASID',
      'ENABLE_AFTER_DRIVER_OK',
    ]);
  });

  it('traces every operation on stderr', async () => {
    const outcome = await svq(['inspect', 'soft:blk', '--trace', '-j']);
    expect(outcome.stderr).toMatch(/^soft:blk VHOST_GET_FEATURES\(\) = 0x300000246 <\d\.\d{6}>$/m);
    expect(document(outcome)['schema']).toBe('svq.inspect/1');
  });
});

describe('a reader that goes away or cannot take it', () => {
  it('ends quietly when stdout is closed', async () => {
    const script = `"$0" "$1" inspect soft:blk | head -1; exit "\${PIPESTATUS[0]}"`;
    const outcome = await run('bash', ['-c', script, process.execPath, SVQ]);
    expect(outcome).toEqual({ code: 0, stdout: 'device              soft:blk (blk)\n', stderr: '' });
  });

  it('goes on when stderr is closed', async () => {
    const script = `"$0" "$1" attach soft:blk --duration 100ms --trace 2>&1 >/dev/null | head -1; exit "\${PIPESTATUS[0]}"`;
    const { code } = await run('bash', ['-c', script, process.execPath, SVQ]);
    expect(code).toBe(0);
  });

  it('fails with a message when stdout is full', async () => {
    const outcome = await run('bash', ['-c', '"$0" "$1" inspect soft:blk >/dev/full', process.execPath, SVQ]);
    expectFailure(outcome, 1, /^svq: cannot write to stdout: ENOSPC/);
    expectNoStack(outcome);
  });
});
