/** What the kernel says of our mappings, and which of them a device would skip silently. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { MemoryRegion, PAGE_SIZE, regionAddress } from '../../lib/memory/region.js';
import { parseVmas, readVmas, whySkipped } from '../../lib/memory/vma.js';

/** As smaps prints: a memfd, a private file, anonymous memory, a PCI resource; the first two adjacent. */
const SMAPS = `7f0000000000-7f0000004000 rw-s 00000000 00:01 1027                       /memfd:ram (deleted)
Size:                 16 kB
VmFlags: rd wr sh mr mw me ms sd
7f0000004000-7f0000006000 rw-p 00000000 fe:01 77                         /srv/with spaces in it
VmFlags: rd wr mr mw me ac sd
7f0000008000-7f000000a000 rw-p 00000000 00:00 0
VmFlags: rd wr mr mw me ac sd
7f0000010000-7f0000014000 rw-s fd000000 00:15 9000                       /sys/devices/pci0000:00/resource0
VmFlags: rd wr sh mr mw me ms de dd pf io
7f0000014000-7f0000015000 rw-s 00000000 00:15 9001                       /dev/mem
VmFlags: rd wr sh pf dd
`;
const BASE = 0x7f0000000000;

describe('mappings of the process', () => {
  it('are read with their kind', () => {
    const plain = { shared: true, file: true, io: false };
    expect(parseVmas(SMAPS)).toEqual([
      { start: BASE, end: BASE + 0x4000, ...plain },
      { start: BASE + 0x4000, end: BASE + 0x6000, ...plain, shared: false },
      { start: BASE + 0x8000, end: BASE + 0xa000, shared: false, file: false, io: false },
      { start: BASE + 0x10000, end: BASE + 0x14000, ...plain, io: true },
      { start: BASE + 0x14000, end: BASE + 0x15000, ...plain, io: true },
    ]);
  });

  it.each([
    ['is covered', 0, 0x4000, undefined],
    ['is covered by a part', 0x1000, 0x2000, undefined],
    ['goes on into private memory', 0x3000, 0x2000, /0x7f0000004000 is private/],
    ['is private', 0x5000, 0x1000, /is private/],
    ['ends in a hole', 0x5000, 0x2000, /is private/],
    ['starts in a hole', 0x6000, 0x1000, /nothing is mapped at 0x7f0000006000/],
    ['has no file', 0x8000, 0x1000, /no file/],
    ['is device memory', 0x10000, 0x1000, /I\/O memory/],
    ['is mapped by page frame', 0x14000, 0x1000, /I\/O memory/],
    ['ends above everything', 0x15000, 0x1000, /nothing is mapped/],
  ])('a range that %s', (_, offset, size, why) => {
    const found = whySkipped(parseVmas(SMAPS), BASE + offset, size);
    if (why) expect(found).toMatch(why);
    else expect(found).toBeUndefined();
  });
});

describe('our own memory', () => {
  let region: MemoryRegion | undefined;
  afterEach(() => region?.close());

  it.each([false, true])('is shared, backed by a file and no I/O memory (smaps: %s)', io => {
    region = MemoryRegion.create('mine', 8 * PAGE_SIZE);
    const address = regionAddress(region.id);
    expect(whySkipped(readVmas(io), address, region.size)).toBeUndefined();
    region.close();
    expect(whySkipped(readVmas(io), address, PAGE_SIZE)).toBeDefined();
  });

  it('can be a file, whose bytes it shares', () => {
    const folder = mkdtempSync(join(tmpdir(), 'vma-'));
    const path = join(folder, 'bar');
    try {
      writeFileSync(path, Buffer.alloc(2 * PAGE_SIZE, 7));
      region = MemoryRegion.openFile(path, 2 * PAGE_SIZE);
      expect(new Uint8Array(region.view(PAGE_SIZE, 1))[0]).toBe(7);
      expect(whySkipped(readVmas(true), regionAddress(region.id), region.size)).toBeUndefined();
      const refused = expect.objectContaining({ code: 'ERR_VDPA_MEMORY' });
      expect(() => MemoryRegion.openFile(path, 3 * PAGE_SIZE)).toThrow(refused);
      expect(() => MemoryRegion.openFile(path, 100)).toThrow(refused);
      expect(() => MemoryRegion.openFile(join(folder, 'none'), PAGE_SIZE)).toThrow(refused);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
