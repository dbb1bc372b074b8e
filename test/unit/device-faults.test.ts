/** Fault injection: what runs, what is reported, and that the tail which leaves a device safe always runs. */
import { describe, expect, it } from 'vitest';
import { type Fault, injectFaults } from '../../lib/device/faults.js';
import type { Operation } from '../../lib/uapi/operation.js';
import { type FakeAnswer, FakeDevice } from './device-fake.js';

const EIO = 5;
const ENODEV = 19;

const LIST: readonly Operation[] = [
  { op: 'setStatus', status: 1 },
  { op: 'suspend' },
  { op: 'getVringBase', index: 0 },
  { op: 'setStatus', status: 0, always: true },
];

/** Submits the list with these faults: what reached the device, and what was reported. */
async function submit(
  faults: Partial<Record<Operation['op'], Fault>>,
  answer?: (operation: Operation) => FakeAnswer,
  list = LIST,
) {
  const inner = new FakeDevice(answer);
  const device = injectFaults(inner, ({ op }) => faults[op]);
  const results = await device.submit(list);
  return {
    reached: inner.submissions.flat().map(({ op }) => op),
    outcomes: results.map(({ ran, errno }) => (ran ? errno : 'not run')),
    results,
    inner,
  };
}

describe('a fault before an operation', () => {
  it('keeps it from the device', async () => {
    const { reached, outcomes, results } = await submit({ suspend: { errno: EIO, when: 'before' } });
    expect(reached).toEqual(['setStatus', 'setStatus']);
    expect(outcomes).toEqual([0, EIO, 'not run', 0]);
    expect(results[1].value).toBeUndefined();
  });

  it('may be at the first operation', async () => {
    const { reached, outcomes } = await submit({ setStatus: { errno: EIO, when: 'before' } }, undefined, [
      { op: 'setStatus', status: 1 },
      { op: 'suspend' },
      { op: 'iotlbBatchEnd', asid: 0, always: true },
    ]);
    expect(reached).toEqual(['iotlbBatchEnd']);
    expect(outcomes).toEqual([EIO, 'not run', 0]);
  });
});

describe('a fault after an operation', () => {
  it('lets it happen, hides its value and keeps its time', async () => {
    const { reached, outcomes, results } = await submit({ getVringBase: { errno: EIO, when: 'after' } }, ({ op }) =>
      op === 'getVringBase' ? 77 : undefined,
    );
    expect(reached).toEqual(['setStatus', 'suspend', 'getVringBase', 'setStatus']);
    expect(outcomes).toEqual([0, 0, EIO, 0]);
    expect(results[2]).toEqual({ ran: true, errno: EIO, value: undefined, started_ms: 100, duration_ms: 2 });
  });
});

describe('a failure of the device', () => {
  it('before the fault is what is reported', async () => {
    const { reached, outcomes } = await submit({ getVringBase: { errno: EIO, when: 'before' } }, ({ op }) =>
      op === 'suspend' ? { errno: ENODEV } : undefined,
    );
    expect(reached).toEqual(['setStatus', 'suspend', 'setStatus']);
    expect(outcomes).toEqual([0, ENODEV, 'not run', 0]);
  });

  it('does not keep a fault from an operation that always runs', async () => {
    const list: Operation[] = [{ op: 'suspend' }, { op: 'iotlbBatchEnd', asid: 0, always: true }];
    const answer = ({ op }: Operation) => (op === 'suspend' ? { errno: ENODEV } : undefined);
    const { outcomes } = await submit({ iotlbBatchEnd: { errno: EIO, when: 'before' } }, answer, list);
    expect(outcomes).toEqual([ENODEV, EIO]);
  });

  it('in the tail is reported there', async () => {
    const { outcomes } = await submit({ suspend: { errno: EIO, when: 'before' } }, o =>
      o.always ? { errno: ENODEV } : undefined,
    );
    expect(outcomes).toEqual([0, EIO, 'not run', ENODEV]);
  });
});

describe('without a fault', () => {
  it('a list goes through as it is, with its options', async () => {
    const inner = new FakeDevice(() => 3);
    const { signal } = new AbortController();
    const results = await injectFaults(inner, () => undefined).submit(LIST, { signal });
    expect(inner.submissions).toEqual([LIST]);
    expect(inner.options).toEqual([{ signal }]);
    expect(results.map(result => result.value)).toEqual([3, 3, 3, 3]);
  });

  it('the device keeps its name and is closed with it', async () => {
    const inner = new FakeDevice();
    const device = injectFaults(inner, () => undefined);
    expect(device.path).toBe('/dev/fake');
    await device.close();
    expect(inner.closed).toBe(1);
  });
});

it('runs the tail even when what came before was cancelled', async () => {
  const inner = new FakeDevice();
  const device = injectFaults(inner, ({ op }) => (op === 'suspend' ? { errno: EIO, when: 'before' } : undefined));
  await device.submit(LIST, { signal: AbortSignal.abort() });
  expect(inner.options).toEqual([{ signal: expect.any(AbortSignal) }, undefined]);
});
