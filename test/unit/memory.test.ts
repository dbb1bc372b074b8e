/** Guest memory: regions by id, sections by guest address, bulk copies and comparisons. */
import { afterEach, describe, expect, it } from 'vitest';
import { GuestMemory } from '../../lib/memory/guest-memory.js';
import { MemoryRegion, PAGE_SIZE } from '../../lib/memory/region.js';
import type { Section } from '../../lib/memory/section.js';
import { allOf, compareMemory, copyMemory } from '../../lib/memory/transfer.js';
import { openMemory, ramSection } from './memory-support.js';

const open: { close(): void }[] = [];
const closing = <T extends { close(): void }>(thing: T): T => {
  open.push(thing);
  return thing;
};
afterEach(() => {
  for (const thing of open.splice(0)) thing.close();
});

const bytesOf = (memory: GuestMemory, gpa: number, length: number) => new Uint8Array(memory.view(gpa, length));

describe('a region', () => {
  it('is whole pages of zeroes', () => {
    const region = closing(MemoryRegion.create('pages', 3 * PAGE_SIZE + 1));
    expect(region.size).toBe(4 * PAGE_SIZE);
    expect(new Uint8Array(region.view(0, region.size)).every(byte => byte === 0)).toBe(true);
    expect(closing(MemoryRegion.create('pages', PAGE_SIZE)).size).toBe(PAGE_SIZE);
  });

  it('is the same memory wherever it is opened', () => {
    const region = closing(MemoryRegion.create('shared', PAGE_SIZE));
    const again = MemoryRegion.open(region.id);
    expect(again.size).toBe(PAGE_SIZE);
    new Uint8Array(region.view(0, 16))[5] = 42;
    expect(new Uint8Array(again.view(5, 1))[0]).toBe(42);
  });

  it('refuses windows out of bounds', () => {
    const region = closing(MemoryRegion.create('bounds', PAGE_SIZE));
    for (const [offset, length] of [
      [0, PAGE_SIZE + 1],
      [PAGE_SIZE - 1, 2],
      [-1, 1],
      [2 ** 40, 1],
    ]) {
      expect(() => region.view(offset, length)).toThrow(
        expect.objectContaining({ code: 'ERR_VDPA_INVALID_ARGUMENT', details: expect.objectContaining({ errno: 22 }) }),
      );
    }
  });

  it('detaches its windows when it is closed, once, and answers no more', () => {
    const region = MemoryRegion.create('closed', PAGE_SIZE);
    const window = region.view(0, 64);
    region.close();
    region.close();
    expect(window.byteLength).toBe(0);
    const closed = expect.objectContaining({ code: 'ERR_VDPA_CLOSED' });
    expect(() => region.view(0, 1)).toThrow(closed);
    expect(() => MemoryRegion.open(region.id)).toThrow(closed);
  });

  it('stays when somebody closes it who only opened it', () => {
    const region = closing(MemoryRegion.create('kept', PAGE_SIZE));
    new Uint8Array(region.view(0, 1))[0] = 7;
    const again = MemoryRegion.open(region.id);
    again.close();
    expect(() => again.view(0, 1)).toThrow(expect.objectContaining({ code: 'ERR_VDPA_CLOSED' }));
    expect(new Uint8Array(region.view(0, 1))[0]).toBe(7);
  });

  it('that cannot be made says why', () => {
    expect(() => MemoryRegion.create('huge', 2 ** 62)).toThrow(
      expect.objectContaining({ code: 'ERR_VDPA_MEMORY', details: expect.objectContaining({ name: 'huge' }) }),
    );
  });
});

describe('guest memory', () => {
  const MIB = 2 ** 20;

  it('starts at guest address 0', () => {
    const memory = closing(GuestMemory.create(2 * MIB));
    expect(memory.sections).toEqual([
      { name: 'ram', kind: 'ram', gpa: 0, size: 2 * MIB, region: memory.sections[0].region, offset: 0 },
    ]);
    expect(memory).toMatchObject({ size: 2 * MIB, end: 2 * MIB });
  });

  it('with holes finds each address in its section', () => {
    const region = closing(MemoryRegion.create('holes', 3 * PAGE_SIZE));
    const memory = openMemory([
      { gpa: 16 * PAGE_SIZE, size: PAGE_SIZE, region: region.id, offset: PAGE_SIZE },
      { gpa: 0, size: PAGE_SIZE, region: region.id, offset: 2 * PAGE_SIZE },
    ]);
    expect(memory).toMatchObject({ size: 2 * PAGE_SIZE, end: 17 * PAGE_SIZE });
    bytesOf(memory, 16 * PAGE_SIZE + 3, 1)[0] = 1;
    bytesOf(memory, PAGE_SIZE - 1, 1)[0] = 2;
    const backing = new Uint8Array(region.view(0, region.size));
    expect([backing[PAGE_SIZE + 3], backing[3 * PAGE_SIZE - 1]]).toEqual([1, 2]);
    for (const [gpa, length] of [
      [PAGE_SIZE, 1],
      [PAGE_SIZE - 1, 2],
      [16 * PAGE_SIZE - 1, 1],
      [17 * PAGE_SIZE - 1, 2],
    ]) {
      expect(() => memory.view(gpa, length)).toThrow(
        expect.objectContaining({ code: 'ERR_VDPA_ADDRESS', details: { gpa, length } }),
      );
    }
  });
});

describe('bulk transfer', () => {
  /** Two sections in one region, the second before the first there, and a hole between their addresses. */
  const sectionsOf = (region: MemoryRegion): Section[] => [
    ramSection({ gpa: 0, size: 4 * PAGE_SIZE, region: region.id, offset: 4 * PAGE_SIZE }),
    ramSection({ gpa: 32 * PAGE_SIZE, size: 4 * PAGE_SIZE, region: region.id, offset: 0 }),
  ];
  const makeMemory = () => openMemory(sectionsOf(closing(MemoryRegion.create('transfer', 8 * PAGE_SIZE))));
  const page = (n: number) => n * PAGE_SIZE;
  const fill = (memory: GuestMemory, at: number, value: number) => bytesOf(memory, page(at), PAGE_SIZE).fill(value);

  it('copies all of a memory, holes apart', async () => {
    const [from, to] = [makeMemory(), makeMemory()];
    fill(from, 1, 0x11);
    fill(from, 35, 0x22);
    expect([...allOf(from)]).toEqual([0, page(4), page(32), page(4)]);
    expect(await copyMemory(from, to, allOf(from))).toEqual({ data: page(2), holes: page(6) });
    expect(bytesOf(to, page(1), PAGE_SIZE).every(byte => byte === 0x11)).toBe(true);
    expect(bytesOf(to, page(35), PAGE_SIZE).every(byte => byte === 0x22)).toBe(true);
  });

  it('copies the runs it is given and nothing else, across sections', async () => {
    const [from, to] = [makeMemory(), makeMemory()];
    for (const at of [0, 1, 2, 3, 32, 33, 34, 35]) fill(from, at, 1 + at);
    // From the third page over the hole into the second section, and one page more.
    await copyMemory(from, to, Float64Array.of(page(2), page(31), page(35), page(1)));
    const first = [0, 1, 2, 3, 32, 33, 34, 35].map(at => bytesOf(to, page(at), 1)[0]);
    expect(first).toEqual([0, 0, 3, 4, 33, 0, 0, 36]);
  });

  it('compares page by page and names the pages that differ by guest address', async () => {
    const [a, b] = [makeMemory(), makeMemory()];
    fill(a, 2, 5);
    fill(b, 2, 5);
    expect(await compareMemory(a, b, allOf(a))).toEqual({ pagesCompared: 8, holePages: 7, mismatches: 0, first: [] });
    bytesOf(b, page(2) + 100, 1)[0] = 6;
    bytesOf(a, page(33) + 4095, 1)[0] = 1;
    const totals = await compareMemory(a, b, allOf(a));
    expect(totals).toEqual({ pagesCompared: 8, holePages: 6, mismatches: 2, first: [page(2), page(33)] });
    expect(await compareMemory(a, b, Float64Array.of(page(33), page(1)))).toMatchObject({ mismatches: 1 });
    expect(await compareMemory(a, b, Float64Array.of(page(34), page(1)))).toMatchObject({
      pagesCompared: 1,
      mismatches: 0,
    });
  });

  it('refuses memories of different shapes', async () => {
    const region = closing(MemoryRegion.create('other', 8 * PAGE_SIZE));
    const memory = makeMemory();
    const [first, second] = sectionsOf(region);
    const refused = expect.objectContaining({ code: 'ERR_VDPA_INVALID_ARGUMENT' });
    for (const sections of [
      [first],
      [first, second, { ...second, gpa: page(64) }],
      [first, { ...second, gpa: page(33) }],
      [first, { ...second, size: page(3) }],
      [first, { ...second, offset: page(1) }],
    ]) {
      const other = openMemory(sections);
      await expect(copyMemory(memory, other, allOf(memory))).rejects.toThrow(refused);
      await expect(compareMemory(memory, other, allOf(memory))).rejects.toThrow(refused);
    }
  });

  it('says so when the memory is gone', async () => {
    const region = MemoryRegion.create('gone', 8 * PAGE_SIZE);
    const memory = openMemory(sectionsOf(region));
    region.close();
    await expect(copyMemory(memory, makeMemory(), allOf(memory))).rejects.toThrow(
      expect.objectContaining({
        code: 'ERR_VDPA_MEMORY',
        details: expect.objectContaining({ errno: expect.any(Number) }),
      }),
    );
  });
});
