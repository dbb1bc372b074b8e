import { describe, expect, it } from 'vitest';
import manifest from '../../package.json' with { type: 'json' };
import { document, expectFailure, expectNoStack, svq } from './svq.js';

describe('svq --help', () => {
  it('names every command and exit code', async () => {
    const { code, stdout, stderr } = await svq(['--help']);
    expect([code, stderr]).toEqual([0, '']);
    for (const command of ['devices', 'inspect <device>', 'attach <device>', 'migrate'])
      expect(stdout).toContain(command);
    expect(stdout.replace(/\s+/g, ' ')).toContain(
      'Exit codes: 0 ok; 1 failed; 2 usage; 3 verdict negative; 4 no such device; 5 permission; 6 unsupported; 7 timeout; 130 interrupted.',
    );
  });

  it.each([
    ['inspect', ['--json', '--trace']],
    ['attach', ['--shadow', '--duration', '--memory', '--depth', '--writes', '--write-range', '--destroy', '--seed']],
    ['migrate', ['--from', '--to', '--memory', '--relocated', '--settle', '--max-downtime', '--without']],
  ])('explains the options of %s', async (command, options) => {
    const { code, stdout } = await svq([command, '--help']);
    expect(code).toBe(0);
    for (const option of options) expect(stdout).toContain(`${option} `);
  });
});

it('svq --version prints the version of the package', async () => {
  expect(await svq(['--version'])).toEqual({ code: 0, stdout: `${manifest.version}\n`, stderr: '' });
});

describe('a wrong command line ends with 2 and says what was meant', () => {
  const cases: [string[], RegExp][] = [
    [[], /^svq: Name a command\. See "svq --help"\./],
    [['explode'], /^svq: Unknown command: explode\. See "svq --help"\./],
    [['migrat'], /^svq: Unknown command: migrat\. Did you mean migrate\? See "svq --help"\./],
    [['inspect'], /^svq: inspect needs a device, such as soft:blk\. See "svq inspect --help"\./],
    [['inspect', 'soft:blk', 'more'], /^svq: inspect takes no argument more\./],
    [
      ['migrate', '--relocatd'],
      /^svq: Unknown option: --relocatd\. Did you mean --relocated\? See "svq migrate --help"\./,
    ],
    [['migrate', '--no-memory'], /^svq: Unknown option: --no-memory\./],
    [['devices', '-x'], /^svq: Unknown option: -x\. See/],
    [['migrate', '--memory'], /^svq: Not enough arguments following: memory\./],
    [['migrate', '--memory', '1G', '--memory', '2G'], /^svq: --memory was given more than once\./],
    [['migrate', '--memory', '12x'], /^svq: "12x" is not a size; write bytes, or 4K, 2M, 1G\./],
    [['migrate', '--settle', '5 parsecs'], /^svq: "5 parsecs" is not a duration; write 500ms, 10s or 2m\./],
    [['migrate', '--max-downtime=-5ms'], /^svq: "-5ms" is not a duration/],
    [['attach', 'soft:blk', '--duration', 'long'], /^svq: "long" is not a duration/],
    [['attach', 'soft:blk', '--writes', '140%'], /^svq: --writes is a share such as 30% or 0\.3, not "140%"\./],
    [
      ['attach', 'soft:blk', '--write-range', '64M'],
      /^svq: --write-range is START:LENGTH, such as 64M:16M, not "64M"\./,
    ],
    [['attach', 'soft:blk', '--write-range', '1G:1M'], /^svq: The range 1073741824:1048576 does not lie on the disk/],
    [['attach', 'soft:blk', '--write-range', '100:8K'], /100:8192 is not made of whole blocks of 4096 bytes/],
    [
      ['attach', 'soft:blk', '--depth', '0'],
      /^svq: --depth is a whole number from 1 to \d+ with this device's queue, not 0\./,
    ],
    [['attach', 'soft:blk', '--depth', '1000'], /^svq: --depth is a whole number from 1 to \d+ .* not 1000\./],
    [['attach', 'soft:blk', '--depth', 'deep'], /^svq: --depth is a whole number from 1 to \d+/],
    [['migrate', '--seed', '1.5'], /^svq: --seed is a whole number from 0 to 4294967295, not 1\.5\./],
    [['migrate', '--without', 'TELEPORT'], /^svq: Unknown backend feature "TELEPORT".*IOTLB_PERSIST/],
    [['inspect', 'soft:blk?colour=red'], /^svq: soft:blk has no property "colour"; it has latency,/],
  ];
  it.each(cases)('svq %j', async (args, message) => {
    const outcome = await svq(args);
    expectFailure(outcome, 2, message);
    expect(outcome.stderr).toMatch(/\(ERR_VDPA_INVALID_ARGUMENT\)\n$/);
  });

  it('speaks English whatever the locale is, so that suggestions work', async () => {
    const outcome = await svq(['migrate', '--relocatd'], { env: { LC_ALL: 'de_DE.UTF-8' } });
    expectFailure(outcome, 2, /^svq: Unknown option: --relocatd\. Did you mean --relocated\?/);
  });
});

describe('what is no device ends with 4', () => {
  const cases: [string, RegExp, string][] = [
    ['/dev/vhost-vdpa-4095', /ENOENT\. There is no such file\. "svq devices" lists/, 'ERR_VDPA_NO_DEVICE'],
    ['vhost-vdpa-4095', /open on \/dev\/vhost-vdpa-4095 failed: ENOENT/, 'ERR_VDPA_NO_DEVICE'],
    ['vblk4095', /There is no device "vblk4095"\. .*soft:blk/, 'ERR_VDPA_NO_DEVICE'],
    ['soft:blkk', /There is no soft device "blkk"; there is soft:blk\./, 'ERR_VDPA_NO_DEVICE'],
    ['/dev/null', /on \/dev\/null failed: ENOTTY\. .*not a vhost-vdpa device/, 'ERR_VDPA_NOT_VHOST_VDPA'],
    ['./package.json', /It is not a character device, so it is not a vhost-vdpa device/, 'ERR_VDPA_NOT_VHOST_VDPA'],
    ['./docs', /It is a directory, not a vhost-vdpa device/, 'ERR_VDPA_NOT_VHOST_VDPA'],
  ];
  it.each(cases)('svq inspect %s', async (device, message, code) => {
    const outcome = await svq(['inspect', device]);
    expectFailure(outcome, 4, message);
    expect(outcome.stderr).toContain(`(${code})`);
  });

  it('and so do attach and migrate', async () => {
    expectFailure(await svq(['attach', '/dev/null']), 4, /not a vhost-vdpa device/);
    expectFailure(await svq(['migrate', '--from', '/dev/null', '--to', '/dev/zero']), 4, /not a vhost-vdpa device/);
  });
});

it('refuses a pair of a kernel device and a soft one before anything is opened', async () => {
  expectFailure(await svq(['migrate', '--from', '/dev/null']), 2, /name a device with --to too/);
  expectFailure(await svq(['migrate', '--to', '/dev/null']), 2, /name a device with --from too/);
});

it.each(['--shadow=maybe', '--destroy=no', '--json=1'])('refuses the switch %s', async option => {
  expectFailure(await svq(['attach', 'soft:blk', option]), 2, /takes no value, or true or false/);
});

it('refuses to migrate from a device to itself', async () => {
  const outcome = await svq(['migrate', '--from', '/dev/vhost-vdpa-7', '--to', 'vhost-vdpa-7']);
  expectFailure(outcome, 2, /--from and --to name the same device, \/dev\/vhost-vdpa-7\./);
});

describe('with -j an error is the one document on stdout', () => {
  it.each([
    [['-j', 'inspect', '/dev/null'], 4, 'ERR_VDPA_NOT_VHOST_VDPA'],
    [['migrate', '--json', '--bogus'], 2, 'ERR_VDPA_INVALID_ARGUMENT'],
    [['attach', 'soft:blk', '-j', '--depth', '0'], 2, 'ERR_VDPA_INVALID_ARGUMENT'],
    [['-j'], 2, 'ERR_VDPA_INVALID_ARGUMENT'],
  ])('svq %j', async (args, exitCode, code) => {
    const outcome = await svq(args);
    expect(document(outcome)).toEqual({
      schema: 'svq.error/1',
      code,
      message: expect.any(String),
      details: expect.any(Object),
    });
    expect(outcome.stderr).toContain(code);
    expectNoStack(outcome);
    expect(outcome.code).toBe(exitCode);
  });

  it('gives the values that belong to it', async () => {
    const { details } = document(await svq(['-j', 'inspect', '/dev/null']));
    expect(details).toEqual({ request: 'VHOST_VDPA_GET_DEVICE_ID', path: '/dev/null', errno: 25 });
  });
});
