/** `svq iova plan`: maps, what is left out, what it costs. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { document, expectNoStack, svq } from './svq.js';

const GIB = 2 ** 30;

interface Plan {
  machine: string | null;
  memory_bytes: number;
  maps: { iova: string; size: number; perm: string; gpa: string | null; memory: string[]; us: number | null }[];
  skipped: { name: string; kind: string; gpa: string; size: number; reason: string; why: string }[];
  operations: { op: string; us: number | null }[];
  hotplug: { base: string; size: number; slots: number } | null;
  cost: Record<string, number | null>;
}

async function plan(...args: string[]): Promise<Plan> {
  return document(await svq(['iova', 'plan', 'soft:blk', '--json', ...args])) as unknown as Plan;
}

/** A machine that takes thousands of maps, and so some time: pages that are writable and read only by turns. */
function manyMaps(folder: string): string {
  const path = join(folder, 'machine.json');
  const sections = Array.from({ length: 20_000 }, (_, page) => {
    return {
      name: 'ram',
      kind: page % 2 ? 'rom' : 'ram',
      gpa: page * 4096,
      size: 4096,
      backend: 'ram',
      offset: page * 4096,
    };
  });
  writeFileSync(path, JSON.stringify({ schema: 'svq.machine/1', backends: [{ name: 'ram', size: '1G' }], sections }));
  return path;
}

describe('svq iova plan', () => {
  it('accounts for every byte of a PC of 128 GiB', async () => {
    const { maps, skipped, cost, hotplug } = await plan('--memory', '128G', '--topology', 'q35:maxmem=256G,slots=8');
    const bytes = (items: { size: number }[]) => items.reduce((sum, { size }) => sum + size, 0);
    const guest = maps.filter(({ gpa }) => gpa !== null);
    // All RAM but the window under VGA, and the firmware's ROM.
    expect(bytes(guest)).toBe(128 * GIB - 128 * 2 ** 10 + 256 * 2 ** 10);
    expect(guest.every(({ iova, gpa }) => iova === gpa)).toBe(true);
    expect(new Set(guest.map(({ perm }) => perm))).toEqual(new Set(['ro', 'rw']));
    expect(maps.find(({ gpa }) => gpa === null)).toMatchObject({ memory: ['shadow rings'] });
    expect(skipped).toContainEqual(
      expect.objectContaining({ name: 'vga-lowmem', gpa: '0xa0000', reason: 'not-memory' }),
    );
    expect(hotplug).toMatchObject({ slots: 8, size: 136 * GIB });
    expect(cost).toMatchObject({ maps: maps.length, entries: maps.length, operations: maps.length + 2, map_us: null });
    // Above 4 GiB all of it can be in pages of 1 GiB.
    expect(cost['bytes_in_1g_pages']).toBeGreaterThanOrEqual(127 * GIB - GIB);
  });

  it('carries it out to measure it', async () => {
    const { maps, operations, cost } = await plan('--memory', '64M', '--measure');
    expect(maps.every(({ us }) => us! > 0)).toBe(true);
    expect(operations.reduce((sum, { us }) => sum + us!, 0)).toBeCloseTo(cost['map_us']!, 3);
    expect(cost['unmap_us']).toBeGreaterThan(0);
    // To the nanosecond: no digits that a clock does not have.
    const times = [...maps, ...operations].map(({ us }) => us!).concat(cost['map_us']!, cost['unmap_us']!);
    for (const us of times) expect(String(us)).toMatch(/^\d+(\.\d{1,3})?$/);
  });

  it('names the machine', async () => {
    expect(await plan()).toMatchObject({ machine: null, memory_bytes: GIB });
    const spec = 'q35:maxmem=2G,slots=1';
    const named = await plan('--topology', spec);
    // 1 GiB unless told otherwise, less what video memory hides, and the firmware.
    expect(named).toMatchObject({ machine: spec, memory_bytes: GIB - 128 * 2 ** 10 + 256 * 2 ** 10 });
  });

  it('stops at Ctrl-C while it maps, says so, and leaves the device closed', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'vhost-vdpa-plan-'));
    try {
      const outcome = await svq(
        ['iova', 'plan', 'soft:blk', '--topology', manyMaps(folder), '--measure', '--trace', '-j'],
        {
          interruptAt: { pattern: /GET_VQS_COUNT/, times: 1 },
        },
      );
      expect(document(outcome)).toMatchObject({ schema: 'svq.error/1', code: 'ERR_VDPA_CANCELED' });
      expect(outcome.stderr).toMatch(/^svq: interrupted, stopping$/m);
      expect(outcome.stderr).toMatch(/^svq: stopped; what was opened is reset and closed$/m);
      expectNoStack(outcome);
      expect(outcome.code).toBe(130);
      expect(outcome.stderr).toMatch(/IOTLB_UPDATE\(.*= not run$/m);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('says what is too small for a page, and rounds the rest', async () => {
    const { maps, skipped } = await plan('--memory', '4G', '--topology', 'q35', '--granule', '64K');
    for (const { iova, size } of maps) expect([Number(iova) % 65536, size % 65536]).toEqual([0, 0]);
    expect(skipped).toContainEqual(expect.objectContaining({ gpa: '0xcb000', size: 12 * 1024, reason: 'unaligned' }));
  });

  it('is a table for people', async () => {
    const { code, stdout, stderr } = await svq(['iova', 'plan', 'soft:blk', '--memory', '4G', '--topology', 'q35']);
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toMatch(/^0x100000000-0x17fffffff +0x100000000 +2 GiB +rw +100 % 1G +pc\.ram$/m);
    expect(stdout).toMatch(/^0xfee00000-0xfeefffff +1 MiB +io +apic-msi +no memory is behind it$/m);
    expect(stdout).toMatch(/^machine +q35, 4\.0 GiB$/m);
    expect(stdout).toMatch(/^entries +\d+, (at most \d+|no limit known)$/m);
    expect(stdout).toMatch(/^operations +\d+, \d+ of them maps$/m);
  });

  it.each([
    [['iova'], 2, 'Name what to do: plan'],
    [['iova', 'plan'], 2, 'iova plan needs a device'],
    [
      ['iova', 'plan', 'soft:blk', '--placement', 'here'],
      2,
      '--placement is one of identity, relocated, allocated, not "here".',
    ],
    [['iova', 'plan', 'soft:blk', '--granule', '3000'], 2, 'power of two'],
    [['iova', 'plan', 'soft:blk', '--topology', 'no-such-file'], 2, 'cannot be read'],
    [
      ['iova', 'plan', 'soft:blk', '--topology', 'pc', '--memory', '4G'],
      2,
      'pc cannot be read: ENOENT. A machine is q35,',
    ],
    [['iova', 'plan', 'soft:blk', '--memory', '8192T'], 2, '"8192T" is too large'],
    [['iova', 'plan', 'soft:blk', '--memory', '1M'], 2, '--memory is 2 MiB to 8 TiB, not 1M.'],
    [['iova', 'plan', 'soft:nothing'], 4, 'There is no soft device'],
  ])('svq %j exits with %d', async (args, expected, message) => {
    const { code, stderr } = await svq(args);
    expect([code, stderr]).toEqual([expected, expect.stringContaining(message)]);
  });
});
