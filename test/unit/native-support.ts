/** What the tests of the addon share: batches as bytes (native/batch.h), child processes, and what the kernel says about memory. */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { native } from '../../lib/native.js';

export const addon = native();
export const ADDON_PATH = fileURLToPath(new URL('../../build/Release/vhost_vdpa.node', import.meta.url));

export const PAGE = 4096;
export const EBADF = 9;
export const EINVAL = 22;
const HEADER = 48;

export interface Entry {
  readonly op: string;
  readonly argument?: Uint8Array;
  readonly always?: boolean;
  readonly expect?: { readonly mask: number; readonly equals: number };
}

export interface Outcome {
  readonly errno: number;
  readonly ran: boolean;
  readonly ret: number;
  readonly start: bigint;
  readonly end: bigint;
  readonly argument: Uint8Array;
}

const opcodes = new Map(addon.requests().map((request, index) => [request.name, index]));

const padded = (length: number): number => Math.ceil(length / 8) * 8;

export function path(name: string): Uint8Array {
  return new TextEncoder().encode(`${name}\0`);
}

/** The argument of an IOTLB row. */
export function iotlb(fields: {
  iova?: number;
  size?: number;
  offset?: number;
  asid?: number;
  region?: number;
  perm?: number;
}): Uint8Array {
  const view = new DataView(new ArrayBuffer(40));
  view.setBigUint64(0, BigInt(fields.iova ?? 0), true);
  view.setBigUint64(8, BigInt(fields.size ?? 0), true);
  view.setBigUint64(16, BigInt(fields.offset ?? 0), true);
  view.setUint32(24, fields.asid ?? 0, true);
  view.setUint32(28, fields.region ?? 0, true);
  view.setUint8(32, fields.perm ?? 3);
  return new Uint8Array(view.buffer);
}

export function encode(entries: readonly Entry[]): Uint8Array {
  const lengths = entries.map(({ argument }) => HEADER + padded(argument?.length ?? 0));
  const batch = new Uint8Array(lengths.reduce((sum, length) => sum + length, 0));
  const view = new DataView(batch.buffer);
  let at = 0;
  entries.forEach((entry, i) => {
    view.setUint32(at, opcodes.get(entry.op) ?? 0xffff, true);
    view.setUint32(at + 4, (entry.always ? 1 : 0) | (entry.expect ? 2 : 0), true);
    view.setUint32(at + 8, entry.argument?.length ?? 0, true);
    view.setUint32(at + 40, entry.expect?.mask ?? 0, true);
    view.setUint32(at + 44, entry.expect?.equals ?? 0, true);
    batch.set(entry.argument ?? [], at + HEADER);
    at += lengths[i];
  });
  return batch;
}

export function decode(batch: Uint8Array): Outcome[] {
  const view = new DataView(batch.buffer, batch.byteOffset);
  const outcomes: Outcome[] = [];
  for (let at = 0; at < batch.length; ) {
    const length = view.getUint32(at + 8, true);
    outcomes.push({
      errno: view.getInt32(at + 12, true),
      ran: view.getUint32(at + 16, true) === 1,
      ret: view.getInt32(at + 20, true),
      start: view.getBigUint64(at + 24, true),
      end: view.getBigUint64(at + 32, true),
      argument: batch.slice(at + HEADER, at + HEADER + length),
    });
    at += HEADER + padded(length);
  }
  return outcomes;
}

/** Resolves with the next finished batch. */
export function finished(device: number): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const watch = addon.watchStart(addon.deviceEventFd(device), () => {
      addon.watchStop(watch);
      const batch = addon.deviceReap(device);
      if (batch === undefined) reject(new Error('the eventfd was signalled and nothing was done'));
      else resolve(batch);
    });
  });
}

/** Runs entries on a device and answers one outcome each. */
export async function run(device: number, entries: readonly Entry[]): Promise<Outcome[]> {
  const ticket = addon.deviceSubmit(device, encode(entries));
  if (ticket < 0) throw new Error(`deviceSubmit answered ${ticket}`);
  return decode(await finished(device));
}

/** Ends when the event loop has polled once more: whatever was readable before has been called back. */
export async function polled(): Promise<void> {
  // The first may still belong to the turn of the loop that called this.
  for (let i = 0; i < 2; i++) await new Promise(resolve => setImmediate(resolve));
}

/** Whether this process still maps the memfd of that name. */
export function isMapped(name: string): boolean {
  return readFileSync('/proc/self/maps', 'utf8').includes(`/memfd:${name} `);
}

export interface Ended {
  readonly code: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly elapsed_ms: number;
}

/** For scripts: waits until a condition holds, for as long as a loaded machine may need. */
export const UNTIL = `
  const until = async condition => {
    for (const end = Date.now() + 10000; !condition() && Date.now() < end; ) await new Promise(resolve => setTimeout(resolve, 5));
    return condition();
  };`;

export interface ScriptOptions {
  readonly flags?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly withAddon?: boolean;
}

/** Starts a script, in which `addon` is the addon, in a Node of its own. */
export function startScript(script: string, options: ScriptOptions = {}): ChildProcess {
  const prelude = options.withAddon === false ? '' : `const addon = require(${JSON.stringify(ADDON_PATH)});`;
  const args = [...(options.flags ?? []), '--input-type=commonjs', '-e', prelude + script];
  return spawn(process.execPath, args, { env: { ...process.env, ...options.env } });
}

/** The same, to its end. */
export function runScript(script: string, options: ScriptOptions = {}): Promise<Ended> {
  return ended(startScript(script, options));
}

export async function ended(child: ChildProcess): Promise<Ended> {
  const start = performance.now();
  let stdout = '';
  let stderr = '';
  child.stdout?.on('data', chunk => (stdout += chunk));
  child.stderr?.on('data', chunk => (stderr += chunk));
  const [code, signal] = await new Promise<[number | null, string | null]>(resolve => {
    child.on('close', (code, signal) => resolve([code, signal]));
  });
  return { code, signal, stdout, stderr, elapsed_ms: performance.now() - start };
}
