/** Runs the command as a user does: a process of its own, its output as bytes. */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';

export const ROOT = fileURLToPath(new URL('../../', import.meta.url));
export const SVQ = fileURLToPath(new URL('../../bin/svq.js', import.meta.url));

export interface Outcome {
  /** Null when a signal ended the process. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly env?: NodeJS.ProcessEnv;
  /** Sends SIGINT when stderr matches this so many times. */
  readonly interruptAt?: { readonly pattern: RegExp; readonly times: number };
}

/** `svq ARGUMENTS…` */
export function svq(args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  return run(process.execPath, [SVQ, ...args], options);
}

/** Any command, in the project's directory. */
export function run(command: string, args: readonly string[], { env, interruptAt }: RunOptions = {}): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: ROOT,
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let [stdout, stderr, interrupted] = ['', '', false];
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
      if (!interruptAt || interrupted || stderr.split(interruptAt.pattern).length <= interruptAt.times) return;
      interrupted = true;
      child.kill('SIGINT');
    });
    child.on('error', reject);
    child.on('close', code => resolve({ code, stdout, stderr }));
  });
}

/** The one document on stdout: nothing before it, nothing after it. */
export function document(outcome: Outcome): Record<string, unknown> {
  expect(outcome.stdout).toMatch(/^\{\n.*\n\}\n$/s);
  return JSON.parse(outcome.stdout) as Record<string, unknown>;
}

/** Expects a failure told in one clear line, without a stack trace and without output. */
export function expectFailure(outcome: Outcome, code: number, message: RegExp): void {
  expect(outcome.stderr).toMatch(message);
  expectNoStack(outcome);
  expect(outcome.stdout).toBe('');
  expect(outcome.code).toBe(code);
}

export function expectNoStack({ stderr }: Outcome): void {
  expect(stderr).not.toMatch(/^\s+at .*:\d+|ERR_INTERNAL|node:internal/m);
}
