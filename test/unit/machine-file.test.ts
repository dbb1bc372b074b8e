/** Machine files: what they say, what is told about those that are wrong, and the schema that is published. */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { formatMachineFile, machineFileSchema, parseMachineFile } from '../../lib/memory/machine-file.js';
import { q35 } from '../../lib/memory/q35.js';
import { memoryBytes } from '../../lib/memory/topology.js';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const PUBLISHED = `${ROOT}docs/machine.schema.json`;
const read = (file: string) => readFileSync(`${ROOT}${file}`, 'utf8');

const G = 2 ** 30;
const SMALL = {
  schema: 'svq.machine/1',
  backends: [{ name: 'dram', size: '1G' }],
  sections: [{ name: 'low', kind: 'ram', gpa: 0, size: '1M', backend: 'dram' }],
};

function parse(change: object): ReturnType<typeof parseMachineFile> {
  return parseMachineFile(JSON.stringify({ ...SMALL, ...change }), 'm.json');
}

/** The only section, with other values. */
function withSection(change: object): object {
  return { sections: [{ ...SMALL.sections[0], ...change }] };
}

describe('a machine file', () => {
  it('takes numbers as numbers, in hex, and with units; offset is 0 unless given', () => {
    const sections = [
      { name: 'b', kind: 'rom', gpa: '0x100000', size: 4096, backend: 'dram', offset: '1.5 KiB' },
      { name: 'a', kind: 'ram', gpa: 0, size: '0XFF', backend: 'dram' },
      { name: 'c', kind: 'io', gpa: '1T', size: '4k' },
    ];
    expect(parse({ sections, hotplug: { base: '0x100000000', size: '4 GB', slots: 2 }, iommus: ['dmar'] })).toEqual({
      backends: [{ name: 'dram', size: G }],
      sections: [
        { name: 'a', kind: 'ram', gpa: 0, size: 255, backend: 'dram', offset: 0 },
        { name: 'b', kind: 'rom', gpa: 2 ** 20, size: 4096, backend: 'dram', offset: 1536 },
        { name: 'c', kind: 'io', gpa: 2 ** 40, size: 4096, offset: 0 },
      ],
      hotplug: { base: 2 ** 32, size: 4 * G, slots: 2 },
      iommus: ['dmar'],
    });
  });

  it('can name the file a backend is in', () => {
    const backends = [{ name: 'dram', size: '1G', file: '/sys/bus/pci/devices/0000:3b:00.2/resource2' }];
    expect(parse({ backends }).backends).toEqual([{ ...backends[0], size: G }]);
  });

  it('can be no more than the options of a PC', () => {
    const text = '{"schema":"svq.machine/1","q35":{"ram":"128G","maxmem":"256G","slots":8,"amd":true}}';
    expect(parseMachineFile(text)).toEqual(q35({ ram: 128 * G, maxmem: 256 * G, slots: 8, amd: true }));
    const more = '{"schema":"svq.machine/1","q35":{"ram":"0x40000000","firmware":"booted","tseg":"8M","vram":"16M"}}';
    expect(parseMachineFile(more)).toEqual(q35({ ram: G, firmware: 'booted', tseg: 2 ** 23, vram: 2 ** 24 }));
  });

  it('says what a topology is, and is read back as the same', () => {
    const machine = { ...q35({ ram: 8 * G, maxmem: 16 * G, slots: 4, vram: 2 ** 24 }), iommus: ['smmu'] };
    expect(parseMachineFile(formatMachineFile(machine))).toEqual(machine);
    const [backend] = machine.backends;
    const filed = { ...machine, backends: [{ ...backend!, file: '/dev/shm/ram' }, ...machine.backends.slice(1)] };
    expect(parseMachineFile(formatMachineFile(filed))).toEqual(filed);
  });

  it.each<[string, object, string]>([
    ['another version', { schema: 'svq.machine/2' }, 'schema is "svq.machine/2": this version reads "svq.machine/1"'],
    ['no schema', { schema: undefined }, 'schema is missing'],
    ['no sections', { sections: undefined }, 'sections is missing'],
    ['an empty list', { sections: [] }, 'sections is []: must not be empty'],
    ['a list that is none', { backends: 'dram' }, 'backends is "dram": write a list in [ ]. See'],
    ['an unknown key', withSection({ gap: 1 }), 'sections[0] has "gap", which does not belong there'],
    [
      'an unknown kind',
      withSection({ kind: 'flash' }),
      'sections[0].kind is "flash": it is one of "ram", "rom", "ram-dev',
    ],
    ['a missing address', withSection({ gpa: undefined }), 'sections[0].gpa is missing'],
    ['no number', withSection({ size: 'big' }), 'sections[0].size is "big": write a whole number of bytes below 2^53'],
    ['a negative number', withSection({ gpa: -1 }), 'sections[0].gpa is -1: write a whole number'],
    ['half a byte', withSection({ size: 0.5 }), 'sections[0].size is 0.5: write a whole number'],
    ['half a byte in words', withSection({ size: '0.5' }), 'sections[0].size is "0.5": write a whole number'],
    ['2^53 in hex', withSection({ gpa: '0x20000000000000' }), 'sections[0].gpa is "0x20000000000000": write a whole'],
    ['2^53 in words', withSection({ gpa: '8192T' }), 'sections[0].gpa is "8192T": write a whole number'],
    ['two forms', { q35: { ram: '1G' } }, 'the file has "backends", "sections", which does not belong there'],
    ...[0.5, 0, 257, '"8"'].map((slots): [string, object, string] => [
      `${slots} slots`,
      { hotplug: { base: '4G', size: '1G', slots } },
      `hotplug.slots is ${JSON.stringify(slots)}: write a whole number from 1 to 256. See`,
    ]),
    ['no object', { hotplug: 1 }, 'hotplug is 1: write an object in { }. See'],
    ['a name that is none', withSection({ name: 5 }), 'sections[0].name is 5: write a text in quotes. See'],
    [
      'a window within a page',
      { hotplug: { base: 4097, size: '1G', slots: 1 } },
      'The hotplug window starts at 0x1001',
    ],
    ['an empty name', withSection({ name: '' }), 'sections[0].name is "": must not be empty'],
  ])('with %s is refused', (_, change, message) => {
    expect(() => parse(change)).toThrow(expect.objectContaining({ code: 'ERR_VDPA_INVALID_ARGUMENT' }));
    expect(() => parse(change)).toThrow(`m.json: ${message}`);
  });

  it('tells the first three of many errors, and how many more there are', () => {
    const sections = Array.from({ length: 9 }, () => ({ ...SMALL.sections[0], size: 'x'.repeat(100) }));
    expect(() => parse({ sections })).toThrow(
      /\[0\]\.size is "x{56}\.\.\.: .*; sections\[2\]\.size is .*; and 6 more\. See/,
    );
  });

  it('that is fine by the schema, and still cannot be, is refused with its entry', () => {
    expect(() => parse(withSection({ size: '2G' }))).toThrow(
      /^m\.json: sections\[0\] \(low at 0x0-0x7fffffff\) takes 0x80000000 bytes at offset 0x0 of backend dram, which has 0x40000000/,
    );
    expect(() => parseMachineFile('{"schema":"svq.machine/1","q35":{"ram":"1G","slots":2}}', 'm.json')).toThrow(
      /^m\.json: slots=2 without maxmem/,
    );
    expect(() => parseMachineFile('{"schema":"svq.machine/1","q35":{"ram":"1G","amd":"yes"}}', 'm.json')).toThrow(
      'm.json: q35.amd is "yes": write true or false. See',
    );
  });

  it.each([
    ['', 'it is not JSON'],
    ['{"schema":', 'it is not JSON'],
    ['[]', 'it holds []: it must be an object'],
    ['null', 'it holds null: it must be an object'],
    ['"q35"', 'it holds "q35": it must be an object'],
  ])('with %j in it is refused', (text, message) => {
    expect(() => parseMachineFile(text, 'm.json')).toThrow(`m.json: ${message}`);
  });
});

describe('the published schema', () => {
  it('is that of the parser (made anew by: npx vitest run test/unit/machine-file.test.ts -u)', async () => {
    await expect(`${JSON.stringify(machineFileSchema(), undefined, 2)}\n`).toMatchFileSnapshot(PUBLISHED);
  });

  it('accepts what the parser accepts, and refuses what it refuses', () => {
    const published = z.fromJSONSchema(JSON.parse(readFileSync(PUBLISHED, 'utf8')));
    const accepts = (change: object) => published.safeParse({ ...SMALL, ...change }).success;
    expect(accepts({})).toBe(true);
    expect(accepts(withSection({ gpa: '0x1000', size: '4 KiB' }))).toBe(true);
    expect(published.safeParse(JSON.parse(read('examples/machine-q35-128g.json'))).success).toBe(true);
    expect(accepts({ schema: 'svq.machine/2' })).toBe(false);
    expect(accepts(withSection({ gap: 1 }))).toBe(false);
    expect(accepts(withSection({ size: '4Q' }))).toBe(false);
    expect(accepts(withSection({ gpa: -1 }))).toBe(false);
    expect(accepts({ q35: { ram: '1G' } })).toBe(false);
  });

  it('is JSON Schema, draft 2020-12', () => {
    expect(JSON.parse(readFileSync(PUBLISHED, 'utf8'))).toMatchObject({
      $schema: 'https://json-schema.org/draft/2020-12/schema',
      title: 'svq.machine/1',
    });
  });
});

describe('the examples', () => {
  const files = readdirSync(`${ROOT}examples`).filter(name => name.endsWith('.json'));

  it('are there', () => {
    expect(files).toEqual(['machine-arm-board.json', 'machine-q35-128g.json']);
  });

  it.each(files)('%s is a machine, and names its schema', file => {
    const text = read(`examples/${file}`);
    expect(parseMachineFile(text, file).sections.length).toBeGreaterThan(5);
    expect(JSON.parse(text).$schema).toBe('../docs/machine.schema.json');
  });

  it('machine-arm-board.json shows aliases, another device, and room to plug in', () => {
    const machine = parseMachineFile(read('examples/machine-arm-board.json'));
    expect(memoryBytes(machine)).toBe(G + 2 ** 16);
    expect(new Set(machine.sections.map(({ kind }) => kind))).toEqual(new Set(['ram', 'rom', 'ram-device', 'io']));
    expect(machine.hotplug).toEqual({ base: 2 ** 36, size: 4 * G, slots: 2 });
  });

  it('of the documentation are machines, too', () => {
    const blocks = [...read('docs/memory-topology.md').matchAll(/^```json\n(.*?)^```$/gms)];
    expect(blocks.length).toBeGreaterThan(1);
    for (const [, body] of blocks) expect(parseMachineFile(body!).sections.length).toBeGreaterThan(1);
  });
});
