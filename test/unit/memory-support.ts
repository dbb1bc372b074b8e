/** Guest memory for tests that do not care where it comes from. */
import { GuestMemory } from '../../lib/memory/guest-memory.js';
import type { Section } from '../../lib/memory/section.js';

type Place = Pick<Section, 'gpa' | 'size' | 'region' | 'offset'>;

/** RAM at that place. */
export function ramSection(place: Place & Partial<Section>): Section {
  return { name: 'ram', kind: 'ram', ...place };
}

/** RAM at those places, with nothing above. */
export function openMemory(places: readonly (Place & Partial<Section>)[]): GuestMemory {
  const end = Math.max(...places.map(({ gpa, size }) => gpa + size));
  return GuestMemory.open({ sections: places.map(ramSection), end });
}
