/** `svq bench NAME [DEVICE]` */
import { type BenchCase, type BenchDocument, type BenchParams, benchDocument, measure } from '../../bench/measure.js';
import { isSoft } from '../../device/reference.js';
import { VdpaError } from '../../errors.js';
import { EXIT } from '../exit-codes.js';
import { interruptible } from '../interrupt.js';
import { facts, note, print, printJson, startProgress, table } from '../output.js';

interface Arguments {
  readonly name: string | undefined;
  readonly device: string | undefined;
  readonly runs: number;
  readonly json: boolean;
}

interface Opened {
  readonly cases: readonly BenchCase[];
  close?(): Promise<void>;
}

interface Benchmark {
  readonly name: string;
  readonly needsDevice: boolean;
  /** Loads it: what one benchmark needs the others do not. */
  open(device: string): Promise<Opened>;
}

const BENCHMARKS: readonly Benchmark[] = [
  {
    name: 'iova',
    needsDevice: false,
    open: async () => ({ cases: (await import('../../bench/iova.js')).iovaBench() }),
  },
  {
    name: 'dirty',
    needsDevice: false,
    open: async () => ({ cases: (await import('../../bench/dirty.js')).dirtyBench() }),
  },
  {
    name: 'iotlb',
    needsDevice: true,
    open: async device => (await import('../../bench/iotlb.js')).openIotlbBench(device),
  },
];

const MAX_RUNS = 1000;

export async function bench(args: Arguments): Promise<number> {
  const { benchmark, device } = choose(args);
  const { result: document } = await interruptible(signal => run(benchmark, device, args.runs, signal));
  if (args.json) printJson(document);
  else printHuman(document);
  return EXIT.ok;
}

/** Everything that can be judged before a device is opened, because opening resets it. */
function choose({ name, device, runs }: Arguments): { benchmark: Benchmark; device: string } {
  const names = BENCHMARKS.map(({ name }) => name).join(', ');
  if (name === undefined) throw invalid(`Name a benchmark: ${names}.`);
  const benchmark = BENCHMARKS.find(candidate => candidate.name === name);
  if (!benchmark) throw invalid(`There is no benchmark "${name}"; there are ${names}.`);
  if (benchmark.needsDevice && device === undefined) throw invalid(`bench ${name} needs a device, such as soft:blk.`);
  if (!benchmark.needsDevice && device !== undefined)
    throw invalid(`bench ${name} takes no device, but ${device} was given.`);
  if (!Number.isInteger(runs) || runs < 1 || runs > MAX_RUNS) {
    throw invalid(`--runs is a whole number from 1 to ${MAX_RUNS}${Number.isNaN(runs) ? '' : `, not ${runs}`}.`);
  }
  return { benchmark, device: device ?? '' };
}

async function run(benchmark: Benchmark, device: string, runs: number, signal: AbortSignal): Promise<BenchDocument> {
  const { cases, close } = await benchmark.open(device);
  if (benchmark.needsDevice && !isSoft(device)) note(`opening ${device} has reset it`);
  const progress = startProgress();
  try {
    const results = await measure(cases, runs, {
      signal,
      onProgress: ({ name, params }, done, total) => progress.say(`${done} of ${total}: ${name} ${describe(params)}`),
    });
    return benchDocument(benchmark.name, results);
  } finally {
    progress.end();
    await close?.();
  }
}

function printHuman({ bench, machine, results }: BenchDocument): void {
  const { cpu, cpus, memory_bytes, node, kernel } = machine;
  print(
    facts([
      ['benchmark', `${bench}, ${results[0]?.runs ?? 0} runs`],
      ['machine', `${cpu}, ${cpus} CPUs, ${(memory_bytes / 2 ** 30).toFixed(1)} GiB, Linux ${kernel}, Node ${node}`],
    ]),
  );
  print('');
  const rows = results.map(({ name, params, median, p25, p75, unit }) => [
    name,
    describe(params),
    median,
    p25,
    p75,
    unit,
  ]);
  print(table(['NAME', 'PARAMS', 'MEDIAN', 'P25', 'P75', 'UNIT'], rows, [2, 3, 4]));
}

function describe(params: BenchParams): string {
  return Object.entries(params)
    .map(([name, value]) => `${name}=${value}`)
    .join(' ');
}

function invalid(message: string): VdpaError {
  return new VdpaError('ERR_VDPA_INVALID_ARGUMENT', message);
}
