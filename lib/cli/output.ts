/** What the command prints: one document on stdout, everything else on stderr. */
import Table from 'cli-table3';
import yoctoSpinner from 'yocto-spinner';
import { VdpaError } from '../errors.js';

/** JSON for other programs: 64-bit values as hex strings, because a JSON number above 2^53 is rounded by its readers. */
export function printJson(document: object): void {
  process.stdout.write(
    `${JSON.stringify(document, (_, value) => (typeof value === 'bigint' ? `0x${value.toString(16)}` : value), 2)}\n`,
  );
}

export function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** A remark for the person in front of it. */
export function note(text: string): void {
  process.stderr.write(`svq: ${text}\n`);
}

/** A table without borders, as the other tools of this field print theirs. */
export function table(
  head: readonly string[],
  rows: readonly (readonly (string | number)[])[],
  rightAligned: readonly number[] = [],
): string {
  const chars = {
    top: '',
    'top-mid': '',
    'top-left': '',
    'top-right': '',
    bottom: '',
    'bottom-mid': '',
    'bottom-left': '',
    'bottom-right': '',
    left: '',
    'left-mid': '',
    mid: '',
    'mid-mid': '',
    right: '',
    'right-mid': '',
    middle: '  ',
  };
  const result = new Table({
    head: [...head],
    chars,
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0 },
    colAligns: head.map((_, i) => (rightAligned.includes(i) ? 'right' : 'left')),
  });
  for (const row of rows) result.push([...row]);
  return result
    .toString()
    .split('\n')
    .map(line => line.trimEnd())
    .join('\n');
}

/** The error as a document, for `--json`, or as a line for people. */
export function printError(error: unknown, json: boolean): void {
  const { code, message, details } =
    error instanceof VdpaError
      ? error
      : { code: 'ERR_INTERNAL', message: String(error instanceof Error ? error.stack : error), details: {} };
  if (json) printJson({ schema: 'svq.error/1', code, message, details });
  process.stderr.write(`svq: ${message} (${code})\n`);
}

/** What is going on, on a terminal; nothing elsewhere. */
export interface Progress {
  say(text: string): void;
  end(): void;
}

export function startProgress(): Progress {
  if (!process.stderr.isTTY) return { say: () => {}, end: () => {} };
  const spinner = yoctoSpinner({ stream: process.stderr }).start();
  return {
    say: text => {
      spinner.text = text;
    },
    end: () => {
      spinner.stop();
    },
  };
}
