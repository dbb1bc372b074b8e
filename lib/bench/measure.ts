/**
 * How the benchmarks are run, and the document that holds their figures.
 *
 * All cases of a benchmark run in turn, round after round, so that a machine that slows down for a while slows all of them
 * down and not one. The first round warms up (compiler, caches) and is not counted. Of the others the median is told, and
 * the quartiles, which say how far to trust it.
 */
import { arch, availableParallelism, cpus, platform, release, totalmem } from 'node:os';
import { setImmediate } from 'node:timers/promises';

/** What distinguishes cases of one name: a size, an order, a baseline's name. */
export type BenchParams = Readonly<Record<string, string | number>>;

export interface BenchCase {
  readonly name: string;
  readonly params: BenchParams;
  /** Of the figures that `run` returns, such as `ns`. */
  readonly unit: string;
  /** Runs once and returns one figure. What it needs it keeps: preparations are not repeated and not timed. */
  run(): number | Promise<number>;
}

export interface BenchResult {
  readonly name: string;
  readonly params: BenchParams;
  readonly median: number;
  readonly p25: number;
  readonly p75: number;
  readonly unit: string;
  readonly runs: number;
}

/** The machine and the Node that the figures belong to. */
export interface BenchMachine {
  readonly cpu: string;
  /** Processors this process may use. */
  readonly cpus: number;
  readonly memory_bytes: number;
  readonly node: string;
  /** The kernel's release, as `uname -r` prints it. */
  readonly kernel: string;
  readonly platform: string;
  readonly arch: string;
}

export interface BenchDocument {
  readonly schema: 'svq.bench/1';
  readonly bench: string;
  readonly machine: BenchMachine;
  readonly results: readonly BenchResult[];
}

export interface MeasureOptions {
  /** Told before each run: which case, and how many runs (with those of the warm-up) are behind, of how many. */
  readonly onProgress?: (next: BenchCase, done: number, total: number) => void;
  /** Ends it between two runs. */
  readonly signal?: AbortSignal;
}

/**
 * Runs every case once to warm up and then `runs` times, interleaved.
 * @param runs From 1.
 * @throws the signal's reason when it is aborted, and whatever a case throws.
 */
export async function measure(
  cases: readonly BenchCase[],
  runs: number,
  { onProgress, signal }: MeasureOptions = {},
): Promise<BenchResult[]> {
  const figures: number[][] = cases.map(() => []);
  const total = (runs + 1) * cases.length;
  for (let round = 0; round <= runs; round++) {
    for (const [i, benchCase] of cases.entries()) {
      onProgress?.(benchCase, round * cases.length + i, total);
      // A run blocks this thread: between two of them signals are heard and the terminal is served.
      await setImmediate();
      signal?.throwIfAborted();
      const figure = await benchCase.run();
      if (round > 0) figures[i]!.push(figure);
    }
  }
  return cases.map((benchCase, i) => summarise(benchCase, figures[i]!));
}

/** The document of a benchmark on this machine. */
export function benchDocument(bench: string, results: readonly BenchResult[]): BenchDocument {
  return { schema: 'svq.bench/1', bench, machine: describeMachine(), results };
}

function describeMachine(): BenchMachine {
  return {
    // Some virtual machines do not name theirs.
    cpu: cpus()[0]?.model.trim() || 'unknown',
    cpus: availableParallelism(),
    memory_bytes: totalmem(),
    node: process.version,
    kernel: release(),
    platform: platform(),
    arch: arch(),
  };
}

function summarise({ name, params, unit }: BenchCase, figures: readonly number[]): BenchResult {
  const sorted = [...figures].sort((a, b) => a - b);
  return {
    name,
    params,
    median: quantile(sorted, 0.5),
    p25: quantile(sorted, 0.25),
    p75: quantile(sorted, 0.75),
    unit,
    runs: sorted.length,
  };
}

/** Between two figures, in proportion. Four digits: more would be noise. */
function quantile(sorted: readonly number[], q: number): number {
  const at = q * (sorted.length - 1);
  const low = sorted[Math.floor(at)]!;
  const high = sorted[Math.ceil(at)]!;
  return Number((low + (high - low) * (at % 1)).toPrecision(4));
}

/** Nanoseconds that `act` takes. */
export function elapsed(act: () => void): number {
  const start = process.hrtime.bigint();
  act();
  return Number(process.hrtime.bigint() - start);
}

/** Makes something when it is first asked for: cases that are never run cost nothing. */
export function once<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}
