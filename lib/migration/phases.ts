/** Time and device operations by phase. */
import type { Device } from '../device/device.js';
import { observe } from '../device/trace.js';
import type { PhaseReport } from './report.js';

interface Open {
  readonly name: string;
  readonly started: number;
  operations: number;
  device: number;
}

export class Phases {
  readonly #done: PhaseReport[] = [];
  readonly #onStart: (name: string) => void;
  #open: Open | undefined;

  /** @param onStart Told the name of each phase as it starts. */
  constructor(onStart: (name: string) => void = () => {}) {
    this.#onStart = onStart;
  }

  get reports(): readonly PhaseReport[] {
    return this.#done;
  }

  /** The phase under way, or the last one. */
  get current(): string {
    return this.#open?.name ?? this.#done.at(-1)?.name ?? 'setup';
  }

  /** The same device, its operations counted in the phase under way. */
  count(device: Device): Device {
    return observe(device, (_, results) => {
      if (!this.#open) return;
      for (const result of results) {
        if (!result.ran) continue;
        this.#open.operations++;
        this.#open.device += result.duration_ms;
      }
    });
  }

  /** Runs one phase. A phase that fails is reported too. */
  async run<T>(name: string, body: () => Promise<T>): Promise<T> {
    this.#onStart(name);
    const phase: Open = { name, started: performance.now(), operations: 0, device: 0 };
    this.#open = phase;
    try {
      return await body();
    } finally {
      this.#open = undefined;
      const { operations, device, started } = phase;
      this.#done.push({ name, duration_ms: performance.now() - started, operations, device_ms: device });
    }
  }

  /** Wall time of a phase that has run. */
  duration(name: string): number {
    return this.#done.filter(phase => phase.name === name).reduce((sum, phase) => sum + phase.duration_ms, 0);
  }
}
