/** `svq migrate` */
import { type BlockDevice, openBlockDevice } from '../../device/block.js';
import { isSoft, resolvePath } from '../../device/reference.js';
import { VdpaError } from '../../errors.js';
import { maxDepth } from '../../guest/block-guest.js';
import { permitWrites } from '../../guest/write-permission.js';
import { precheck } from '../../migration/precheck.js';
import { Rehearsal } from '../../migration/rehearsal.js';
import { type MigrationReport, refusal } from '../../migration/report.js';
import { backendFeatureBits } from '../../uapi/backend-features.js';
import { parseDuration, parseSize } from '../../units.js';
import { EXIT } from '../exit-codes.js';
import { interruptible } from '../interrupt.js';
import { note, printJson, startProgress } from '../output.js';
import { printReport } from '../print-report.js';
import { traced } from '../traced.js';
import { checkDepth, checkSeed, type WorkloadArguments, writeRequest } from '../workload-options.js';

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
  const request = writeRequest(args);
  // A soft device's disk is made for this run: there is nothing on it to lose.
  const destroy = request.destroy || (isSoft(args.from) && isSoft(args.to) && request.range === undefined);
  const settings = {
    memory: parseSize(args.memory),
    settleMs: parseDuration(args.settle),
    maxDowntimeMs: parseDuration(args['max-downtime']),
  };
  const withoutBackendFeatures = backendFeatureBits(args.without ?? []);
  checkSeed(args.seed);
  refuseSameDevice(args);
  const open = async (reference: string) => {
    const block = await openBlockDevice(reference, {
      withoutBackendFeatures,
      wrap: device => traced(device, args.trace),
    });
    if (!isSoft(reference)) note(`opening ${reference} has reset it`);
    return block;
  };
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
    const area = await permitWrites(from, { ...request, destroy });
    const blockers = await precheck(from, to, area);
    if (blockers.length > 0) return refusal(from.device.path, to.device.path, blockers);
    rehearsal = new Rehearsal({
      ...settings,
      from,
      to,
      area,
      depth: args.depth,
      seed: args.seed,
      placement: args.relocated ? 'relocated' : 'identity',
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

/** One opener at a time: the kernel would call it busy. Each opening of a soft device makes a new one. */
function refuseSameDevice({ from, to }: Arguments): void {
  if (isSoft(from) || isSoft(to) || resolvePath(from) !== resolvePath(to)) return;
  throw new VdpaError('ERR_VDPA_INVALID_ARGUMENT', `--from and --to name the same device, ${resolvePath(from)}.`);
}
