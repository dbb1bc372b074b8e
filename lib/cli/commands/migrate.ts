/** `svq migrate` */
import { type BlockDevice, openBlockDevice } from '../../device/block.js';
import { isSoft, resolvePath } from '../../device/reference.js';
import { VdpaError } from '../../errors.js';
import { maxDepth } from '../../guest/block-guest.js';
import { permitWrites } from '../../guest/write-permission.js';
import { precheck } from '../../migration/precheck.js';
import { Rehearsal } from '../../migration/rehearsal.js';
import type { MigrationReport } from '../../migration/report.js';
import { refusal } from '../../migration/summary.js';
import { backendFeatureBits } from '../../uapi/backend-features.js';
import { parseDuration } from '../../units.js';
import { announced } from '../announced.js';
import { EXIT } from '../exit-codes.js';
import { interruptible } from '../interrupt.js';
import { printJson, startProgress } from '../output.js';
import { printReport } from '../print-report.js';
import { checkDepth, parseWorkload, type WorkloadArguments } from '../workload-options.js';

interface Arguments extends WorkloadArguments {
  readonly from: string;
  readonly to: string;
  readonly relocated: boolean;
  readonly settle: string;
  readonly 'max-downtime': string;
  readonly without: readonly string[] | undefined;
  readonly json: boolean;
  readonly trace: boolean;
}

export async function migrate(args: Arguments): Promise<number> {
  const { result: report, interrupted } = await interruptible(signal => rehearse(args, signal));
  if (args.json) printJson(report);
  else printReport(report);
  if (interrupted) return EXIT.interrupted;
  return report.verdict === 'pass' ? EXIT.ok : EXIT.negative;
}

async function rehearse(args: Arguments, signal: AbortSignal): Promise<MigrationReport> {
  refusePair(args);
  const { request, memory } = await parseWorkload(args, isSoft(args.from));
  const settings = {
    memory,
    depth: args.depth,
    seed: args.seed,
    placement: args.relocated ? 'relocated' : 'identity',
    settleMs: parseDuration(args.settle),
    maxDowntimeMs: parseDuration(args['max-downtime']),
  } as const;
  const withoutBackendFeatures = backendFeatureBits(args.without ?? []);
  const open = (reference: string) =>
    openBlockDevice(reference, { withoutBackendFeatures, wrap: device => announced(device, reference, args.trace) });
  const progress = startProgress();
  const opened: BlockDevice[] = [];
  let rehearsal: Rehearsal | undefined;
  try {
    progress.say('open and check');
    const from = await open(args.from);
    opened.push(from);
    const to = await open(args.to);
    opened.push(to);
    checkDepth(args.depth, maxDepth(from.capabilities.vringNumMax));
    const area = await permitWrites(from, request);
    const blockers = await precheck(from, to, area);
    if (blockers.length > 0) return refusal({ ...settings, from, to, area }, blockers);
    rehearsal = new Rehearsal({
      ...settings,
      from,
      to,
      area,
      // The report has them all.
      onWarning: () => {},
      onPhase: name => progress.say(name.replaceAll('_', ' ')),
      signal,
    });
    return await rehearsal.run();
  } finally {
    await rehearsal?.close();
    await Promise.all(opened.map(block => block.device.close()));
    progress.end();
  }
}

/** Pairs that cannot be, before either is opened. A device has one opener; each opening of a soft device makes a new one. */
function refusePair({ from, to }: Arguments): void {
  if (isSoft(from) !== isSoft(to)) {
    const missing = isSoft(to) ? '--to' : '--from';
    throw new VdpaError(
      'ERR_VDPA_INVALID_ARGUMENT',
      `${from} and ${to} cannot share a disk: name a device with ${missing} too.`,
    );
  }
  if (isSoft(from) || resolvePath(from) !== resolvePath(to)) return;
  throw new VdpaError('ERR_VDPA_INVALID_ARGUMENT', `--from and --to name the same device, ${resolvePath(from)}.`);
}
