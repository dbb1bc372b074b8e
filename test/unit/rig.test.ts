import { describe, expect, test } from 'vitest';
import { chooseMirror } from '../rig/apt.mjs';
import { memoryBytes, parseArguments } from '../rig/arguments.mjs';
import { Console } from '../rig/console.mjs';
import { checkConfig } from '../rig/kernel.mjs';
import { chooseSeries, findKernel, KERNELS, kernelFor } from '../rig/kernels.mjs';

describe('arguments', () => {
  test('options end where the command begins, and the command keeps its own', () => {
    const parsed = parseArguments([
      '--kernel=6.12',
      '--param',
      'vdpa_sim.use_va=0',
      '--env',
      'A=b=c',
      'node',
      '--kernel',
      '',
    ]);
    expect(parsed).toMatchObject({ kernel: '6.12', params: ['vdpa_sim.use_va=0'], env: { A: 'b=c' } });
    expect(parsed.command).toEqual(['node', '--kernel', '']);
    expect(parseArguments(['--', '--odd']).command).toEqual(['--odd']);
  });

  test('defaults', () => {
    expect(parseArguments(['true'])).toMatchObject({
      kernel: '7.2',
      mem: '2G',
      timeoutSeconds: 300,
      params: [],
      env: {},
    });
  });

  test.each([
    [['--kernal', '7.2', 'true'], /unknown option '--kernal'/],
    [['--constructor', 'true'], /unknown option/],
    [['--kernel'], /--kernel needs a value/],
    [['--kernel', '7.2'], /COMMAND to run is missing/],
    [[], /COMMAND to run is missing/],
    [['--timeout', '0', 'true'], /'0' is not a number of seconds/],
    [['--timeout', '5s', 'true'], /'5s' is not a number of seconds/],
    [['--param', 'a b', 'true'], /kernel parameter 'a b'/],
    [['--env', '=b', 'true'], /'=b' is not NAME=VALUE/],
    [['--mem', '1', 'true'], /memory size '1'/],
  ])('%j is refused', (argv, message) => {
    expect(() => parseArguments(argv)).toThrow(message);
  });

  test('memory sizes', () => {
    expect(memoryBytes('512M')).toBe(512 * 2 ** 20);
    expect(memoryBytes('2g')).toBe(2 ** 31);
    expect(() => memoryBytes('255M')).toThrow(/memory size/);
  });
});

describe('kernels', () => {
  test('the wanted series, else the newest later one, never an older one', () => {
    expect(chooseSeries('7.2', ['6.12', '7.2', '7.3'])).toBe('7.2');
    expect(chooseSeries('7.2', ['6.12', '7.3', '7.10', '7.9'])).toBe('7.10');
    expect(chooseSeries('7.2', ['6.12', '6.1'])).toBeUndefined();
  });

  test('a version is described by the newest entry that is not newer', () => {
    expect(kernelFor('7.2')?.series).toBe('7.2');
    expect(kernelFor('7.3')?.series).toBe('7.2');
    expect(kernelFor('6.18')?.series).toBe('6.12');
    expect(kernelFor('6.1')).toBeUndefined();
  });

  test('the table is ordered newest first', () => {
    expect(KERNELS.map(({ series }) => series)).toEqual(['7.2', '6.12']);
  });

  test('a configuration that lost symbols is refused by their names', () => {
    const kernel = findKernel('7.2')!;
    const config = kernel.required.map(symbol => `CONFIG_${symbol}=y`).join('\n');
    expect(() => checkConfig(config, kernel, { version: '7.2.1' })).not.toThrow();
    const poor = config.replace('CONFIG_VDPA_USER=y', '# CONFIG_VDPA_USER is not set').replace('CONFIG_SMP=y', '');
    expect(() => checkConfig(poor, kernel, { version: '7.2.1' })).toThrow(/7\.2\.1 lacks CONFIG_SMP, CONFIG_VDPA_USER/);
  });
});

test('the mirror of a suite is the one that carries releases of its kind', () => {
  const targets =
    'http://other.example/ nodistro\nhttp://a.example/x/ bookworm-security\nhttp://b.example/y/ bookworm-updates\n';
  expect(chooseMirror(targets, 'trixie-backports')).toBe('http://b.example/y/');
  expect(chooseMirror(targets, 'bookworm-security')).toBe('http://a.example/x/');
  expect(chooseMirror('http://other.example/ nodistro\n', 'sid')).toBeUndefined();
});

test('a console without end is kept in bounds, with its beginning and its end', () => {
  const console = new Console();
  console.write('first line\n');
  for (let line = 0; line < 100_000; line++) console.write(`the same for ever, ${line}: ${'.'.repeat(60)}\n`);
  console.write('last line\n');
  const text = console.toString();
  expect(text.length).toBeLessThan(2 * 2 ** 20);
  expect(text.startsWith('first line\n')).toBe(true);
  expect(console.last(1)).toBe('last line');
});
