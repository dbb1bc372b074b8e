/** Memory transactions against a naive model: one entry for each page of a small machine. 10^6 additions and removals. */
import { describe, expect, it } from 'vitest';
import { AddressError } from '../../lib/errors.js';
import { findSection, type Section } from '../../lib/memory/section.js';
import { changeSections } from '../../lib/memory/transaction.js';
import { randoms } from '../unit/iova-support.js';
import { ramSection } from '../unit/memory-support.js';

const PAGE = 4096;
const PAGES = 64;
const OPERATIONS = 1_000_000;
const SEED = 0x5eed;

/** What stands at each page: the section's start, region and the page in it; undefined for nothing. */
type Model = (string | undefined)[];

function fill(model: Model, { gpa, size, region, offset }: Section): void {
  for (let page = 0; page < size / PAGE; page++) model[gpa / PAGE + page] = `${gpa}/${region}/${offset / PAGE + page}`;
}

/** The model after a change, or undefined where the change cannot be. */
function changeModel(model: Model, added: readonly Section[], removed: readonly number[]): Model | undefined {
  const next = [...model];
  if (new Set(removed).size !== removed.length) return undefined;
  for (const gpa of removed) {
    const starts = model[gpa / PAGE]?.startsWith(`${gpa}/`);
    if (!starts) return undefined;
    for (let page = 0; page < PAGES; page++) if (model[page]?.startsWith(`${gpa}/`)) next[page] = undefined;
  }
  for (const section of added) {
    for (let page = 0; page < section.size / PAGE; page++) if (next[section.gpa / PAGE + page]) return undefined;
    fill(next, section);
  }
  return next;
}

function modelOf(sections: readonly Section[]): Model {
  const model: Model = Array(PAGES).fill(undefined);
  for (const section of sections) fill(model, section);
  return model;
}

describe('sections of a machine', () => {
  it('are exactly what a million additions and removals make of them', { timeout: 60_000 }, () => {
    const random = randoms(SEED);
    let sections: readonly Section[] = [];
    let model = modelOf([]);
    let refusals = 0;
    for (let operations = 0; operations < OPERATIONS; ) {
      const added = Array.from({ length: random(3) }, () => {
        const gpa = random(PAGES);
        const pages = 1 + random(Math.min(8, PAGES - gpa));
        return ramSection({ gpa: gpa * PAGE, size: pages * PAGE, region: 1 + random(3), offset: random(4) * PAGE });
      });
      const removed = Array.from(
        { length: random(4) },
        () => sections[random(sections.length)]?.gpa ?? random(PAGES) * PAGE,
      );
      operations += added.length + removed.length;
      const expected = changeModel(model, added, removed);
      try {
        const changed = changeSections(sections, added, removed);
        if (!expected) throw new Error(`not refused: ${JSON.stringify({ sections, added, removed })}`);
        sections = changed.sections;
        model = expected;
      } catch (error) {
        if (expected || !(error instanceof AddressError)) throw error;
        refusals++;
      }
      const page = random(PAGES);
      const found = sections[findSection(sections, page * PAGE + random(PAGE))];
      if ((found === undefined) !== (model[page] === undefined))
        throw new Error(`page ${page} of ${JSON.stringify(sections)}`);
      if (operations % 16 === 0) expect(modelOf(sections)).toEqual(model);
    }
    expect(modelOf(sections)).toEqual(model);
    // Both answers were common, so both were tested.
    expect(refusals).toBeGreaterThan(OPERATIONS / 20);
  });
});
