/** Changes of a device's maps, whole or not at all: failures anywhere, optional maps, what a batch hides. */
import { describe, expect, it } from 'vitest';
import { type ChangeMapsOptions, changeMaps } from '../../lib/device/change-maps.js';
import type { Device } from '../../lib/device/device.js';
import { observe } from '../../lib/device/trace.js';
import { AddressError, ClosedError, OperationError } from '../../lib/errors.js';
import { AddressSpace } from '../../lib/iova/address-space.js';
import type { IovaLimits } from '../../lib/iova/limits.js';
import { type IovaMap, sortMaps } from '../../lib/iova/map.js';
import type { Operation } from '../../lib/uapi/operation.js';
import { NOT_RUN } from './device-fake.js';
import { NO_LIMITS } from './iova-support.js';
import { NaiveKernel, type NaiveOptions } from './naive-kernel.js';

const PAGE = 4096;
const LIMITS: IovaLimits = { ...NO_LIMITS, reserved: [{ first: 0xfee00000, last: 0xfeefffff, type: 'msi' }] };

/** Memory that is never merged with its neighbours. */
const map = (page: number, pages = 1): IovaMap => ({
  iova: page * PAGE,
  size: pages * PAGE,
  region: page,
  offset: 0,
  perm: 'rw',
});

const isUpdate = (page: number) => (operation: Operation) =>
  operation.op === 'iotlbUpdate' && operation.iova === page * PAGE;

/** A device that holds these maps. */
async function holding(pages: readonly number[], options: Partial<NaiveOptions> = {}, limits = LIMITS) {
  const kernel = new NaiveKernel(options);
  const space = new AddressSpace(0, limits);
  await changeMaps(
    kernel,
    space,
    pages.map(page => map(page)),
  );
  kernel.submissions.length = 0;
  const change = (wanted: readonly number[], options: ChangeMapsOptions = {}, device: Device = kernel) =>
    changeMaps(
      device,
      space,
      wanted.map(page => map(page)),
      options,
    );
  /** Pages that vhost and the device have. */
  const there = () => {
    const vhost = sortMaps(kernel.vhost[0] ?? []);
    const device = kernel.device[0];
    return { vhost: vhost.map(pageOf), device: device === 'lost' ? device : sortMaps(device!).map(pageOf) };
  };
  return { kernel, space, change, there };
}

const pageOf = ({ iova }: IovaMap) => iova / PAGE;

async function failureOf(change: Promise<unknown>): Promise<OperationError> {
  const error = await change.then(
    () => expect.unreachable('it did not fail'),
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(OperationError);
  return error as OperationError;
}

describe('a change', () => {
  it('sends the plan and tells what was sent', async () => {
    const { kernel, space, change, there } = await holding([2, 4]);
    const { operations, results, refused } = await change([4, 6]);
    expect(kernel.submissions).toEqual([operations]);
    expect(operations.map(({ op }) => op)).toEqual([
      'iotlbBatchBegin',
      'iotlbInvalidate',
      'iotlbUpdate',
      'iotlbBatchEnd',
    ]);
    expect(results).toHaveLength(4);
    expect(refused).toEqual([]);
    expect(there()).toEqual({ vhost: [4, 6], device: [4, 6] });
    expect(space.held).toEqual([map(4), map(6)]);
  });

  it('that changes nothing sends nothing', async () => {
    const { kernel, change } = await holding([2]);
    expect(await change([2])).toEqual({ operations: [], results: [], refused: [] });
    expect(kernel.submissions).toEqual([]);
  });

  it('that the kernel would refuse sends nothing', async () => {
    const { kernel, change } = await holding([2], {}, { ...LIMITS, maxEntries: 2 });
    await expect(change([2, 4, 6])).rejects.toThrow(AddressError);
    expect(kernel.submissions).toEqual([]);
  });

  it('of an observed device is recorded once', async () => {
    const { kernel, space, change } = await holding([2, 4]);
    const observed = observe(kernel, (operations, results) => space.apply(operations, results));
    await change([4], {}, observed);
    expect(space.held).toEqual([map(4)]);
  });

  it('takes the options of plans', async () => {
    const { change } = await holding([2]);
    const { operations } = await change([2, 4], { remap: true, batched: false });
    expect(operations.map(({ op }) => op)).toEqual(['iotlbInvalidate', 'iotlbUpdate', 'iotlbUpdate']);
  });
});

describe('a change that fails', () => {
  it.each([0, 1, 2, 3, 4, 5])('at operation %d leaves exactly what was there', async failing => {
    for (const when of ['before', 'after'] as const) {
      for (const parent of ['set_map', 'dma_map'] as const) {
        const { kernel, space, change, there } = await holding([2, 4, 6], { parent });
        let index = 0;
        kernel.sabotage = () => (index++ === failing ? when : undefined);
        const error = await failureOf(change([4, 8, 10]));
        expect(error.details).toMatchObject({ rolledBack: true, path: '/dev/naive', errno: 14 });
        expect(error.message).toContain('The maps are as they were before.');
        expect(error.cause).toBeInstanceOf(OperationError);
        expect(there()).toEqual({ vhost: [2, 4, 6], device: [2, 4, 6] });
        expect(space.held).toEqual([map(2), map(4), map(6)]);
        expect(space.doubtful).toEqual([]);
      }
    }
  });

  it('leaves entries as they were cut', async () => {
    const { kernel, space } = await holding([]);
    const pieces = [4, 5].map((page): IovaMap => ({ ...map(page), region: 1, offset: page * PAGE }));
    const made = pieces.map((piece): Operation => ({ op: 'iotlbUpdate', asid: 0, ...piece }));
    space.apply(made, kernel.execute(made));
    // A wish that makes them one entry, and then fails.
    let updates = 0;
    kernel.sabotage = ({ op }) => (op === 'iotlbUpdate' && updates++ === 0 ? 'before' : undefined);
    const wanted: IovaMap = { ...pieces[0]!, size: 3 * PAGE, perm: 'ro' };
    expect((await failureOf(changeMaps(kernel, space, [wanted]))).details).toMatchObject({ rolledBack: true });
    expect(kernel.vhost[0]).toEqual(pieces);
  });

  it('at address 0 takes everything with it in the kernel, and puts it back', async () => {
    // The cap is the kernel's alone: nobody here knows of it.
    const { space, change, there } = await holding([2, 4], { maxEntries: 2 });
    const error = await failureOf(change([0, 2, 4]));
    expect(error.details).toMatchObject({ rolledBack: true, iova: 0 });
    expect(there()).toEqual({ vhost: [2, 4], device: [2, 4] });
    expect(space.held).toEqual([map(2), map(4)]);
  });

  it('when it is taken back, too, names what is in doubt', async () => {
    const { kernel, change } = await holding([2, 4]);
    kernel.sabotage = operation =>
      isUpdate(6)(operation) || operation.op === 'iotlbInvalidate' ? 'before' : undefined;
    const error = await failureOf(change([2, 4, 6, 8]));
    expect(error.details).toMatchObject({ rolledBack: false, doubtful: '0x6000-0x6fff' });
    expect(error.message).toMatch(
      /The maps could not be put back: .*EFAULT.* The device may hold or not: 0x6000-0x6fff\..*Close the device/,
    );
    expect(error.message).not.toContain('are as they were before');
  });

  it('and whose way back nobody may take says so', async () => {
    let pinnable = 2 * PAGE;
    const { kernel, space } = await holding([2], {}, { ...LIMITS, pinnable: () => pinnable });
    kernel.sabotage = operation => {
      // Another device of this process took the rest meanwhile.
      pinnable = -3 * PAGE;
      return isUpdate(4)(operation) ? 'before' : undefined;
    };
    const error = await failureOf(changeMaps(kernel, space, [map(2), map(4)]));
    expect(error.details).toMatchObject({ rolledBack: false });
    expect(error.message).toContain('memlock');
  });

  it('because it was cancelled is taken back', async () => {
    const { kernel, change, there } = await holding([2]);
    const { signal } = new AbortController();
    const asked: unknown[] = [];
    const device: Device = {
      path: kernel.path,
      close: () => kernel.close(),
      async submit(operations, options) {
        asked.push(options?.signal);
        if (!options?.signal) return kernel.submit(operations);
        const run = operations.map((operation, i) => i < 2 || operation.always);
        const results = kernel.execute(operations.filter((_, i) => run[i]));
        return operations.map((_, i) => (run[i] ? results.shift()! : NOT_RUN));
      },
    };
    const error = await failureOf(change([4, 6], { signal }, device));
    expect(error.code).toBe('ERR_VDPA_CANCELED');
    expect(error.details).toMatchObject({ rolledBack: true });
    expect(there()).toEqual({ vhost: [2], device: [2] });
    // The way back is not cancelled with it.
    expect(asked).toEqual([signal, undefined]);
  });

  it('because the device is closed is that error', async () => {
    const { kernel, change } = await holding([2]);
    const closed: Device = {
      path: kernel.path,
      close: () => kernel.close(),
      submit: () => Promise.reject(new ClosedError(kernel.path)),
    };
    await expect(change([4], {}, closed)).rejects.toThrow(ClosedError);
  });
});

describe('what a batch hides', () => {
  it('stays hidden without a probe: the device has nothing, and nobody was told', async () => {
    const { change, there } = await holding([2, 4], { deviceMaxEntries: 3 });
    await change([2, 4, 6, 8]);
    expect(there()).toEqual({ vhost: [2, 4, 6, 8], device: [] });
  });

  it('is found by a probe and taken back, in vhost and in the device', async () => {
    const { space, change, there } = await holding([2, 4], { deviceMaxEntries: 3 });
    const error = await failureOf(change([2, 4, 6, 8, 10], { probe: true }));
    expect(error.details).toMatchObject({ rolledBack: true, iova: 10 * PAGE });
    expect(error.message).toMatch(/any map of the batch may be the one it refused/);
    expect(there()).toEqual({ vhost: [2, 4], device: [2, 4] });
    expect(space.unsynced).toBe(false);
  });

  it('is found also when the probe is all there is', async () => {
    const { kernel, change, there } = await holding([2, 4], { deviceMaxEntries: 2 });
    const error = await failureOf(change([2, 4, 6], { probe: true }));
    expect(error.message).not.toContain('any map of the batch');
    expect(there()).toEqual({ vhost: [2, 4], device: [2, 4] });
    expect(kernel.submissions.map(operations => operations.length)).toEqual([1, 1]);
  });

  it('is told when the way back fails in the same manner', async () => {
    const { kernel, change } = await holding([2, 4, 6], { deviceMaxEntries: 3 });
    // The probe of the change and that of the way back.
    kernel.sabotage = operation => (isUpdate(8)(operation) || isUpdate(6)(operation) ? 'before' : undefined);
    const error = await failureOf(change([2, 4, 8], { probe: true }));
    expect(error.details).toMatchObject({ rolledBack: false });
    expect(error.message).toContain('the device may have lost them');
  });
});

describe('a map that is optional', () => {
  const optional = (...pages: number[]) => ({ optional: new Set(pages.map(page => page * PAGE)) });

  it('is left out when the kernel refuses it, and told', async () => {
    const { kernel, space, change, there } = await holding([2]);
    kernel.sabotage = operation => (isUpdate(6)(operation) ? 'before' : undefined);
    const { refused } = await change([2, 4, 6, 8], optional(6, 8));
    expect(refused).toEqual([{ ...map(6), error: expect.any(OperationError) }]);
    expect(there()).toEqual({ vhost: [2, 4, 8], device: [2, 4, 8] });
    expect(space.doubtful).toEqual([]);
  });

  it('is left out when all of them are refused, one after the other', async () => {
    const { kernel, change, there } = await holding([2]);
    kernel.sabotage = operation => (isUpdate(6)(operation) || isUpdate(4)(operation) ? 'after' : undefined);
    const { refused } = await change([2, 4, 6, 8], { ...optional(4, 6), probe: true });
    expect(refused.map(pageOf)).toEqual([4, 6]);
    expect(there()).toEqual({ vhost: [2, 8], device: [2, 8] });
  });

  it('is left out before anything is sent when it cannot be', async () => {
    const { kernel, change, there } = await holding([2]);
    const msi = 0xfee00000 / PAGE;
    const { refused } = await change([2, 4, msi, 8], optional(msi, 8));
    expect(refused).toEqual([{ ...map(msi), error: expect.any(AddressError) }]);
    expect(kernel.submissions).toHaveLength(1);
    expect(there().vhost).toEqual([2, 4, 8]);
  });

  it('gives way to the others at the cap', async () => {
    const { change, there } = await holding([], {}, { ...LIMITS, maxEntries: 3 });
    const { refused } = await change([2, 4, 6, 8], optional(2, 4));
    expect(refused.map(pageOf)).toEqual([4]);
    expect(there().vhost).toEqual([2, 6, 8]);
  });

  it('gives way to the others at a cap that nobody knew of, also one that the batch hid', async () => {
    for (const options of [{ maxEntries: 2 }, { deviceMaxEntries: 2 }]) {
      const { change, there } = await holding([2], options);
      const { refused } = await change([2, 4, 6], { ...optional(4), probe: true });
      expect(refused.map(pageOf)).toEqual([4]);
      expect(there()).toEqual({ vhost: [2, 6], device: [2, 6] });
    }
  });

  it('does not save what the guest cannot do without', async () => {
    const { kernel, change, there } = await holding([2]);
    kernel.sabotage = operation => (isUpdate(6)(operation) ? 'before' : undefined);
    const error = await failureOf(change([2, 4, 6], optional(4)));
    expect(error.details).toMatchObject({ rolledBack: true, iova: 6 * PAGE });
    expect(there()).toEqual({ vhost: [2], device: [2] });
    const impossible = changeMaps(kernel, new AddressSpace(0, LIMITS), [map(0xfee00), map(4)], optional(4));
    await expect(impossible).rejects.toThrow(AddressError);
  });

  it('that was there before is not suspected', async () => {
    const { kernel, change, there } = await holding([2, 4]);
    kernel.sabotage = operation => (isUpdate(6)(operation) ? 'before' : undefined);
    await failureOf(change([2, 4, 6], optional(4)));
    expect(kernel.submissions).toHaveLength(2);
    expect(there()).toEqual({ vhost: [2, 4], device: [2, 4] });
  });
});
