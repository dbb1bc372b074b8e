import { spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';

test('the package imports on any platform, and says so on use where there is no vDPA', () => {
  const script = `
    Object.defineProperty(process, 'platform', { value: 'darwin' });
    const { DirtyBitmap, MemoryRegion, openDevice } = await import('vhost-vdpa');
    new DirtyBitmap(4096).mark(0, 1);
    const codes = [];
    try { MemoryRegion.create('m', 4096); } catch (error) { codes.push(error.code); }
    await openDevice('/dev/vhost-vdpa-0').catch(error => codes.push(error.code));
    console.log(codes.join());
  `;
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
  expect(stderr).toBe('');
  expect(stdout.trim()).toBe('ERR_VDPA_UNSUPPORTED_PLATFORM,ERR_VDPA_UNSUPPORTED_PLATFORM');
});
