import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DiskAccess, openBlockDevice, permitWrites } from 'vhost-vdpa';
import { describe, expect, it } from 'vitest';
import { document, expectFailure, expectNoStack, run, SVQ } from './svq.js';

/** `svq` as somebody whom file modes bind: for root, without the capabilities that lift them. */
function svqWithoutPrivilege(args: readonly string[]) {
  const command = [process.execPath, SVQ, ...args];
  const drop = [
    'setpriv',
    '--bounding-set=-dac_override,-dac_read_search',
    '--inh-caps=-dac_override,-dac_read_search',
  ];
  const [program, ...rest] = process.getuid?.() === 0 ? [...drop, ...command] : command;
  return run(program!, rest);
}

describe('a device that the user may not open ends with 5', () => {
  const folder = mkdtempSync(join(tmpdir(), 'svq-permission-'));
  const path = join(folder, 'vhost-vdpa-0');

  it.each([[[]], [['-j']]])('svq inspect %j', async options => {
    writeFileSync(path, '');
    chmodSync(path, 0);
    const outcome = await svqWithoutPrivilege(['inspect', path, ...options]);
    rmSync(path);
    if (options.length > 0) {
      expect(document(outcome)).toMatchObject({ schema: 'svq.error/1', code: 'ERR_VDPA_PERMISSION' });
      expectNoStack(outcome);
      expect(outcome.code).toBe(5);
    } else {
      expectFailure(outcome, 5, /failed: EACCES\. Give yourself access, for example: sudo setfacl -m u:\$USER:rw /);
    }
  });
});

describe('what a workload may overwrite', () => {
  const nothing = { destroy: false, range: undefined, writes: undefined };
  const start = { start: 0, length: 2 ** 20 };

  /** A soft device, opened for the time of a test. */
  async function withDevice(
    body: (block: Awaited<ReturnType<typeof openBlockDevice>>) => Promise<void>,
  ): Promise<void> {
    const block = await openBlockDevice('soft:blk?disk=permission');
    try {
      await body(block);
    } finally {
      await block.device.close();
    }
  }

  const sign = (block: Awaited<ReturnType<typeof openBlockDevice>>, at: number) =>
    DiskAccess.use(block, access => {
      const bytes = new Uint8Array(4096);
      bytes.set([0x55, 0xaa], 510);
      return access.write(at, bytes);
    });

  it('is nothing, unless it was named', () =>
    withDevice(async block => {
      expect(await permitWrites(block, nothing)).toMatchObject({ firstBlock: 0, writes: 0 });
      await expect(permitWrites(block, { ...nothing, writes: 0.3 })).rejects.toMatchObject({
        code: 'ERR_VDPA_NOT_ALLOWED',
        message: expect.stringContaining('--write-range START:LENGTH, or say --destroy'),
      });
    }));

  it('is a range, when nothing there looks like data', () =>
    withDevice(async block => {
      expect(await permitWrites(block, { ...nothing, range: { start: 2 ** 20, length: 2 ** 20 } })).toEqual({
        firstBlock: 256,
        blocks: 256,
        writes: 0.4,
      });
    }));

  it.each([
    ['at the start of the disk', 0, start],
    ['at the start of the disk, with a range further on', 0, { start: 2 ** 20, length: 2 ** 20 }],
    ['at the start of the range', 256, { start: 2 ** 20, length: 2 ** 20 }],
  ])('is never a partition table %s', (_, signedBlock, range) =>
    withDevice(async block => {
      await sign(block, signedBlock);
      await expect(permitWrites(block, { ...nothing, range })).rejects.toMatchObject({
        code: 'ERR_VDPA_NOT_ALLOWED',
        message: expect.stringMatching(/bears the signature of: DOS partition table or boot sector\. .* say --destroy/),
      });
      expect(await permitWrites(block, { ...nothing, range, writes: 0 })).toMatchObject({ writes: 0 });
      expect(await permitWrites(block, { ...nothing, destroy: true })).toMatchObject({ firstBlock: 0, writes: 0.4 });
    }),
  );
});
