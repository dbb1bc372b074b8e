import { describe, expect, it } from 'vitest';
import { document, expectNoStack, type Outcome, svq } from './svq.js';

/** Programming of the workload's queue: one per start of a device. DiskAccess uses smaller ones. */
const START = /SET_VRING_NUM\(index 0, num 256\)/;
const SUSPEND = /VHOST_VDPA_SUSPEND\(\)/;

function expectStopped({ code, stderr }: Outcome): void {
  expect(stderr).toMatch(/^svq: interrupted, stopping$/m);
  expect(stderr).toMatch(/^svq: stopped; what was opened is reset and closed$/m);
  expect(code).toBe(130);
}

/** The last status that each device was given, from the trace. */
function lastStatus(stderr: string, device: string): string | undefined {
  const prefix = `${device} VHOST_VDPA_SET_STATUS(status `;
  return stderr
    .split('\n')
    .findLast(line => line.startsWith(prefix))
    ?.slice(prefix.length)
    .split(')')[0];
}

describe('Ctrl-C', () => {
  it.each([['attach'], ['attach --shadow']])('%s: waits for what is in flight and tells the result', async command => {
    const [name, ...options] = command.split(' ');
    const outcome = await svq([name!, 'soft:blk', ...options, '--trace', '--duration', '20s', '-j'], {
      interruptAt: { pattern: /svq: \d+ requests/, times: 1 },
    });
    expect(document(outcome)).toMatchObject({
      schema: 'svq.attach/1',
      verdict: 'pass',
      interrupted: true,
      workload: { lost: 0, duplicated: 0, corrupt: 0, errors: 0 },
    });
    expectStopped(outcome);
    expectNoStack(outcome);
    expect(lastStatus(outcome.stderr, 'soft:blk')).toBe('0x0');
  });

  const from = 'soft:blk';
  const to = 'soft:blk?latency=0ns';
  const moments: [string, RegExp, number][] = [
    ['while opening', /GET_VQS_COUNT/, 1],
    ['in passthrough', START, 1],
    ['at the switch', SUSPEND, 1],
    ['while shadowed', START, 2],
    ['in the blackout', SUSPEND, 2],
    ['on the destination', START, 3],
    ['at the switch back', SUSPEND, 3],
    ['at the end', START, 4],
  ];

  it.each(moments)('migrate, %s: both devices are left reset', async (_, pattern, times) => {
    const outcome = await svq(['migrate', '--from', from, '--to', to, '--trace', '--settle', '300ms', '-j'], {
      interruptAt: { pattern, times },
    });
    expect(document(outcome)).toMatchObject({ schema: 'svq.error/1', code: 'ERR_VDPA_CANCELED' });
    expectStopped(outcome);
    expectNoStack(outcome);
    for (const device of [from, to]) expect(lastStatus(outcome.stderr, device) ?? '0x0').toBe('0x0');
  });
});
