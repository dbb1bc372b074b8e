import { describe, expect, it } from 'vitest';
import { Warnings } from '../../lib/warnings.js';

describe('warnings', () => {
  it('are all counted, and few are said', () => {
    const said: string[] = [];
    let now = 0;
    const warnings = new Warnings(
      text => said.push(text),
      () => now,
    );
    warnings.add([]);
    warnings.add(['A.']);
    for (let i = 0; i < 1000; i++) warnings.add(['B.']);
    expect(said).toEqual(['A.']);
    now = 10_000;
    warnings.add(['C.', 'D.']);
    expect(said).toEqual(['A.', 'C. 1001 more like it, 1003 so far.']);
    now = 20_000;
    warnings.add(['E.']);
    expect(said.at(-1)).toBe('E.');
    expect(warnings.count).toBe(1004);
  });
});
