/** `svq iova plan`: maps, what is left out, what it costs. */
import { describe, expect, it } from 'vitest';
import { document, svq } from './svq.js';

const GIB = 2 ** 30;

interface Plan {
  maps: { iova: string; size: number; perm: string; gpa: string | null; memory: string[]; us: number | null }[];
  skipped: { name: string; kind: string; gpa: string; size: number; reason: string; why: string }[];
  operations: { op: string; us: number | null }[];
  hotplug: { base: string; size: number; slots: number } | null;
  cost: Record<string, number | null>;
}

async function plan(...args: string[]): Promise<Plan> {
  return document(await svq(['iova', 'plan', 'soft:blk', '--json', ...args])) as unknown as Plan;
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
    [['iova', 'plan', 'soft:blk', '--topology', 'q35'], 2, 'needs a size of memory'],
    [['iova', 'plan', 'soft:blk', '--topology', 'no-such-file'], 2, 'cannot be read'],
    [['iova', 'plan', 'soft:nothing'], 4, 'There is no soft device'],
  ])('svq %j exits with %d', async (args, expected, message) => {
    const { code, stderr } = await svq(args);
    expect([code, stderr]).toEqual([expected, expect.stringContaining(message)]);
  });
});
