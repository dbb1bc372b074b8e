/** Whether the start of a disk, or of a range of it, looks like somebody's data. */

/** What is looked for: name, offset in bytes, bytes. From the formats' own definitions (libblkid knows the same). */
const SIGNATURES: readonly (readonly [string, number, string | readonly number[]])[] = [
  ['DOS partition table or boot sector', 510, [0x55, 0xaa]],
  ['GPT partition table', 512, 'EFI PART'],
  ['ext2/3/4 file system', 1080, [0x53, 0xef]],
  ['XFS file system', 0, 'XFSB'],
  ['Btrfs file system', 65600, '_BHRfS_M'],
  ['NTFS file system', 3, 'NTFS    '],
  ['LUKS volume', 0, [0x4c, 0x55, 0x4b, 0x53, 0xba, 0xbe]],
  ['LVM physical volume', 512, 'LABELONE'],
  ['swap area', 4086, 'SWAPSPACE2'],
  ['F2FS file system', 1024, [0x10, 0x20, 0xf5, 0xf2]],
  ['SquashFS file system', 0, 'hsqs'],
];

/** Bytes from the start that `findSignature` looks at. */
export const SIGNATURE_BYTES = 65600 + 8;

/** The name of the first signature found in the first bytes of a disk. */
export function findSignature(start: Uint8Array): string | undefined {
  return SIGNATURES.find(([, offset, magic]) => matches(start, offset, magic))?.[0];
}

function matches(start: Uint8Array, offset: number, magic: string | readonly number[]): boolean {
  const bytes = typeof magic === 'string' ? [...magic].map(char => char.charCodeAt(0)) : magic;
  return bytes.every((byte, i) => start[offset + i] === byte);
}
