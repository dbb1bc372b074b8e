/** What the command prints: one document on stdout, everything else on stderr. */
import { debuglog } from 'node:util';
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

/** Names and values, one pair a line; a line without a name goes on with the one before. */
export function facts(rows: readonly (readonly [string, string])[]): string {
  const width = Math.max(...rows.map(([name]) => name.length));
  return rows.map(([name, value]) => `${name.padEnd(width)}  ${value}`).join('\n');
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

/** The error as a document, for `--json`, and as a line for people. Stacks only for NODE_DEBUG=svq. */
export function printError(error: unknown, json: boolean): void {
  const { code, message, details } = error instanceof VdpaError ? error : unexpected(error);
  if (json) printJson({ schema: 'svq.error/1', code, message, details });
  note(`${message} (${code})`);
  debuglog('svq')('%s', error instanceof Error ? error.stack : error);
}

function unexpected(error: unknown) {
  const message = error instanceof Error ? error.message : String(error);
  return {
    code: 'ERR_INTERNAL',
    message: `${message}. This is a defect of svq; NODE_DEBUG=svq shows where.`,
    details: {},
  };
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
