/** Arithmetic on words of bits. */

/** Zero bits below the lowest one set, of a word that is not 0. */
export function trailingZeros(word: number): number {
  return 31 - Math.clz32(word & -word);
}

/** Bits set, counted in parallel (SWAR). */
export function popcount(word: number): number {
  const pairs = word - ((word >>> 1) & 0x5555_5555);
  const nibbles = (pairs & 0x3333_3333) + ((pairs >>> 2) & 0x3333_3333);
  return Math.imul((nibbles + (nibbles >>> 4)) & 0x0f0f_0f0f, 0x0101_0101) >>> 24;
}
