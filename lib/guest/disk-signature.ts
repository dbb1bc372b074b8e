/** Whether a disk looks like somebody's data: signatures that partition tables, file systems and volume managers leave. */

/** Name, offset in bytes, bytes. From the formats' own definitions (libblkid knows the same). */
type Signature = readonly [name: string, offset: number, magic: string | readonly number[]];

const MD = [0xfc, 0x4e, 0x2b, 0xa9];
const BCACHE = [0xc6, 0x85, 0x73, 0xf6, 0x4e, 0x1a, 0x45, 0xca, 0x82, 0x65, 0xf5, 0x7f, 0x48, 0xba, 0x6d, 0x81];

/** By offset from the start of a disk or of a partition. */
const HEAD: readonly Signature[] = [
  ['DOS partition table or boot sector', 510, [0x55, 0xaa]],
  ['GPT partition table', 512, 'EFI PART'],
  ['GPT partition table', 4096, 'EFI PART'],
  ['ext2/3/4 file system', 1080, [0x53, 0xef]],
  ['XFS file system', 0, 'XFSB'],
  ['Btrfs file system', 65600, '_BHRfS_M'],
  ['NTFS file system', 3, 'NTFS    '],
  ['F2FS file system', 1024, [0x10, 0x20, 0xf5, 0xf2]],
  ['SquashFS file system', 0, 'hsqs'],
  ['ISO 9660 file system', 32769, 'CD001'],
  ['LUKS volume', 0, [0x4c, 0x55, 0x4b, 0x53, 0xba, 0xbe]],
  ['LVM physical volume', 512, 'LABELONE'],
  ['md RAID member', 0, MD],
  ['md RAID member', 4096, MD],
  ['bcache device', 4120, BCACHE],
  ['BlueStore device', 0, 'bluestore block device'],
  ['swap area', 4086, 'SWAPSPACE2'],
  ['swap area', 65526, 'SWAPSPACE2'],
];

/** By offset from the end of a disk. */
const TAIL: readonly Signature[] = [
  ['GPT partition table', -512, 'EFI PART'],
  ['GPT partition table', -4096, 'EFI PART'],
  ['md RAID member', -8192, MD],
  ['md RAID member', -65536, MD],
];

/** Bytes from a start that `findSignature`, and to the end that `findTailSignature`, looks at. */
export const SIGNATURE_BYTES = 65600 + 8;
export const TAIL_BYTES = 65536;

/** The name of the first signature in the first bytes of a disk or partition. */
export function findSignature(head: Uint8Array): string | undefined {
  return HEAD.find(([, offset, magic]) => matches(head, offset, magic))?.[0];
}

/** The name of the first signature in the last bytes of a disk. */
export function findTailSignature(tail: Uint8Array): string | undefined {
  return TAIL.find(([, offset, magic]) => matches(tail, tail.length + offset, magic))?.[0];
}

function matches(bytes: Uint8Array, offset: number, magic: string | readonly number[]): boolean {
  const expected = typeof magic === 'string' ? [...magic].map(char => char.charCodeAt(0)) : magic;
  return expected.every((byte, i) => bytes[offset + i] === byte);
}
