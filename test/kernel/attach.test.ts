import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { type Device, openBlockDevice, openDevice } from 'vhost-vdpa';
import { describe, expect, test } from 'vitest';
import { devicePath, PINNED } from './devices.js';

const MEMORY = PINNED ? '3M' : '256M';

function svq(args: string[], options: { uid?: number } = {}) {
  return spawnSync(process.execPath, ['bin/svq.js', ...args], { encoding: 'utf8', ...options });
}

describe('attach', () => {
  test.each([[[]], [['--shadow']]])('carries verified I/O %j', extra => {
    const { status, stdout, stderr } = svq([
      'attach',
      'vblk0',
      '--duration',
      '1s',
      '--depth',
      '8',
      '--memory',
      MEMORY,
      '--destroy',
      '-j',
      ...extra,
    ]);
    expect({ status, stderr }).toMatchObject({ status: 0 });
    const { verdict, workload, mode, shadow } = JSON.parse(stdout);
    expect(verdict).toBe('pass');
    expect(mode).toBe(extra.length ? 'shadow' : 'passthrough');
    expect(workload).toMatchObject({ lost: 0, duplicated: 0, corrupt: 0, errors: 0 });
    expect(workload.completed).toBeGreaterThan(0);
    expect(shadow.map((queue: { completed: number }) => queue.completed)).toEqual(
      extra.length ? [workload.completed] : [],
    );
  });

  test('leaves the device reset on Ctrl-C, says so, and tells what it did', async () => {
    const child = spawn(process.execPath, [
      'bin/svq.js',
      'attach',
      'vblk0',
      '--duration',
      '60s',
      '--memory',
      MEMORY,
      '--depth',
      '8',
      '-j',
    ]);
    const ended = collect(child);
    await untilStderr(child, 'in flight');
    child.kill('SIGINT');
    const { code, stdout, stderr } = await ended;
    expect(code).toBe(130);
    expect(stderr).toContain('is reset and closed');
    expect(JSON.parse(stdout).workload).toMatchObject({ lost: 0, corrupt: 0 });
    expect(await statusOf('vblk0')).toBe(0);
  });
});

describe('what cannot be done is said', () => {
  test('a device that another process has', async () => {
    const device: Device = await openDevice(devicePath('vblk0'));
    const { status, stderr } = svq(['attach', 'vblk0', '--duration', '1s']);
    await device.close();
    expect(status).toBe(1);
    expect(stderr).toMatch(/EBUSY.*Another process has it open/);
  });

  test('a device without permission', () => {
    const { status, stderr } = svq(['inspect', devicePath('vblk0')], { uid: 65534 });
    expect(status).toBe(5);
    expect(stderr).toMatch(/EACCES.*setfacl/);
  });

  test('a device of another type', () => {
    const { status, stderr } = svq(['attach', 'vnet0']);
    expect(status).toBe(6);
    expect(stderr).toContain('is a net device');
  });

  test('writes that nobody allowed', () => {
    const { status, stderr } = svq([
      'migrate',
      '--from',
      'vblk0',
      '--to',
      'vblk1',
      '--writes',
      '30%',
      '--memory',
      MEMORY,
    ]);
    expect(status).toBe(2);
    expect(stderr).toMatch(/--write-range|--destroy/);
  });

  test.runIf(PINNED)('memory beyond the memlock limit on a device that pins', async () => {
    const { status, stderr, stdout } = svq(['attach', 'vblk0', '--memory', '64M', '--duration', '1s']);
    expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
    expect(stderr).toMatch(/pins what it maps.*ulimit -l unlimited.*ERR_VDPA_MEMLOCK/);
    const block = await openBlockDevice(devicePath('vblk0'));
    expect(block.limits.pinnable()).toBe(8 * 2 ** 20);
    await block.device.close();
  });
});

test('a migration interrupted in any phase leaves both devices reset', async () => {
  for (const delay of [300, 1200, 2000, 2600]) {
    const child = spawn(process.execPath, [
      'bin/svq.js',
      'migrate',
      '--from',
      'vblk0',
      '--to',
      'vblk1',
      '--memory',
      MEMORY,
      '--depth',
      '4',
      '--settle',
      '1s',
    ]);
    const ended = collect(child);
    await untilStderr(child, 'vblk1 has reset it');
    await new Promise(resolve => setTimeout(resolve, delay));
    child.kill('SIGINT');
    const { code, stderr } = await ended;
    expect({ code, stderr }).toMatchObject({
      code: 130,
      stderr: expect.stringContaining('is reset and closed'),
    });
    expect([await statusOf('vblk0'), await statusOf('vblk1')]).toEqual([0, 0]);
  }
});

async function statusOf(name: string): Promise<number> {
  const device = await openDevice(devicePath(name));
  const [status] = await device.submit([{ op: 'getStatus' }]);
  await device.close();
  return Number(status!.value);
}

async function collect(child: ChildProcess): Promise<{ code: number | null; stdout: string; stderr: string }> {
  let stdout = '';
  let stderr = '';
  child.stdout!.on('data', data => {
    stdout += data;
  });
  child.stderr!.on('data', data => {
    stderr += data;
  });
  const [code] = await once(child, 'close');
  return { code, stdout, stderr };
}

function untilStderr(child: ChildProcess, text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    let seen = '';
    child.stderr!.on('data', data => {
      seen += data;
      if (seen.includes(text)) resolve();
    });
    child.once('close', () => reject(new Error(`ended before it said "${text}": ${seen}`)));
  });
}
