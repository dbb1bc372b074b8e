/** The data path of the soft device as witness of its states: what is served, when, from where, and what is not. */
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import type { Operation } from '../../lib/uapi/operation.js';
import { MEMORY, OTHER_RING, PAGE, PERSIST, RING, RING_SIZE, SoftMachine } from './soft-support.js';

const IN = 0;
const OUT = 1;
const FLUSH = 4;
const GET_ID = 8;
const SECURE_ERASE = 14;
const OK = 0;
const IOERR = 1;
const CAPACITY = 128;

const machines: SoftMachine[] = [];
function machine(properties?: string): SoftMachine {
  const made = new SoftMachine(properties);
  machines.push(made);
  return made;
}
afterEach(() => {
  for (const made of machines.splice(0)) made.close();
});

const read: { type: number; room: number } = { type: IN, room: 512 };
const served = { status: OK, length: 513 };
const enable = (num: number): Operation => ({ op: 'setVringEnable', index: 0, num });

describe('a request', () => {
  it('writes and reads the disk', async () => {
    const device = machine().run();
    const written = Uint8Array.from({ length: 1024 }, (_, i) => i % 251);
    expect(await device.complete({ type: OUT, sector: 3, out: written })).toMatchObject({ status: OK, length: 1 });
    expect(device.disk.slice(3 * 512, 5 * 512)).toEqual(written);
    expect(device.disk[3 * 512 - 1] + device.disk[5 * 512]).toBe(0);
    device.disk.fill(7, 127 * 512);
    const { data, ...outcome } = await device.complete({ type: IN, sector: 127, room: 512 });
    expect(outcome).toEqual(served);
    expect(data.every(byte => byte === 7)).toBe(true);
    expect(device.data(0)[512]).toBe(0xaa);
  });

  it.each([
    ['a read from the end', { type: IN, sector: CAPACITY, room: 512 }],
    ['a read over the end', { type: IN, sector: CAPACITY - 1, room: 1024 }],
    ['a write from the end', { type: OUT, sector: CAPACITY, out: new Uint8Array(512) }],
    ['a write over the end', { type: OUT, sector: CAPACITY - 1, out: new Uint8Array(1024) }],
    ['a sector whose bytes do not fit into 64 bits', { type: IN, sector: 2n ** 63n, room: 512 }],
    ['the last sector there can be', { type: OUT, sector: 2n ** 64n - 1n, out: new Uint8Array(512) }],
    ['a flush of a sector', { type: FLUSH, sector: 1 }],
    ['an id of a sector', { type: GET_ID, sector: 1, room: 20 }],
    ['an id without room', { type: GET_ID, room: 19 }],
    ['a type it does not know', { type: SECURE_ERASE }],
  ])('answers %s with IOERR and touches nothing', async (_what, request) => {
    const device = machine().run();
    expect(await device.complete(request)).toMatchObject({ status: IOERR, length: 1 });
    expect(device.disk.every(byte => byte === 0)).toBe(true);
    if ('room' in request) expect(device.data(0).every(byte => byte === 0xaa)).toBe(true);
  });

  it('flushes', async () => {
    expect(await machine().run().complete({ type: FLUSH })).toMatchObject({ status: OK, length: 1 });
  });

  it('gives an id of 20 bytes, padded with zeroes', async () => {
    const { status, length, data } = await machine().run().complete({ type: GET_ID, room: 20 });
    expect({ status, length, id: Buffer.from(data).toString() }).toEqual({
      status: OK,
      length: 21,
      id: 'svq_soft_blk'.padEnd(20, '\0'),
    });
  });

  it('may be split anywhere, with its status behind the data', async () => {
    const device = machine().run();
    device.disk.set([1, 2, 3, 4, 5, 6, 7, 8], 512);
    const header = device.header(0, IN, 1);
    const at = 20 * PAGE;
    device.offer([header, 3, 'r'], [header + 3, 13, 'r'], [at, 5, 'w'], [at + 100, 0, 'w'], [at + 200, 508, 'w']);
    device.kick();
    expect((await device.completion()).length).toBe(513);
    const memory = new Uint8Array(device.memory.view(at, 1000));
    expect([...memory.slice(0, 6)]).toEqual([1, 2, 3, 4, 5, 0]);
    expect([...memory.slice(200, 204)]).toEqual([6, 7, 8, 0]);
    expect(memory[200 + 507]).toBe(OK);
  });

  it('crosses from map to map', async () => {
    const device = machine().own();
    device.do(device.map(0, 16 * PAGE), device.map(16 * PAGE, PAGE / 2), device.map(16 * PAGE + PAGE / 2));
    device.start();
    device.disk.fill(9);
    const { data, ...outcome } = await device.complete({ type: IN, room: PAGE });
    expect(outcome).toEqual({ status: OK, length: PAGE + 1 });
    expect(data.every(byte => byte === 9)).toBe(true);
  });
});

describe('kicks and calls', () => {
  it('nothing is looked at without a kick', async () => {
    const device = machine().run();
    device.request(0, read);
    expect(await device.isIdle()).toBe(true);
    device.kick();
    expect((await device.completion()).length).toBe(513);
  });

  it('a kick before DRIVER_OK is lost', async () => {
    const device = machine().own();
    device.do(device.map(), { op: 'setVringKick', index: 0, fd: device.kickFd });
    device.kick();
    await sleep(5);
    device.start();
    device.request(0, read);
    expect(await device.isIdle()).toBe(true);
    device.kick();
    await device.completion();
  });

  it('an eventfd that is signalled already kicks as it is bound', async () => {
    const device = machine().run();
    device.do({ op: 'setVringKick', index: 0, fd: -1 });
    device.kick();
    device.request(0, read);
    expect(await device.isIdle()).toBe(true);
    device.do({ op: 'setVringKick', index: 0, fd: device.kickFd });
    await device.completion();
  });

  it('a kick fd stays bound through a reset, a call fd does not', async () => {
    const device = machine().run(PERSIST);
    device.do({ op: 'setStatus', status: 0 });
    device.newRing(RING, 0);
    const { desc, driver, device: used } = device.queueAt(RING);
    device.do(
      { op: 'setVringNum', index: 0, num: RING_SIZE },
      { op: 'setVringAddr', index: 0, desc, avail: driver, used },
      enable(1),
      { op: 'setStatus', status: 0xf },
    );
    expect(await device.complete(read)).toMatchObject(served);
    expect(device.calls()).toBe(0);
  });

  it('completions call, unless the driver asked not to be', async () => {
    const device = machine().run();
    await device.complete(read);
    expect(device.calls()).toBe(1);
    device.setInterrupts(false);
    await device.complete(read);
    expect(device.calls()).toBe(0);
    device.setInterrupts(true);
    device.do({ op: 'setVringCall', index: 0, fd: -1 });
    await device.complete(read);
    expect(device.calls()).toBe(0);
  });

  it('a queue that is not enabled is not served', async () => {
    const device = machine().run();
    device.do(enable(0));
    device.request(0, read);
    device.kick();
    expect(await device.isIdle()).toBe(true);
    device.do(enable(1));
    device.kick();
    await device.completion();
  });
});

describe('latency', () => {
  const LATENCY_MS = 30;

  it('passes between taking a request and completing it, in order', async () => {
    const device = machine(`latency=${LATENCY_MS}ms`).run();
    const start = performance.now();
    const heads = [device.request(0, read), device.request(1, { type: FLUSH }), device.request(2, read)];
    device.kick();
    const done = [];
    for (let i = 0; i < 3; i++) done.push((await device.completion()).head);
    expect(done).toEqual(heads);
    expect(performance.now() - start).toBeGreaterThanOrEqual(LATENCY_MS);
  });

  it('runs for each request from its own kick', async () => {
    const device = machine(`latency=${LATENCY_MS}ms`).run();
    device.request(0, read);
    device.kick();
    await sleep(LATENCY_MS / 2);
    device.request(1, read);
    const second = performance.now();
    device.kick();
    await device.completion();
    await device.completion();
    expect(performance.now() - second).toBeGreaterThanOrEqual(LATENCY_MS - 1);
  });

  it('leaves nothing half done at a suspend: the base is the used index, and the rest waits', async () => {
    const device = machine(`latency=${LATENCY_MS}ms`).run();
    device.request(0, read);
    device.kick();
    await device.completion();
    for (const slot of [1, 2, 3])
      device.request(slot, { type: OUT, sector: slot, out: new Uint8Array(512).fill(slot) });
    device.kick();
    await sleep(5);
    device.do({ op: 'suspend' });
    expect([device.base(), device.usedIndex()]).toEqual([1, 1]);
    await sleep(2 * LATENCY_MS);
    expect([device.base(), device.usedIndex()]).toEqual([1, 1]);
    expect(device.disk.every(byte => byte === 0)).toBe(true);
    // What was taken before goes on by itself.
    device.do({ op: 'resume' });
    for (let i = 0; i < 3; i++) await device.completion();
    expect([device.base(), device.usedIndex(), device.disk[3 * 512]]).toEqual([4, 4, 3]);
  });
});

describe('a suspend', () => {
  it('stops the queue, remembers a kick and replays it', async () => {
    const device = machine().run();
    await device.complete(read);
    device.do({ op: 'suspend' });
    device.request(0, read);
    device.kick();
    expect(await device.isIdle()).toBe(true);
    expect([device.base(), device.usedIndex()]).toEqual([1, 1]);
    device.do({ op: 'resume' });
    await device.completion();
    expect(device.base()).toBe(2);
  });

  it('without a kick leaves the ring alone on resume', async () => {
    const device = machine().run();
    device.do({ op: 'suspend' });
    device.request(0, read);
    device.do({ op: 'resume' });
    expect(await device.isIdle()).toBe(true);
    device.kick();
    await device.completion();
  });

  it('replays a kick once', async () => {
    const device = machine().run();
    device.do({ op: 'suspend' });
    device.kick();
    await sleep(5);
    device.do({ op: 'resume' }, { op: 'suspend' });
    device.request(0, read);
    device.do({ op: 'resume' });
    expect(await device.isIdle()).toBe(true);
  });

  it('ends with a status that has DRIVER_OK, without a replay', async () => {
    const device = machine().run();
    device.do({ op: 'suspend' });
    device.request(0, read);
    device.kick();
    await sleep(5);
    device.do({ op: 'setStatus', status: 0xf });
    expect(await device.isIdle()).toBe(true);
    device.kick();
    await device.completion();
  });

  it('ends with a reset', async () => {
    const device = machine().run(PERSIST);
    device.do({ op: 'suspend' }, { op: 'setStatus', status: 0 });
    expect(await device.start().complete(read)).toMatchObject(served);
  });

  it('lets a queue move to another ring, from the next enable on', async () => {
    const device = machine().run();
    await device.complete(read);
    device.do({ op: 'suspend' });
    const base = device.base();
    const { desc, driver: avail, device: used } = device.queueAt(OTHER_RING);
    device.do(
      enable(0),
      { op: 'setVringAddr', index: 0, desc, avail, used },
      { op: 'setVringBase', index: 0, num: base },
      enable(1),
      { op: 'resume' },
    );
    device.newRing(OTHER_RING, base);
    expect(await device.complete(read)).toMatchObject(served);
    expect([device.usedIndex(OTHER_RING), device.usedIndex(RING), device.base()]).toEqual([2, 1, 2]);
  });

  it('does not move a queue that stayed enabled', async () => {
    const device = machine().run();
    device.do({ op: 'suspend' });
    const { desc, driver: avail, device: used } = device.queueAt(OTHER_RING);
    device.do({ op: 'setVringAddr', index: 0, desc, avail, used }, { op: 'resume' });
    expect(await device.complete(read)).toMatchObject(served);
    expect(device.usedIndex(RING)).toBe(1);
  });
});

describe('a base', () => {
  it('is where the queue starts, with the used index, through the wrap', async () => {
    const device = machine().own();
    device.do(device.map());
    device.start(RING, 0xfffe);
    for (const index of [0xffff, 0, 1]) {
      await device.complete(read);
      expect([device.usedIndex(), device.base()]).toEqual([index, index]);
    }
  });
});

describe('a reset', () => {
  it('without IOTLB_PERSIST leaves the device without memory until a map is sent', async () => {
    const device = machine().run();
    await device.complete(read);
    device.do({ op: 'setStatus', status: 0 });
    device.start();
    device.request(0, read);
    const warned = once(process, 'warning');
    device.kick();
    expect((await warned)[0].message).toMatch(/queue 0 stopped.*0x100000000.*not mapped/);
    expect([device.usedIndex(), device.base()]).toEqual([0, 0]);
    // The ring is where vhost believes it to be all the time: any map or unmap brings the device up to date.
    device.do({ op: 'iotlbBatchEnd', asid: 0 });
    device.kick();
    expect(await device.isIdle()).toBe(true);
    const other: Operation = { ...device.map(), op: 'iotlbUpdate', iova: MEMORY * 2 } as Operation;
    device.do(other);
    device.kick();
    expect((await device.completion()).length).toBe(513);
  });

  it("with IOTLB_PERSIST keeps the device's memory", async () => {
    const device = machine().run(PERSIST);
    await device.complete(read);
    device.do({ op: 'setStatus', status: 0 });
    expect(await device.start().complete(read)).toMatchObject(served);
  });

  it('with IOTLB_PERSIST only offered does not', async () => {
    const device = machine().run(1n << 3n);
    device.do({ op: 'setStatus', status: 0 });
    device.start().request(0, read);
    device.kick();
    expect(await device.isIdle()).toBe(true);
  });

  it('forgets what a queue was doing', async () => {
    const device = machine('latency=20ms').run(PERSIST);
    device.request(0, { type: OUT, sector: 0, out: new Uint8Array(512).fill(1) });
    device.kick();
    await sleep(5);
    device.do({ op: 'setStatus', status: 0 });
    await sleep(40);
    expect([device.usedIndex(), device.base(), device.disk[0]]).toEqual([0, 0, 0]);
  });
});

describe('memory that is not there', () => {
  /** Kicks and waits for the warning of a queue that stopped. */
  async function stopped(device: SoftMachine): Promise<string> {
    const warned = once(process, 'warning');
    device.kick();
    const [{ message, code }] = await warned;
    expect(code).toBe('VDPA_SOFT_FAULT');
    expect(device.ask({ op: 'getStatus' }).value).toBe(0xf);
    return message;
  }

  it('a ring that is unmapped stops the queue until it is mapped and kicked again', async () => {
    const device = machine().run();
    await device.complete(read);
    device.do(device.unmap());
    device.request(0, read);
    expect(await stopped(device)).toMatch(/not mapped/);
    expect(await device.isIdle()).toBe(true);
    device.do(device.map());
    expect(await device.isIdle()).toBe(true);
    device.kick();
    await device.completion();
    expect([device.usedIndex(), device.base()]).toEqual([2, 2]);
  });

  it('a used ring that is read-only stops the queue', async () => {
    const device = machine().own();
    device.do(device.map(0, PAGE), device.map(PAGE, PAGE, 'ro'), device.map(2 * PAGE));
    device.start().request(0, read);
    expect(await stopped(device)).toMatch(/write\), which is mapped ro/);
    expect(device.base()).toBe(0);
  });

  it('descriptors and avail may be read-only', async () => {
    const device = machine().own();
    device.do(device.map(0, PAGE, 'ro'), device.map(PAGE));
    expect(await device.start().complete(read)).toMatchObject(served);
  });

  it('a buffer loses its request, and what was complete before it is told', async () => {
    const device = machine().run();
    device.request(0, read);
    const header = device.header(1, IN, 0);
    device.offer([header, 16, 'r'], [1000 * PAGE, 512, 'w']);
    expect(await stopped(device)).toMatch(/not mapped/);
    expect((await device.completion()).head).toBe(0);
    expect(device.calls()).toBe(1);
    expect([device.base(), device.usedIndex()]).toEqual([2, 1]);
    // Later requests are served at the next kick; the lost one never comes back, whatever is mapped meanwhile.
    for (const left of [1, 2]) {
      device.request(2, read);
      device.kick();
      await device.completion();
      expect([device.base(), device.usedIndex()]).toEqual([2 + left, 1 + left]);
      device.do(device.unmap(), device.map());
    }
  });

  it('is warned of once, however often the driver kicks', async () => {
    const device = machine().run();
    device.do(device.unmap());
    let warnings = 0;
    const count = () => warnings++;
    process.on('warning', count);
    for (let i = 0; i < 5; i++) {
      device.kick();
      await sleep(2);
    }
    process.off('warning', count);
    expect(warnings).toBe(1);
  });

  it.each<[string, 'ro' | 'wo', { type: number; room?: number; out?: Uint8Array }]>([
    ['written where the device may only read', 'ro', read],
    ['read where the device may only write', 'wo', { type: OUT, out: new Uint8Array(512).fill(3) }],
  ])('data is not %s', async (_what, perm, request) => {
    const device = machine().own();
    device.do(device.map(0, 16 * PAGE), device.map(16 * PAGE, 16 * PAGE, perm));
    device.start().request(0, request);
    expect(await stopped(device)).toContain(`mapped ${perm}`);
    expect(device.data(0)[0]).toBe(request.out ? 3 : 0xaa);
    expect(device.disk[0]).toBe(0);
  });
});

describe('a driver that breaks the contract', () => {
  it.each<[string, (device: SoftMachine) => void, RegExp]>([
    ['no status byte', device => device.offer([device.header(0, FLUSH, 0), 16, 'r']), /no header or no status/],
    ['half a header', device => device.offer([device.header(0, FLUSH, 0), 15, 'r'], [PAGE * 9, 1, 'w']), /no header/],
    [
      'an avail index that jumps',
      device => {
        new Uint16Array(device.memory.view(device.queueAt(RING).driver - MEMORY, 4))[1] = 1000;
      },
      /avail\.idx moved further/,
    ],
  ])('by %s stops the queue', async (_what, damage, message) => {
    const device = machine().run();
    damage(device);
    const warned = once(process, 'warning');
    device.kick();
    expect((await warned)[0].message).toMatch(message);
    expect(device.usedIndex()).toBe(0);
    expect(device.ask({ op: 'getStatus' }).value).toBe(0xf);
  });

  it('by never setting a size has a dead queue', async () => {
    const device = machine().own();
    device.do(device.map(), { op: 'setVringKick', index: 0, fd: device.kickFd }, enable(1));
    device.do({ op: 'setStatus', status: 0xf });
    device.kick();
    expect(await device.isIdle()).toBe(true);
    expect(device.ask({ op: 'getStatus' }).errno).toBe(0);
  });
});
