/** `svq attach DEVICE` */
import { openBlockDevice } from '../../device/block.js';
import { isSoft } from '../../device/reference.js';
import { maxDepth } from '../../guest/block-guest.js';
import type { GuestStatistics } from '../../guest/guest.js';
import { permitWrites } from '../../guest/write-permission.js';
import { type LoadResult, LoadRun } from '../../migration/load-run.js';
import { findings } from '../../migration/summary.js';
import { parseDuration } from '../../units.js';
import { announced } from '../announced.js';
import { EXIT } from '../exit-codes.js';
import { interruptible } from '../interrupt.js';
import { facts, note, print, printJson } from '../output.js';
import { checkDepth, parseWorkload, type WorkloadArguments } from '../workload-options.js';

interface Arguments extends WorkloadArguments {
  readonly device: string;
  readonly shadow: boolean;
  readonly duration: string;
  readonly json: boolean;
  readonly trace: boolean;
}

export async function attach(args: Arguments): Promise<number> {
  const { result: document, interrupted } = await interruptible(signal => load(args, signal));
  if (args.json) printJson(document);
  else printHuman(document);
  if (interrupted) return EXIT.interrupted;
  return document.verdict === 'pass' ? EXIT.ok : EXIT.negative;
}

async function load(args: Arguments, signal: AbortSignal) {
  const { request, memory } = await parseWorkload(args, isSoft(args.device));
  const durationMs = parseDuration(args.duration);
  const { depth, seed, shadow } = args;
  const block = await openBlockDevice(args.device, { wrap: device => announced(device, args.device, args.trace) });
  let run: LoadRun | undefined;
  try {
    checkDepth(depth, maxDepth(block.capabilities.vringNumMax));
    const area = await permitWrites(block, request);
    run = new LoadRun({ block, memory, area, depth, seed, shadow, onWarning: note });
    await run.start();
    const started = performance.now();
    await run.run(durationMs, liveStatistics(), signal);
    const result = await run.finish();
    return summarise(args, block.device.path, performance.now() - started, signal.aborted, result);
  } finally {
    await run?.close();
    await block.device.close();
  }
}

/** One line a second. */
function liveStatistics(): (statistics: GuestStatistics) => void {
  let last = { completed: 0, at: performance.now() };
  return ({ completed, in_flight, corrupt, errors }) => {
    const now = performance.now();
    const rate = ((completed - last.completed) / (now - last.at)) * 1000;
    last = { completed, at: now };
    note(`${completed} requests, ${rate.toFixed(0)}/s, ${in_flight} in flight, ${corrupt} corrupt, ${errors} errors`);
  };
}

function summarise({ shadow }: Arguments, device: string, elapsed: number, interrupted: boolean, result: LoadResult) {
  const { submitted, completed, reads, writes, corrupt, errors, duplicated } = result.statistics;
  const lost = submitted - completed;
  const reasons = findings(result.statistics);
  if (result.fault !== undefined && result.fault !== result.statistics.fault) reasons.push(result.fault);
  return {
    schema: 'svq.attach/1',
    verdict: reasons.length > 0 ? 'fail' : 'pass',
    reasons,
    device,
    mode: shadow ? 'shadow' : 'passthrough',
    interrupted,
    duration_ms: elapsed,
    requests_per_s: (completed / elapsed) * 1000,
    workload: { submitted, completed, reads, writes, lost, duplicated, corrupt, errors },
    shadow: result.shadow,
  };
}

function printHuman(document: Awaited<ReturnType<typeof load>>): void {
  const { verdict, reasons, device, mode, duration_ms, requests_per_s, workload, shadow } = document;
  const { completed, reads, writes, lost, duplicated, corrupt, errors } = workload;
  print(
    `${verdict === 'pass' ? 'PASS' : 'FAIL'}  ${device}, ${mode}, ${(duration_ms / 1000).toFixed(1)} s${document.interrupted ? ' (interrupted)' : ''}`,
  );
  for (const reason of reasons) print(`      ${reason}`);
  print('');
  print(
    facts([
      ['requests', `${completed} completed (${reads} reads, ${writes} writes), ${requests_per_s.toFixed(0)}/s`],
      ['', `${lost} lost, ${duplicated} duplicated, ${corrupt} corrupt, ${errors} errors`],
      ...shadow.map((queue, index): [string, string] => [
        `shadow ${index}`,
        `${queue.batches} batches (largest ${queue.largest_batch}), ${queue.kicks} kicks, ${queue.calls} calls, ${queue.parks} parks`,
      ]),
    ]),
  );
}
