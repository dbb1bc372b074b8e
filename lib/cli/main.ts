/** The command line: `svq COMMAND`. */
import { readFileSync } from 'node:fs';
import yargs, { type Argv } from 'yargs';
import { PLACEMENTS } from '../iova/placement.js';
import { EXIT, EXIT_TEXT, exitCodeOf } from './exit-codes.js';
import { MACHINE_OPTIONS } from './machine-options.js';
import { note, printError } from './output.js';
import { refuseOddSwitches, refuseRepeated, usageError } from './usage.js';
import { WORKLOAD_OPTIONS } from './workload-options.js';

const COMMANDS = ['devices', 'inspect', 'attach', 'migrate', 'bench', 'iova plan', 'iova'];
const SWITCHES = ['json', 'trace', 'shadow', 'destroy', 'relocated', 'measure'];

/**
 * Runs one command line and returns its exit code.
 * @param argv Arguments after the program's name.
 */
export async function main(argv: readonly string[]): Promise<number> {
  handleOutputErrors();
  // A command line that cannot be parsed is answered in JSON too.
  const json = argv.some(argument => /^(--json(=true)?|-[a-z]*j[a-z]*)$/.test(argument));
  let code: number = EXIT.ok;
  const parser = build(argv, run => {
    code = run;
  });
  try {
    await parser.parseAsync();
    return code;
  } catch (error) {
    printError(error, json);
    return exitCodeOf(error);
  }
}

/** `| head` closes our stdout: that is no failure. A full disk is. Nobody can be told about stderr. */
function handleOutputErrors(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') return;
    note(`cannot write to stdout: ${error.message}`);
    process.exit(EXIT.failed);
  });
  process.stderr.on('error', () => {});
}

function build(argv: readonly string[], exit: (code: number) => void): Argv {
  const device = {
    type: 'string',
    demandOption: true,
    describe: '/dev/vhost-vdpa-0, vhost-vdpa-0, a vdpa name, or soft:blk',
  } as const;
  const parser = yargs([...argv])
    .scriptName('svq')
    .usage('$0 COMMAND\n\nDrives vDPA devices without a hypervisor, and rehearses live migration on them.')
    .option('json', {
      alias: 'j',
      type: 'boolean',
      default: false,
      describe: 'print one JSON document and nothing else on stdout',
    })
    .option('trace', { type: 'boolean', default: false, describe: 'print every device operation on stderr' })
    .command(
      'devices',
      'list the vDPA devices of this host',
      y => y.example('$0 devices -j', 'as JSON'),
      async args => exit((await import('./commands/devices.js')).devices(args)),
    )
    .command(
      'inspect <device>',
      'show what a device can do (opening a device resets it)',
      y => y.positional('device', device).example('$0 inspect vnet0', 'a device by its vdpa name'),
      async args => exit(await (await import('./commands/inspect.js')).inspect(args)),
    )
    .command(
      'attach <device>',
      'run a verified workload on a block device',
      y =>
        y
          .positional('device', device)
          .options(WORKLOAD_OPTIONS)
          .option('shadow', { type: 'boolean', default: false, describe: 'forward through a shadow virtqueue' })
          .option('duration', {
            type: 'string',
            requiresArg: true,
            default: '10s',
            describe: 'how long, such as 500ms, 10s, 2m',
          })
          .example('$0 attach soft:blk --shadow', 'on the embedded device')
          .example('$0 attach vblk0 --write-range 64M:16M', 'writing to a part of a disk'),
      async args => exit(await (await import('./commands/attach.js')).attach(args)),
    )
    .command(
      'migrate',
      'rehearse a live migration from one device to another',
      y =>
        y
          .options(WORKLOAD_OPTIONS)
          .option('from', { type: 'string', requiresArg: true, default: 'soft:blk', describe: 'source device' })
          .option('to', {
            type: 'string',
            requiresArg: true,
            default: 'soft:blk',
            describe: 'destination device, on the same disk',
          })
          .option('relocated', {
            type: 'boolean',
            default: false,
            describe: 'while shadowed, place memory elsewhere in the address space',
          })
          .option('settle', {
            type: 'string',
            requiresArg: true,
            default: '200ms',
            describe: 'how long the workload runs in each state',
          })
          .option('max-downtime', {
            type: 'string',
            requiresArg: true,
            default: '50ms',
            describe: 'pre-copy goes on until the last copy would take no longer (no verdict depends on it)',
          })
          .option('without', {
            type: 'string',
            array: true,
            requiresArg: true,
            describe: 'backend features not to acknowledge, such as IOTLB_PERSIST',
          })
          .example('$0 migrate', 'between two embedded devices')
          .example(
            '$0 migrate --from vblk0 --to vblk1 --destroy',
            'between two devices whose shared disk may be overwritten',
          ),
      async args => exit(await (await import('./commands/migrate.js')).migrate(args)),
    )
    .command('iova', 'I/O virtual addresses of a device', y =>
      y
        .command(
          'plan <device>',
          'show what mapping a machine takes (opening a device resets it)',
          z =>
            z
              .positional('device', device)
              .options(MACHINE_OPTIONS)
              .option('placement', {
                choices: PLACEMENTS,
                default: 'identity' as const,
                requiresArg: true,
                describe: 'where memory stands in the address space',
              })
              .option('granule', {
                type: 'string',
                requiresArg: true,
                describe: "the smallest page that is mapped, such as 64K (default: the host's page)",
              })
              .option('measure', {
                type: 'boolean',
                default: false,
                describe: 'map it and unmap it, and tell the times',
              })
              .example('$0 iova plan soft:blk --topology q35:maxmem=256G,slots=8 --memory 128G', 'a PC of 128 GiB'),
          async args => exit(await (await import('./commands/iova-plan.js')).iovaPlan(args)),
        )
        .demandCommand(1, 'Name what to do: plan.'),
    )
    .command(
      'bench [name] [device]',
      'measure what parts of this library cost on this machine',
      y =>
        y
          .positional('name', { type: 'string', describe: 'iova, dirty, or iotlb with a device' })
          .positional('device', { ...device, demandOption: false })
          .option('runs', { type: 'number', requiresArg: true, default: 9, describe: 'how often each case is run' })
          .example('$0 bench iova', 'address lookups')
          .example('$0 bench iotlb soft:blk --json', 'maps on the embedded device'),
      async args => exit(await (await import('./commands/bench.js')).bench(args)),
    )
    .demandCommand(1, 'Name a command.')
    .recommendCommands()
    .strictCommands()
    .strict()
    .check(args => {
      refuseRepeated(args, ['without']);
      refuseOddSwitches(argv, SWITCHES);
      return true;
    })
    .parserConfiguration({ 'boolean-negation': false })
    // The messages are told apart by their text, and ours are English.
    .detectLocale(false)
    .exitProcess(false)
    .version(version())
    .describe({ help: 'show this help', version: 'show the version' })
    .epilogue(EXIT_TEXT)
    .wrap(Math.min(120, process.stdout.columns ?? 100))
    .fail((message, error) => {
      // yargs' own errors come as YError; ours, and those of commands, as they are.
      if (error && error.name !== 'YError') throw error;
      throw usageError(error?.message ?? message, argv, COMMANDS, optionNames(parser));
    });
  return parser;
}

function optionNames(parser: Argv): string[] {
  return Object.keys((parser as unknown as { getOptions(): { key: object } }).getOptions().key);
}

function version(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}
