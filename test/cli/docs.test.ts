/** The documents keep their promises: examples run, and every key and option that exists is explained. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { document, type Outcome, ROOT, run, svq } from './svq.js';

const FILES = ['README.md', 'CHANGELOG.md', ...readdirSync(`${ROOT}docs`).map(name => `docs/${name}`)];

const read = (file: string) => readFileSync(`${ROOT}${file}`, 'utf8');

/** Fenced blocks of a language whose first line is the mark. */
function blocks(language: string, mark: string): [string, string][] {
  const fence = new RegExp(`^\`\`\`${language}\\n${mark}\\n(.*?)^\`\`\`$`, 'gms');
  return FILES.flatMap(file => [...read(file).matchAll(fence)].map(([, body]): [string, string] => [file, body!]));
}

describe('examples of the command', () => {
  const lines = blocks('sh', '# tested').flatMap(([file, body]) =>
    body
      .split('\n')
      .filter(line => line.startsWith('svq '))
      .map(line => [file, line] as const),
  );

  it.each(lines)('%s: %s', async (_, line) => {
    const expected = Number(/# exits (\d+)/.exec(line)?.[1] ?? 0);
    const { code, stderr } = await run('bash', ['-c', `svq() { "$0" bin/svq.js "$@"; }; ${line}`, process.execPath]);
    expect([code, stderr]).toEqual([expected, expect.not.stringContaining('ERR_')]);
  });

  it('are there', () => {
    expect(new Set(lines.map(([file]) => file))).toEqual(new Set(['README.md', 'docs/cli.md']));
  });
});

describe('examples of the library', () => {
  const programs = blocks('js', '// tested');
  // A project that has the package among its dependencies.
  const folder = mkdtempSync(join(tmpdir(), 'vhost-vdpa-docs-'));
  writeFileSync(join(folder, 'package.json'), '{}');
  mkdirSync(join(folder, 'node_modules'));
  symlinkSync(ROOT, join(folder, 'node_modules/vhost-vdpa'));
  afterAll(() => rmSync(folder, { recursive: true }));

  function runProgram(body: string): Promise<Outcome> {
    const path = join(folder, 'example.mjs');
    writeFileSync(path, body);
    return run(process.execPath, [path]);
  }

  it.each(programs)('%s', async (_, body) => {
    const { code, stdout, stderr } = await runProgram(body);
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).not.toBe('');
  });

  it('are there, and the one of the README passes', async () => {
    const [file, body] = programs[0]!;
    expect(file).toBe('README.md');
    const { stdout } = await runProgram(body);
    expect(stdout).toMatch(/^pass: \d+\.\d ms dark, 0 of \d+ requests lost\n$/);
  });
});

/** `workload.lost`, `queues[].index`: the keys of a document, as docs/cli.md writes them. */
function keysOf(value: unknown, path = ''): string[] {
  if (Array.isArray(value)) {
    const inner = value.flatMap(item => (typeof item === 'object' ? keysOf(item, `${path}[]`) : []));
    return inner.length > 0 ? inner : [`${path}[]`];
  }
  if (typeof value !== 'object' || value === null) return [path];
  return Object.entries(value).flatMap(([key, inner]) => keysOf(inner, path ? `${path}.${key}` : key));
}

describe('docs/cli.md', () => {
  const text = read('docs/cli.md');
  const explained = new Set([...text.matchAll(/`([^`\n]+)`/g)].map(([, word]) => word!));
  // Names are those of the config space; feature names are bits; params are a benchmark's own (docs/benchmarks.md).
  const OPEN = ['config.', 'details.', 'results[].params.'];
  const isOpen = (key: string) => key.endsWith('.names[]') || OPEN.some(prefix => key.startsWith(prefix));

  it.each([
    [['devices']],
    [['inspect', 'soft:blk']],
    [['attach', 'soft:blk', '--shadow', '--duration', '100ms']],
    [['migrate', '--settle', '20ms', '--memory', '64M']],
    [['iova', 'plan', 'soft:blk', '--memory', '4G', '--topology', 'q35:maxmem=8G,slots=2', '--measure']],
    [['bench', 'iotlb', 'soft:blk', '--runs', '1']],
    [['inspect', '/dev/null']],
  ])('explains every key of the document of svq %j', async args => {
    const { schema, ...rest } = document(await svq([...args, '--json']));
    expect(text).toContain(`\`${schema}\``);
    const missing = keysOf(rest).filter(key => !isOpen(key) && !explained.has(key));
    expect(missing).toEqual([]);
  });

  it.each(['devices', 'inspect', 'attach', 'migrate', 'iova plan', 'bench'])(
    'explains every option of svq %s',
    async command => {
      const { stdout } = await svq([...command.split(' '), '--help']);
      const options = [...stdout.matchAll(/^ +(?:-\w, )?(--[a-z-]+) /gm)].map(([, option]) => option!);
      expect(options.length).toBeGreaterThan(3);
      for (const option of options) expect(text).toMatch(new RegExp(`\`${option}[ \`]`));
    },
  );
});

describe('docs/benchmarks.md', () => {
  const text = read('docs/benchmarks.md');

  it.each([
    ['dirty', []],
    ['iotlb', ['soft:blk']],
  ])('explains every name and param of svq bench %s', async (name, device) => {
    const { results } = document(await svq(['bench', name, ...device, '--runs', '1', '--json']));
    const cases = results as { name: string; params: Record<string, string | number> }[];
    const words = cases.flatMap(({ name, params }) => {
      const values = Object.values(params).filter(value => typeof value === 'string');
      return [name, ...Object.keys(params), ...values];
    });
    for (const word of new Set(words)) expect(text).toContain(`\`${word}\``);
  });
});

it('links of the documents lead somewhere', () => {
  for (const file of FILES) {
    const folder = file.includes('/') ? 'docs/' : '';
    for (const [, target] of read(file).matchAll(/\]\(([^)#:]+)\)/g))
      expect(() => read(`${folder}${target}`)).not.toThrow();
  }
});

it('README stays short', () => {
  expect(read('README.md').split('\n').length).toBeLessThanOrEqual(151);
});
