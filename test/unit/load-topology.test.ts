/** What --topology may name. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { loadTopology } from '../../lib/memory/load-topology.js';
import { formatMachineFile } from '../../lib/memory/machine-file.js';
import { type Q35Options, q35 } from '../../lib/memory/q35.js';

const G = 2 ** 30;
const folder = mkdtempSync(join(tmpdir(), 'vhost-vdpa-topology-'));
afterAll(() => rmSync(folder, { recursive: true }));

function file(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

const MTREE = `FlatView #0
 AS "memory", root: system
 Root memory region: system
  0000000000000000-000000003fffffff (prio 0, ram): pc.ram KVM

`;

describe('a kind of machine', () => {
  it.each<[string, Omit<Q35Options, 'ram'>]>([
    ['q35', {}],
    ['q35:', {}],
    ['q35:maxmem=256G,slots=8,amd=on', { maxmem: 256 * G, slots: 8, amd: true }],
    ['q35:amd=off,firmware=reset', { amd: false, firmware: 'reset' }],
    ['q35:tseg=16M,vram=16M,firmware=booted', { tseg: 2 ** 24, vram: 2 ** 24, firmware: 'booted' }],
  ])('%s has its options', async (spec, options) => {
    expect(await loadTopology(spec, 128 * G)).toEqual(q35({ ...options, ram: 128 * G }));
  });

  it.each([
    ['q35:slot=8', '"slot=8" is no option of q35: write name=value, with maxmem, slots, amd, firmware, tseg, vram.'],
    ['q35:toString=8', '"toString=8" is no option of q35'],
    ['q35:amd', '"amd" is no option of q35'],
    ['q35:slots=', '"slots=" is no option of q35'],
    ['q35:slots=1=2', '"slots=1=2" is no option of q35'],
    ['q35:maxmem=2G,', '"" is no option of q35'],
    ['q35:slots=1,slots=2', 'q35 has slots twice'],
    ['q35:slots=many', 'slots=many: write a whole number'],
    ['q35:slots=1.5', 'slots=1.5: write a whole number'],
    ['q35:amd=yes', 'amd=yes: write on or off'],
    ['q35:firmware=ovmf', 'firmware=ovmf: it is booted or reset'],
    ['q35:maxmem=lots', '"lots" is not a size'],
    ['q35:maxmem=2G', 'maxmem leaves room for 1 GiB more, and no slot'],
  ])('%s is refused', async (spec, message) => {
    await expect(loadTopology(spec, G)).rejects.toThrow(expect.objectContaining({ code: 'ERR_VDPA_INVALID_ARGUMENT' }));
    await expect(loadTopology(spec, G)).rejects.toThrow(message);
  });

  it('needs a size of memory', async () => {
    await expect(loadTopology('q35:amd=on')).rejects.toThrow('q35:amd=on needs a size of memory (--memory 128G).');
  });
});

describe('a file', () => {
  it('is read by what is in it, whatever its name', async () => {
    const machine = q35({ ram: 4 * G });
    expect(await loadTopology(file('machine.txt', `\n ${formatMachineFile(machine)}`))).toEqual(machine);
    expect(await loadTopology(file('marked.json', `\uFEFF${formatMachineFile(machine)}`))).toEqual(machine);
    const { sections } = await loadTopology(
      file('memory.json', `(qemu) info mtree -f\r\n${MTREE.replaceAll('\n', '\r\n')}`),
    );
    expect(sections).toEqual([{ name: 'pc.ram', kind: 'ram', gpa: 0, size: G, backend: 'pc.ram', offset: 0 }]);
  });

  it('has its own size of memory', async () => {
    const path = file('sized.txt', MTREE);
    await expect(loadTopology(path, G)).rejects.toThrow(`${path} says how much memory the machine has`);
  });

  it('that is wrong is named', async () => {
    const json = file('wrong.json', '{"schema":"svq.machine/1"}');
    await expect(loadTopology(json)).rejects.toThrow(`${json}: backends is missing`);
    const text = file('wrong.txt', MTREE.replace('ram)', 'rams)'));
    await expect(loadTopology(text)).rejects.toThrow(
      `${text}: This is not the text of QEMU's "info mtree -f": line 4 is not`,
    );
    const tree = file('tree.txt', 'address-space: memory\n  0000000000000000-ffffffffffffffff (prio 0, i/o): system\n');
    await expect(loadTopology(tree)).rejects.toThrow('capture it with "info mtree -f"');
    const other = file('other.txt', 'MemTotal: 1 kB\n');
    await expect(loadTopology(other)).rejects.toThrow(`${other} describes no machine`);
    const empty = file('empty.txt', '');
    await expect(loadTopology(empty)).rejects.toThrow(`${empty} describes no machine`);
  });

  it('that cannot be read is told with the reason', async () => {
    const missing = join(folder, 'missing.json');
    await expect(loadTopology(missing)).rejects.toThrow(
      `The machine ${missing} cannot be read: ENOENT. A machine is q35, q35:maxmem=256G,slots=8, or the path of a file.`,
    );
    mkdirSync(join(folder, 'folder'));
    await expect(loadTopology(join(folder, 'folder'))).rejects.toThrow('cannot be read: EISDIR');
    // With a size of memory, too: most likely it should have been a kind of machine.
    for (const spec of ['q36', 'pc', 'Q35', 'q35,maxmem=1G']) {
      const message = `The machine ${spec} cannot be read: ENOENT. A machine is q35, q35:maxmem=256G,slots=8, or`;
      await expect(loadTopology(spec)).rejects.toThrow(message);
      await expect(loadTopology(spec, G)).rejects.toThrow(message);
    }
  });

  it('without end is not read to its end', async () => {
    await expect(loadTopology('/dev/zero')).rejects.toThrow('/dev/zero is larger than 16 MiB');
  });
});
