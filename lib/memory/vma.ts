/**
 * What the kernel knows about this process's mappings. A device that works on virtual addresses maps only what is backed by a
 * file, shared, and not I/O memory; it skips the rest and answers success (drivers/vhost/vdpa.c, vhost_vdpa_va_map), and takes
 * the next mapping above a hole. So it is looked up here before a map is believed.
 */
import { existsSync, readFileSync } from 'node:fs';
import { hex } from '../errors.js';

/** One mapping of this process. */
export interface Vma {
  readonly start: number;
  readonly end: number;
  readonly shared: boolean;
  /** A file's inode stands behind it. */
  readonly file: boolean;
  /** VM_IO or VM_PFNMAP: memory of a device. */
  readonly io: boolean;
}

const HEADER = /^([0-9a-f]+)-([0-9a-f]+) \S{3}([sp]) [0-9a-f]+ \S+ (\d+)/;
/** Two-letter codes of /proc/PID/smaps (Documentation/filesystems/proc.rst). */
const IO_FLAGS = /^VmFlags:.*\b(io|pf)\b/;

/** The mappings in the text of /proc/self/maps or smaps, in its order, which is by address. Only smaps tells I/O memory. */
export function parseVmas(text: string): Vma[] {
  const vmas: Vma[] = [];
  for (const line of text.split('\n')) {
    const header = HEADER.exec(line);
    if (header) {
      const [, start, end, sharing, inode] = header;
      vmas.push({
        start: Number.parseInt(start!, 16),
        end: Number.parseInt(end!, 16),
        shared: sharing === 's',
        file: inode !== '0',
        io: false,
      });
    } else if (IO_FLAGS.test(line)) {
      vmas.push({ ...vmas.pop()!, io: true });
    }
  }
  return vmas;
}

/**
 * The mappings of this process now.
 * @param io Tell I/O memory too: that walks the page tables of all there is, milliseconds a GiB. A kernel built without
 *   CONFIG_PROC_PAGE_MONITOR cannot tell it.
 */
export function readVmas(io: boolean): Vma[] {
  const smaps = '/proc/self/smaps';
  return parseVmas(readFileSync(io && existsSync(smaps) ? smaps : '/proc/self/maps', 'utf8'));
}

/** Why a device that works on virtual addresses would skip a part of [address, address + size); undefined when it would not. */
export function whySkipped(vmas: readonly Vma[], address: number, size: number): string | undefined {
  const end = address + size;
  let covered = address;
  for (const vma of vmas) {
    if (vma.end <= covered) continue;
    if (vma.start > covered || covered >= end) break;
    const why = objection(vma);
    if (why !== undefined) return `the mapping at ${hex(vma.start)} ${why}`;
    covered = vma.end;
  }
  return covered >= end ? undefined : `nothing is mapped at ${hex(covered)}`;
}

function objection({ shared, file, io }: Vma): string | undefined {
  if (!file) return 'has no file behind it';
  if (!shared) return 'is private';
  return io ? 'is I/O memory' : undefined;
}
