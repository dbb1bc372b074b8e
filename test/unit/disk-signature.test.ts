import { describe, expect, it } from 'vitest';
import { findSignature, findTailSignature, SIGNATURE_BYTES, TAIL_BYTES } from '../../lib/guest/disk-signature.js';

const ascii = (text: string) => [...text].map(char => char.charCodeAt(0));

/** A disk's first bytes, or its last, with these at an offset. */
function bytesWith(size: number, offset: number, magic: number[]): Uint8Array {
  const bytes = new Uint8Array(size);
  bytes.set(magic, offset);
  return bytes;
}

describe('the start of a disk', () => {
  // Offsets and bytes as libblkid has them.
  it.each<[string, number, number[]]>([
    ['DOS partition table or boot sector', 510, [0x55, 0xaa]],
    ['GPT partition table', 512, ascii('EFI PART')],
    ['GPT partition table', 4096, ascii('EFI PART')],
    ['ext2/3/4 file system', 0x438, [0x53, 0xef]],
    ['XFS file system', 0, ascii('XFSB')],
    ['Btrfs file system', 0x10040, ascii('_BHRfS_M')],
    ['ISO 9660 file system', 0x8001, ascii('CD001')],
    ['LUKS volume', 0, [...ascii('LUKS'), 0xba, 0xbe]],
    ['LVM physical volume', 0x200, ascii('LABELONE')],
    ['md RAID member', 4096, [0xfc, 0x4e, 0x2b, 0xa9]],
    ['swap area', 4096 - 10, ascii('SWAPSPACE2')],
    ['swap area', 65536 - 10, ascii('SWAPSPACE2')],
  ])('bears the signature of: %s, at %i', (name, offset, magic) => {
    expect(findSignature(bytesWith(SIGNATURE_BYTES, offset, magic))).toBe(name);
    expect(findSignature(bytesWith(SIGNATURE_BYTES, offset, magic.slice(0, -1)))).toBeUndefined();
  });

  it('bears none when it is empty, or short', () => {
    expect(findSignature(new Uint8Array(SIGNATURE_BYTES))).toBeUndefined();
    expect(findSignature(new Uint8Array(4096))).toBeUndefined();
  });
});

describe('the end of a disk', () => {
  it.each<[string, number, number[]]>([
    ['GPT partition table', 512, ascii('EFI PART')],
    ['GPT partition table', 4096, ascii('EFI PART')],
    ['md RAID member', 8192, [0xfc, 0x4e, 0x2b, 0xa9]],
    ['md RAID member', 65536, [0xfc, 0x4e, 0x2b, 0xa9]],
  ])('bears the signature of: %s, %i bytes before it', (name, before, magic) => {
    expect(findTailSignature(bytesWith(TAIL_BYTES, TAIL_BYTES - before, magic))).toBe(name);
  });

  it('bears none when it is empty, or short', () => {
    expect(findTailSignature(new Uint8Array(TAIL_BYTES))).toBeUndefined();
    expect(findTailSignature(new Uint8Array(4096))).toBeUndefined();
  });
});
