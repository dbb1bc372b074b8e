/** Error classes, and the list of codes against docs/errors.md. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  AddressError,
  ClosedError,
  hex,
  MigrationError,
  OperationError,
  RingError,
  UnsupportedError,
  VdpaError,
} from '../../lib/errors.js';

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');

/** The members of `ErrorCode`, from the source: a type leaves nothing to import. */
function declaredCodes(): string[] {
  const union = /export type ErrorCode =([^;]+);/.exec(read('lib/errors.ts'))?.[1] ?? '';
  return [...union.matchAll(/'(ERR_\w+)'/g)].map(match => match[1]);
}

describe('docs/errors.md', () => {
  const documented = () => [...read('docs/errors.md').matchAll(/^## `?(ERR_\w+)`?/gm)].map(match => match[1]);

  it('has a heading for every code, and no other', () => {
    expect(declaredCodes().length).toBeGreaterThan(10);
    expect(documented().sort()).toEqual(declaredCodes().sort());
  });
});

describe('VdpaError', () => {
  it('carries its code, its message, its details and its cause', () => {
    const cause = new Error('first');
    const error = new VdpaError('ERR_VDPA_BUSY', 'It is busy.', { details: { path: '/dev/x', errno: 16 }, cause });
    expect(error).toMatchObject({ code: 'ERR_VDPA_BUSY', message: 'It is busy.', name: 'VdpaError', cause });
    expect(error.details).toEqual({ path: '/dev/x', errno: 16 });
    expect(error).toBeInstanceOf(Error);
  });

  it('has empty details and no cause unless they are given', () => {
    const error = new VdpaError('ERR_VDPA_BUSY', 'It is busy.');
    expect(error.details).toEqual({});
    expect('cause' in error).toBe(false);
  });

  it.each([
    ['OperationError', new OperationError('ERR_VDPA_CANCELED', 'm'), 'ERR_VDPA_CANCELED'],
    ['RingError', new RingError('m'), 'ERR_VDPA_RING'],
    ['AddressError', new AddressError('m'), 'ERR_VDPA_ADDRESS'],
    ['AddressError', new AddressError('m', { code: 'ERR_VDPA_MEMLOCK' }), 'ERR_VDPA_MEMLOCK'],
    ['UnsupportedError', new UnsupportedError('m'), 'ERR_VDPA_UNSUPPORTED'],
    ['MigrationError', new MigrationError('m'), 'ERR_VDPA_MIGRATION'],
  ])('%s is one, by its own name and code', (name, error, code) => {
    expect(error).toBeInstanceOf(VdpaError);
    expect(error).toMatchObject({ name, code, message: 'm' });
  });

  it('says what was closed', () => {
    expect(new ClosedError('Memory region 3')).toMatchObject({
      code: 'ERR_VDPA_CLOSED',
      message: 'Memory region 3 is closed.',
    });
  });
});

it('writes numbers of both kinds in hex', () => {
  expect(hex(0)).toBe('0x0');
  expect(hex(0xfee00000)).toBe('0xfee00000');
  expect(hex(2n ** 64n - 1n)).toBe('0xffffffffffffffff');
});
