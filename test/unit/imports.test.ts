/** The order of the house (docs/architecture.md): imports only go down, and every file has its place in the order. */
import { readdirSync, readFileSync } from 'node:fs';
import { posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';

/** Folders of lib/ and files at its root, from top to bottom. What stands in one row does not know its neighbours. */
const ORDER: readonly (readonly string[])[] = [
  ['index', 'cli'],
  ['bench'],
  ['migration'],
  ['guest', 'svq'],
  ['device'],
  ['iova'],
  ['memory', 'ring', 'dirty'],
  ['eventfd', 'thread', 'warnings'],
  ['native'],
  ['uapi', 'units'],
  ['errors'],
];

/** Units that import nothing else, whatever stands below them: no other layer, no package, no module of Node. */
const CLOSED: Readonly<Record<string, readonly string[]>> = {
  ring: ['uapi', 'errors'],
  dirty: ['uapi', 'errors'],
  uapi: ['errors'],
  errors: [],
};

/** What each file (by its path in lib/) imports, as written: relative, or the name of a package. */
type Imports = Readonly<Record<string, readonly string[]>>;

const LIB = fileURLToPath(new URL('../../lib/', import.meta.url));

/** The folder of lib/ a file is in, or its own name at the root. */
function unitOf(file: string): string {
  return file.split('/')[0].replace(/\.(ts|js)$/, '');
}

function rankOf(unit: string): number {
  return ORDER.findIndex(row => row.includes(unit));
}

/** Why this import must not be; undefined when it may. */
function objection(file: string, specifier: string): string | undefined {
  const from = unitOf(file);
  const relative = specifier.startsWith('.');
  const to = relative ? unitOf(posix.join(posix.dirname(file), specifier)) : specifier;
  if (from === to) return undefined;
  const allowed = CLOSED[from];
  if (allowed && !allowed.includes(to)) return `${file}: ${from} imports only ${allowed.join(', ')}, not ${specifier}`;
  if (!relative) return undefined;
  if (rankOf(to) < 0) return `${file}: ${to} has no place in the order`;
  return rankOf(to) > rankOf(from) ? undefined : `${file}: ${specifier} is not below ${from}`;
}

function violations(imports: Imports): string[] {
  const homeless = Object.keys(imports)
    .filter(file => rankOf(unitOf(file)) < 0)
    .map(file => `${file} has no place in the order`);
  const arrows = Object.entries(imports).flatMap(([file, specifiers]) =>
    specifiers.map(specifier => objection(file, specifier)),
  );
  return [...homeless, ...arrows.filter(arrow => arrow !== undefined)];
}

/** Everything a source text imports: statements, re-exports, types, calls, and the modules it starts threads with. */
function importsOf(text: string): string[] {
  const workers = [...text.matchAll(/new URL\('(\.[^']+\.js)', import\.meta\.url\)/g)].map(match => match[1]);
  return [...ts.preProcessFile(text, true, true).importedFiles.map(file => file.fileName), ...workers];
}

const SOURCES: Readonly<Record<string, string>> = Object.fromEntries(
  readdirSync(LIB, { recursive: true, encoding: 'utf8' })
    .filter(file => file.endsWith('.ts'))
    .map(file => [file, readFileSync(LIB + file, 'utf8')]),
);

describe('the import rule', () => {
  it('holds for every file of lib', () => {
    expect(Object.keys(SOURCES).length).toBeGreaterThan(50);
    const imports = Object.fromEntries(Object.entries(SOURCES).map(([file, text]) => [file, importsOf(text)]));
    expect(violations(imports)).toEqual([]);
  });

  it.each([
    ['an arrow upward', 'device/soft/queue.ts', '../../svq/forwarder.js'],
    ['an arrow upward from the root', 'eventfd.ts', './memory/region.js'],
    ['a sibling', 'guest/worker.ts', '../svq/loop.js'],
    ['the other sibling', 'svq/worker.ts', '../guest/worker.js'],
    ['a neighbour of the command', 'cli/main.ts', '../index.js'],
    ['the command from the benchmarks', 'bench/measure.ts', '../cli/output.js'],
    ['the benchmarks from the rehearsal', 'migration/rehearsal.ts', '../bench/measure.js'],
    ['memory from the rings', 'ring/chain.ts', '../memory/region.js'],
    ['a root file from the rings', 'ring/chain.ts', '../units.js'],
    ['Node from the rings', 'ring/chain.ts', 'node:fs'],
    ['a package from the bitmaps', 'dirty/dirty-bitmap.ts', 'leven'],
    ['the addon from the headers', 'uapi/errno.ts', '../native.js'],
    ['anything from the errors', 'errors.ts', './units.js'],
    ['a folder that is not in the order', 'device/open.ts', '../shelf/box.js'],
    ['a file that is not in the order', 'shelf/box.ts', './lid.js'],
  ])('refuses %s', (_what, file, specifier) => {
    expect(violations({ [file]: [specifier] })).toHaveLength(1);
  });

  it.each([
    ['svq/worker.ts', '../device/trace.js'],
    ['svq/loop.ts', '../ring/chain.js'],
    ['iova/translation.ts', '../ring/chain.js'],
    ['device/soft/blk.ts', './dma.js'],
    ['ring/chain.ts', '../errors.js'],
    ['cli/main.ts', 'yargs'],
    ['cli/commands/bench.ts', '../../bench/measure.js'],
    ['bench/dirty.ts', '../guest/random.js'],
    ['thread.ts', 'node:worker_threads'],
  ])('lets %s import %s', (file, specifier) => {
    expect(violations({ [file]: [specifier] })).toEqual([]);
  });

  it('sees imports of every form', () => {
    const text = `
      import { a } from './a.js';
      import type { B } from './b.js';
      import './c.js';
      export * from './d.js';
      export type { E } from './e.js';
      const f = await import('./f.js');
      type G = typeof import('./g.js');
      new Worker(new URL('./h.js', import.meta.url));`;
    expect(importsOf(text).sort()).toEqual(Array.from('abcdefgh', name => `./${name}.js`));
  });
});

describe('the addon', () => {
  it('is loaded by lib/native.ts alone', () => {
    const loads = /createRequire|['"]bindings['"]|\.dlopen\(|\.node['"`]/;
    const loaders = Object.keys(SOURCES).filter(file => loads.test(SOURCES[file]));
    expect(loaders).toEqual(['native.ts']);
  });
});

describe('lib/index.ts', () => {
  it('only re-exports', () => {
    const { statements } = ts.createSourceFile('index.ts', SOURCES['index.ts'], ts.ScriptTarget.Latest);
    expect(statements.length).toBeGreaterThan(20);
    const others = statements.filter(s => !(ts.isExportDeclaration(s) && s.moduleSpecifier));
    expect(others.map(statement => ts.SyntaxKind[statement.kind])).toEqual([]);
  });
});
