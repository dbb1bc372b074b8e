/** Memory plugged into a running machine: in the machine's window for it, one section a slot. */
import { AddressError, hex, VdpaError } from '../errors.js';
import { formatSize } from '../units.js';
import type { GuestMemory } from './guest-memory.js';
import { PAGE_SIZE } from './region.js';
import type { Section } from './section.js';

/** Where a memory device may start, as the guest's memory blocks on x86 ask for. */
const SLOT_ALIGNMENT = 2 ** 27;

/**
 * Plugs in `size` bytes of new memory, whole pages, at the first free place of the window, and maps it on every device that has the rest.
 * @throws AddressError when all slots are taken, or there is no place, or a device cannot map it: nothing has changed then.
 * @throws VdpaError ERR_VDPA_INVALID_ARGUMENT for another size, or a machine without room for more.
 */
export async function plug(memory: GuestMemory, size: number, name = 'dimm'): Promise<Section> {
  if (!(Number.isSafeInteger(size) && size > 0 && size % PAGE_SIZE === 0)) {
    throw new VdpaError(
      'ERR_VDPA_INVALID_ARGUMENT',
      `Memory is plugged in by whole pages of ${PAGE_SIZE} bytes, not ${size}.`,
      {
        details: { size },
      },
    );
  }
  return memory.change(transaction => transaction.add({ name, gpa: freeSlot(memory, size), size }));
}

/**
 * Takes out the memory that starts at this guest address, when the guest no longer uses it.
 * @throws AddressError when none does, or a queue lies in it: nothing has changed then.
 */
export async function unplug(memory: GuestMemory, gpa: number): Promise<void> {
  return memory.change(transaction => transaction.remove(gpa));
}

function freeSlot({ hotplug, sections }: GuestMemory, size: number): number {
  if (!hotplug) {
    throw new VdpaError(
      'ERR_VDPA_INVALID_ARGUMENT',
      'This machine has no room to plug in memory: give it some (q35:maxmem=256G,slots=8).',
    );
  }
  const { base, slots } = hotplug;
  const end = base + hotplug.size;
  const plugged = sections.filter(section => section.gpa >= base && section.gpa < end);
  const details = { size, slots, plugged: plugged.length };
  if (plugged.length >= slots) throw new AddressError(`All ${slots} memory slots are taken.`, { details });
  let gpa = base;
  for (const section of plugged) {
    if (gpa + size <= section.gpa) break;
    gpa = Math.ceil((section.gpa + section.size) / SLOT_ALIGNMENT) * SLOT_ALIGNMENT;
  }
  if (gpa + size <= end) return gpa;
  throw new AddressError(`No place for ${formatSize(size)} in the memory window ${hex(base)}-${hex(end - 1)}.`, {
    details,
  });
}
