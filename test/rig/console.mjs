// @ts-check

const HEAD_BYTES = 256 * 1024;
const TAIL_BYTES = 768 * 1024;

/**
 * What the kernel writes to its console, bounded: the beginning and the end are kept, because a broken kernel can
 * write the same line for ever.
 */
export class Console {
  #head = '';
  #tail = '';
  #dropped = 0;

  /** @param {string} text */
  write(text) {
    const room = HEAD_BYTES - this.#head.length;
    this.#head += text.slice(0, room);
    this.#tail += text.slice(room);
    if (this.#tail.length <= 2 * TAIL_BYTES) return;
    this.#dropped += this.#tail.length - TAIL_BYTES;
    this.#tail = this.#tail.slice(-TAIL_BYTES);
  }

  /** @returns {string} */
  toString() {
    const gap = this.#dropped > 0 ? `\n[… ${this.#dropped} bytes …]\n` : '';
    return this.#head + gap + this.#tail;
  }

  /**
   * @param {number} lines
   * @returns {string}
   */
  last(lines) {
    return this.toString().trimEnd().split('\n').slice(-lines).join('\n');
  }
}
