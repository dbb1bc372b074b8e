/** Warnings that may come by the thousand: every one is counted, few are said. */

/** Between two that are said, in milliseconds. */
const QUIET_MS = 10_000;

export class Warnings {
  /** How many there were. */
  count = 0;
  readonly #say: (text: string) => void;
  readonly #now: () => number;
  #unsaid = 0;
  #quietUntil = Number.NEGATIVE_INFINITY;

  /** @param say Gets a sentence. @param now Milliseconds of any clock. */
  constructor(say: (text: string) => void, now: () => number = () => performance.now()) {
    this.#say = say;
    this.#now = now;
  }

  /** Says the first of these, and how many more there are, unless another was said a moment ago; then they go with the next. */
  add(texts: readonly string[]): void {
    if (texts.length === 0) return;
    this.count += texts.length;
    if (this.#now() < this.#quietUntil) {
      this.#unsaid += texts.length;
      return;
    }
    const more = texts.length - 1 + this.#unsaid;
    this.#unsaid = 0;
    this.#quietUntil = this.#now() + QUIET_MS;
    this.#say(more === 0 ? texts[0]! : `${texts[0]!} ${more} more like it, ${this.count} so far.`);
  }
}
