/** The very system calls a batch becomes, and what is made of their answers, without a device: see native-fake-kernel.c. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { decode, type Entry, encode, iotlb, type Outcome, PAGE, path, runScript, UNTIL } from './native-support.js';

const EIO = 5;
const EPROTO = 71;

let directory: string;
let fakeKernel: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'native-waist-'));
  fakeKernel = join(directory, 'fake-kernel.so');
  const source = fileURLToPath(new URL('native-fake-kernel.c', import.meta.url));
  execFileSync('cc', ['-shared', '-fPIC', '-o', fakeKernel, source]);
});
afterAll(() => rmSync(directory, { recursive: true }));

interface Run {
  readonly outcomes: Outcome[];
  /** The region's address as the child had it. */
  readonly address: number;
  /** Whether the region's memory was mapped after each batch. */
  readonly mapped: boolean[];
  readonly calls: string[];
}

/** Runs batches on a device of a child whose region 1 is `bytes` long; `between` is run after each is submitted. */
async function observe(batches: readonly (readonly Entry[])[], between = '', bytes = 16 * PAGE): Promise<Run> {
  const encoded = batches.map(entries => [...encode(entries)]);
  const { code, stdout, stderr } = await runScript(
    `${UNTIL}
     const fs = require('fs');
     const mapped = () => fs.readFileSync('/proc/self/maps', 'utf8').includes('/memfd:waist');
     const region = addon.regionCreate('waist', ${bytes});
     const address = addon.regionAddress(region);
     const device = addon.deviceCreate();
     const done = { outcomes: [], mapped: [], address };
     const next = batches => {
       if (batches.length === 0) return console.log(JSON.stringify(done));
       const ticket = addon.deviceSubmit(device, Uint8Array.from(batches[0]));
       if (ticket < 0) throw new Error('deviceSubmit answered ' + ticket);
       ${between};
       const watch = addon.watchStart(addon.deviceEventFd(device), () => {
         addon.watchStop(watch);
         done.outcomes.push(...addon.deviceReap(device));
         done.mapped.push(mapped());
         next(batches.slice(1));
       });
     };
     next(${JSON.stringify(encoded)});`,
    { env: { LD_PRELOAD: fakeKernel, FAKE_KERNEL_GATE: join(directory, 'gate') } },
  );
  expect(code, stderr).toBe(0);
  const { outcomes, ...rest } = JSON.parse(stdout) as Omit<Run, 'outcomes' | 'calls'> & { outcomes: number[] };
  return { ...rest, outcomes: decode(Uint8Array.from(outcomes)), calls: stderr.trim().split('\n') };
}

const open: Entry = { op: 'open', argument: path('/dev/null') };
const words = (...values: number[]): Uint8Array => new Uint8Array(Uint32Array.from(values).buffer);
const status = (value: number): Uint8Array => Uint8Array.of(value);
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

/** The 72 bytes of a vhost_msg_v2. */
function message(
  type: number,
  fields: { iova?: number; size?: number; uaddr?: number; asid?: number; perm?: number },
): string {
  const view = new DataView(new ArrayBuffer(72));
  view.setUint32(0, 2, true);
  view.setUint32(4, fields.asid ?? 0, true);
  view.setBigUint64(8, BigInt(fields.iova ?? 0), true);
  view.setBigUint64(16, BigInt(fields.size ?? 0), true);
  view.setBigUint64(24, BigInt(fields.uaddr ?? 0), true);
  view.setUint8(32, fields.perm ?? 0);
  view.setUint8(33, type);
  return `write ${hex(new Uint8Array(view.buffer))}`;
}

describe('system calls', () => {
  it('ioctls take the argument as it is, and requests without one point at zeroes', async () => {
    const addr = Uint8Array.from({ length: 40 }, (_, i) => i);
    const config = Uint8Array.of(4, 0, 0, 0, 3, 0, 0, 0, 0xa, 0xb, 0xc);
    const { outcomes, calls } = await observe([
      [
        open,
        { op: 'VHOST_SET_OWNER' },
        { op: 'VHOST_SET_VRING_ADDR', argument: addr },
        { op: 'VHOST_VDPA_SET_CONFIG', argument: config },
        { op: 'VHOST_GET_VRING_BASE', argument: words(5, 0) },
      ],
    ]);
    expect(outcomes.map(({ errno }) => errno)).toEqual([0, 0, 0, 0, 0]);
    expect(calls).toEqual([
      `ioctl af01 ${'00'.repeat(8)}`,
      `ioctl 4028af11 ${hex(addr)}`,
      'ioctl 4008af74 0400000003000000',
      'ioctl c008af12 0500000000000000',
    ]);
    expect(hex(outcomes[4].argument)).toBe(hex(words(5, 0x1234)));
  });

  it('IOTLB messages are 72 bytes, with the region’s address filled in', async () => {
    const update = { iova: 0x10000000000, size: 2 * PAGE, asid: 1 };
    const { outcomes, calls, address } = await observe([
      [
        open,
        { op: 'VHOST_IOTLB_BATCH_BEGIN', argument: iotlb({ asid: 1 }) },
        { op: 'VHOST_IOTLB_UPDATE', argument: iotlb({ ...update, region: 1, offset: 3 * PAGE, perm: 2 }) },
        { op: 'VHOST_IOTLB_UPDATE', argument: iotlb({ region: 1, offset: 0, size: 16 * PAGE, perm: 3 }) },
        { op: 'VHOST_IOTLB_INVALIDATE', argument: iotlb({ ...update, region: 99 }) },
        { op: 'VHOST_IOTLB_BATCH_END', argument: iotlb({ asid: 1 }) },
      ],
    ]);
    expect(outcomes.map(({ errno, ret }) => [errno, ret]).slice(1)).toEqual(Array(5).fill([0, 72]));
    expect(calls).toEqual([
      message(5, { asid: 1 }),
      message(2, { ...update, uaddr: address + 3 * PAGE, perm: 2 }),
      message(2, { uaddr: address, size: 16 * PAGE, perm: 3 }),
      message(3, update),
      message(6, { asid: 1 }),
    ]);
  });

  it('a message that is taken in part is EIO', async () => {
    const { outcomes } = await observe([[open, { op: 'VHOST_IOTLB_BATCH_BEGIN', argument: iotlb({ asid: 7 }) }]]);
    expect(outcomes[1]).toMatchObject({ ran: true, errno: EIO, ret: -1 });
  });
});

describe('an expectation', () => {
  const readBack = (mask: number, equals: number): Entry => ({
    op: 'VHOST_VDPA_GET_STATUS',
    argument: status(0xff),
    expect: { mask, equals },
  });

  it('that holds lets the batch go on', async () => {
    const { outcomes } = await observe([
      [open, { op: 'VHOST_VDPA_SET_STATUS', argument: status(3) }, readBack(0xff, 3), { op: 'VHOST_SET_OWNER' }],
    ]);
    expect(outcomes.map(({ errno }) => errno)).toEqual([0, 0, 0, 0]);
  });

  it('that does not fails the request and ends the batch', async () => {
    const { outcomes, calls } = await observe([
      [
        open,
        { op: 'VHOST_VDPA_SET_STATUS', argument: status(0xb) },
        readBack(8, 8),
        { op: 'VHOST_SET_OWNER' },
        { op: 'VHOST_RESET_OWNER', always: true },
      ],
    ]);
    expect(outcomes.map(({ ran, errno }) => [ran, errno])).toEqual([
      [true, 0],
      [true, 0],
      [true, EPROTO],
      [false, 0],
      [true, 0],
    ]);
    expect([outcomes[2].ret, [...outcomes[2].argument]]).toEqual([0, [3]]);
    expect(calls.map(call => call.split(' ')[1])).toEqual(['4001af72', '8001af71', 'af02']);
  });

  it('is about the value read, not about the index of the queue', async () => {
    const base = (mask: number, equals: number): Entry[] => [
      { op: 'VHOST_GET_VRING_BASE', argument: words(5, 0), expect: { mask, equals } },
    ];
    const { outcomes } = await observe([[open], base(0xffff, 0x1234), base(0xffff, 5)]);
    expect(outcomes.map(({ errno }) => errno)).toEqual([0, 0, EPROTO]);
  });
});

describe('memory a device maps', () => {
  it.each<[string, Entry, boolean]>([
    [
      'while something else is unmapped',
      { op: 'VHOST_IOTLB_INVALIDATE', argument: iotlb({ iova: 2 * PAGE, size: PAGE }) },
      true,
    ],
    [
      'while it is unmapped in another space',
      { op: 'VHOST_IOTLB_INVALIDATE', argument: iotlb({ size: PAGE, asid: 1 }) },
      true,
    ],
    ['until it is unmapped', { op: 'VHOST_IOTLB_INVALIDATE', argument: iotlb({ size: PAGE }) }, false],
    ['until all is unmapped', { op: 'VHOST_IOTLB_INVALIDATE', argument: iotlb({ size: 0 }) }, false],
  ])('stays %s, whatever the region’s owner does, and until the file is closed', async (_, entry, stays) => {
    const { mapped } = await observe(
      [[open, { op: 'VHOST_IOTLB_UPDATE', argument: iotlb({ region: 1, size: PAGE }) }], [entry], [{ op: 'close' }]],
      'addon.regionClose(region)',
    );
    expect(mapped).toEqual([true, stays, false]);
  });

  it('stays after a message that failed: nobody knows how far the kernel came', async () => {
    const { mapped, outcomes } = await observe(
      [[open, { op: 'VHOST_IOTLB_UPDATE', argument: iotlb({ region: 1, size: PAGE, asid: 7 }) }], [{ op: 'close' }]],
      'addon.regionClose(region)',
    );
    expect(outcomes.map(({ errno }) => errno)).toEqual([0, EIO, 0]);
    expect(mapped).toEqual([true, false]);
  });
});

describe('deviceCancel', () => {
  it('keeps what has not started from starting, save for what is marked always', async () => {
    const { outcomes, calls } = await observe(
      [[open, { op: 'VHOST_VDPA_SUSPEND' }, { op: 'VHOST_SET_OWNER' }, { op: 'VHOST_RESET_OWNER', always: true }]],
      `until(() => fs.existsSync(process.env.FAKE_KERNEL_GATE)).then(() => {
         if (addon.deviceCancel(device, ticket) !== 0) throw new Error('not under way');
         fs.rmdirSync(process.env.FAKE_KERNEL_GATE);
       })`,
    );
    // SUSPEND was under way, so it ends.
    expect(outcomes.map(({ ran, errno }) => [ran, errno])).toEqual([
      [true, 0],
      [true, 0],
      [false, 0],
      [true, 0],
    ]);
    expect(calls.map(call => call.split(' ')[1])).toEqual(['af7d', 'af02']);
  });
});
