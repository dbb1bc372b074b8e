/** A machine's memory changes in transactions that those who map it follow or refuse. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { GuestMemory, type MemoryChange } from '../../lib/memory/guest-memory.js';
import { plug, unplug } from '../../lib/memory/hotplug.js';
import type { Section } from '../../lib/memory/section.js';
import type { Topology } from '../../lib/memory/topology.js';

const MIB = 2 ** 20;
const GIB = 2 ** 30;

/** 16 MiB at 0, room for three more memories at 4 GiB. */
const MACHINE: Topology = {
  backends: [{ name: 'ram', size: 16 * MIB }],
  sections: [{ name: 'ram', kind: 'ram', gpa: 0, size: 16 * MIB, backend: 'ram', offset: 0 }],
  hotplug: { base: 4 * GIB, size: GIB, slots: 3 },
};

const addresses = (sections: readonly Section[]) => sections.map(section => section.gpa);
const address = expect.objectContaining({ code: 'ERR_VDPA_ADDRESS' });

let memory: GuestMemory;
beforeEach(() => {
  memory = GuestMemory.create(MACHINE);
});
afterEach(() => memory.close());

describe('a memory transaction', () => {
  it('changes nothing before its commit, then all at once', async () => {
    const seen: MemoryChange[] = [];
    memory.listen(async change => {
      // Who follows maps what will be, while the machine still has what was.
      expect(addresses(memory.sections)).toEqual([0]);
      seen.push(change);
    });
    const transaction = memory.begin();
    const dimm = transaction.add({ name: 'dimm', gpa: 4 * GIB, size: MIB });
    transaction.remove(0);
    expect(addresses(memory.sections)).toEqual([0]);
    await transaction.commit();
    expect(memory.sections).toEqual([dimm]);
    expect(seen).toHaveLength(1);
    expect(seen[0]).toMatchObject({ sections: [dimm], added: [dimm], removed: [{ gpa: 0 }] });
    expect(() => memory.view(0, 1)).toThrow(address);
    new Uint8Array(memory.view(4 * GIB, 1))[0] = 1;
  });

  it('adds the same memory at a second address', async () => {
    const transaction = memory.begin();
    const [ram] = memory.sections;
    transaction.add({ name: 'alias', kind: 'rom', gpa: GIB, size: MIB, region: ram!.region, offset: MIB });
    await transaction.commit();
    new Uint8Array(memory.view(MIB, 1))[0] = 42;
    expect(new Uint8Array(memory.view(GIB, 1))[0]).toBe(42);
    // The memory stays as long as one of its names does.
    const removal = memory.begin();
    removal.remove(0);
    await removal.commit();
    expect(new Uint8Array(memory.view(GIB, 1))[0]).toBe(42);
  });

  it.each<[string, (transaction: ReturnType<GuestMemory['begin']>) => void, RegExp]>([
    [
      'an overlap',
      t => t.add({ name: 'dimm', gpa: 15 * MIB, size: 2 * MIB }),
      /dimm at 0xf00000-0x10fffff overlaps ram at 0x0-0xffffff/,
    ],
    ['a removal of what is not there', t => t.remove(MIB), /starts at guest address 0x100000/],
    ['a removal twice', t => [t.remove(0), t.remove(0)], /removed twice/],
    ['memory above the window', t => t.add({ name: 'dimm', gpa: 5 * GIB, size: MIB }), /last guest address/],
    [
      'an alias beyond its memory',
      t => t.add({ name: 'alias', gpa: GIB, size: MIB, region: memory.sections[0]!.region, offset: 16 * MIB }),
      /does not have/,
    ],
    [
      'an alias of memory of another machine',
      t => t.add({ name: 'alias', gpa: GIB, size: MIB, region: 1e9 }),
      /does not have/,
    ],
  ])('refuses %s, and nothing has changed', async (_, change, message) => {
    const told: unknown[] = [];
    memory.listen(async given => {
      told.push(given);
    });
    const transaction = memory.begin();
    change(transaction);
    const failed = await transaction.commit().then(
      () => undefined,
      error => error,
    );
    expect(failed).toMatchObject({ code: 'ERR_VDPA_ADDRESS', message: expect.stringMatching(message) });
    expect(addresses(memory.sections)).toEqual([0]);
    expect(told).toEqual([]);
  });

  it.each(['iommu', 'protected', 'io'] as const)('takes no %s section', kind => {
    const refused = expect.objectContaining({
      code: 'ERR_VDPA_UNSUPPORTED',
      message: expect.stringContaining('viommu'),
    });
    expect(() => memory.begin().add({ name: 'viommu', kind, gpa: GIB, size: MIB })).toThrow(refused);
  });

  it('that one listener refuses is taken back from those before it, in the opposite order', async () => {
    const log: string[] = [];
    const follow = (name: string) => async (change: MemoryChange) => {
      log.push(`${name} +${addresses(change.added)} -${addresses(change.removed)} =${addresses(change.sections)}`);
    };
    memory.listen(follow('a'));
    memory.listen(follow('b'));
    memory.listen(() => Promise.reject(new Error('no room')));
    memory.listen(follow('d'));
    const transaction = memory.begin();
    transaction.add({ name: 'dimm', gpa: GIB, size: MIB });
    await expect(transaction.commit()).rejects.toThrow('no room');
    const there = `+${GIB} - =0,${GIB}`;
    const back = `+ -${GIB} =0`;
    expect(log).toEqual([`a ${there}`, `b ${there}`, `b ${back}`, `a ${back}`]);
    expect(addresses(memory.sections)).toEqual([0]);
  });

  it('that cannot be taken back says so, with both reasons, and those who can go back do', async () => {
    const first: MemoryChange[] = [];
    memory.listen(async change => {
      first.push(change);
    });
    let calls = 0;
    memory.listen(() => (calls++ === 0 ? Promise.resolve() : Promise.reject(new Error('stuck'))));
    memory.listen(() => Promise.reject(new Error('no room')));
    const transaction = memory.begin();
    transaction.add({ name: 'dimm', gpa: GIB, size: MIB });
    const both = expect.objectContaining({ message: expect.stringMatching(/no room.*stuck/) });
    await expect(transaction.commit()).rejects.toThrow(both);
    expect(first.map(({ sections }) => addresses(sections))).toEqual([[0, GIB], [0]]);
  });

  it('waits for the one before it', async () => {
    const order: string[] = [];
    let release = () => {};
    const gate = new Promise<void>(resolve => {
      release = resolve;
    });
    memory.listen(async ({ added }) => {
      order.push(`start ${addresses(added)}`);
      await gate;
      order.push(`end ${addresses(added)}`);
    });
    const first = memory.begin();
    first.add({ name: 'one', gpa: GIB, size: MIB });
    const second = memory.begin();
    second.add({ name: 'two', gpa: 2 * GIB, size: MIB });
    const both = [first.commit(), second.commit()];
    release();
    await Promise.all(both);
    expect(order).toEqual([`start ${GIB}`, `end ${GIB}`, `start ${2 * GIB}`, `end ${2 * GIB}`]);
  });

  it('is for one commit', async () => {
    const transaction = memory.begin();
    await transaction.commit();
    const ended = expect.objectContaining({ code: 'ERR_VDPA_INVALID_ARGUMENT' });
    await expect(transaction.commit()).rejects.toThrow(ended);
    expect(() => transaction.remove(0)).toThrow(ended);
  });

  it('no longer tells who has stopped listening', async () => {
    const stop = memory.listen(() => Promise.reject(new Error('should not be asked')));
    stop();
    await memory.begin().commit();
  });
});

describe('memory that is plugged in', () => {
  it('takes the first free place of the window', async () => {
    const one = await plug(memory, 256 * MIB);
    const two = await plug(memory, MIB);
    const three = await plug(memory, 256 * MIB);
    const base = 4 * GIB;
    expect(addresses([one, two, three])).toEqual([base, base + 256 * MIB, base + 384 * MIB]);
    await unplug(memory, two.gpa);
    expect((await plug(memory, 128 * MIB)).gpa).toBe(two.gpa);
    expect(memory.end).toBe(base + GIB);
  });

  it('is refused when the slots or the room are used up, or there were none', async () => {
    await expect(plug(memory, 2 * GIB)).rejects.toThrow(address);
    for (let slot = 0; slot < 3; slot++) await plug(memory, MIB);
    await expect(plug(memory, MIB)).rejects.toThrow(
      expect.objectContaining({ message: expect.stringMatching(/3 memory slots/) }),
    );
    const fixed = GuestMemory.create(MIB);
    await expect(plug(fixed, MIB)).rejects.toThrow(
      expect.objectContaining({ message: expect.stringMatching(/maxmem/) }),
    );
    fixed.close();
  });
});
