/**
 * What every block of the disk must hold: unknown until it is first read or written, then exactly that. A block written by
 * this workload holds a pattern of its number and the write's; a block only read is known by a checksum.
 */
const UNKNOWN = 0;
const WRITTEN = 1;
const SEEN = 2;

export class DiskModel {
  readonly blocks: number;
  readonly #kind: Uint8Array;
  /** WRITTEN: number of the write; SEEN: a checksum. */
  readonly #value: Uint32Array;
  /** Blocks with a request in flight: what they hold is not known until it is back. */
  readonly #busy: Uint8Array;
  #writes = 0;

  constructor(blocks: number) {
    this.blocks = blocks;
    this.#kind = new Uint8Array(blocks);
    this.#value = new Uint32Array(blocks);
    this.#busy = new Uint8Array(blocks);
  }

  isBusy(block: number): boolean {
    return this.#busy[block] === 1;
  }

  /** A request for the block sets out. */
  begin(block: number): void {
    this.#busy[block] = 1;
  }

  /** The request is back, whatever its outcome. */
  end(block: number): void {
    this.#busy[block] = 0;
  }

  /** Fills `data` with the pattern of the block's next write, and returns the write's number. */
  fill(block: number, data: Uint32Array): number {
    const write = ++this.#writes >>> 0;
    const seed = seedOf(block, write);
    for (let i = 0; i < data.length; i++) data[i] = word(seed, i);
    return write;
  }

  /** The write reached the disk. */
  written(block: number, write: number): void {
    this.#kind[block] = WRITTEN;
    this.#value[block] = write;
  }

  /** A write failed: the block may hold either. */
  forget(block: number): void {
    this.#kind[block] = UNKNOWN;
  }

  /** Whether every byte that was read is what the block must hold. The first read of a block settles what that is. */
  verify(block: number, data: Uint32Array): boolean {
    const value = this.#value[block]!;
    if (this.#kind[block] === WRITTEN) {
      const seed = seedOf(block, value);
      for (let i = 0; i < data.length; i++) if (data[i] !== word(seed, i)) return false;
      return true;
    }
    const sum = checksum(data);
    if (this.#kind[block] === SEEN) return sum === value;
    this.#kind[block] = SEEN;
    this.#value[block] = sum;
    return true;
  }
}

function seedOf(block: number, write: number): number {
  return (Math.imul(block + 1, 0x9e37_79b1) ^ Math.imul(write, 0x85eb_ca6b)) >>> 0;
}

/** Every word differs from its neighbours, so that data shifted by a word, or by a page, is found. */
function word(seed: number, i: number): number {
  return (seed + Math.imul(i, 0xc2b2_ae35)) >>> 0;
}

/** FNV-1a over 32-bit words. */
function checksum(data: Uint32Array): number {
  let sum = 0x811c_9dc5;
  for (let i = 0; i < data.length; i++) sum = Math.imul(sum ^ data[i]!, 0x0100_0193);
  return sum >>> 0;
}
