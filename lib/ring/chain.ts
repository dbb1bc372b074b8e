/** A chain of buffers, the unit that a virtqueue carries; one object is reused for every request. */
import { VdpaError } from '../errors.js';

/** A descriptor chain: readable buffers first, then writable ones (virtio 1.3 §2.7.4.2). */
export class Chain {
  /** Head descriptor, the chain's name in both rings; set by `SplitDevice.pop`. */
  head = 0;
  /** Number of buffers. */
  count = 0;
  /** Number of buffers the device only reads; the rest are the device's to write. */
  readable = 0;
  readableBytes = 0;
  writableBytes = 0;
  /** Address of each buffer: a safe integer. */
  readonly addr: Float64Array;
  /** Length of each buffer, in bytes. */
  readonly len: Uint32Array;

  /** @param capacity Most buffers it can hold: at least the size of the queue it is popped from. */
  constructor(capacity: number) {
    this.addr = new Float64Array(capacity);
    this.len = new Uint32Array(capacity);
  }

  /** Empties the chain. */
  reset(): void {
    this.head = 0;
    this.count = 0;
    this.readable = 0;
    this.readableBytes = 0;
    this.writableBytes = 0;
  }

  /**
   * Appends a buffer.
   * @throws VdpaError ERR_VDPA_INVALID_ARGUMENT when the chain is full, or a readable buffer follows a writable one.
   */
  push(addr: number, len: number, writable: boolean): void {
    const at = this.count;
    if (at === this.addr.length) throw refusal(`it has its ${at} buffers already`);
    if (writable) this.writableBytes += len;
    else {
      if (this.readable !== at) throw refusal('readable buffers come before writable ones');
      this.readable++;
      this.readableBytes += len;
    }
    this.addr[at] = addr;
    this.len[at] = len;
    this.count = at + 1;
  }
}

function refusal(why: string): VdpaError {
  return new VdpaError('ERR_VDPA_INVALID_ARGUMENT', `The chain takes no such buffer: ${why}.`);
}
