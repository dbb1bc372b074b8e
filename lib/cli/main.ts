/** The command line: `svq COMMAND`. */
import { readFileSync } from 'node:fs';
import leven from 'leven';
import yargs, { type Argv } from 'yargs';
import { VdpaError } from '../errors.js';
import { EXIT, EXIT_TEXT, exitCodeOf } from './exit-codes.js';
import { printError } from './output.js';
import { WORKLOAD_OPTIONS } from './workload-options.js';

/**
 * Runs one command line and returns its exit code.
 * @param argv Arguments after the program's name.
 */
export async function main(argv: readonly string[]): Promise<number> {
  endQuietlyOnClosedPipe();
  const json = argv.some(argument => /^(--json|-\w*j\w*)$/.test(argument));
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

/** `| head` closes our stdout: that is no failure. */
function endQuietlyOnClosedPipe(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(EXIT.ok);
    throw error;
  });
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
          .option('duration', { type: 'string', default: '10s', describe: 'how long, such as 500ms, 10s, 2m' })
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
          .option('from', { type: 'string', default: 'soft:blk', describe: 'source device' })
          .option('to', { type: 'string', default: 'soft:blk', describe: 'destination device, on the same disk' })
          .option('relocated', {
            type: 'boolean',
            default: false,
            describe: 'while shadowed, place memory elsewhere in the address space',
          })
          .option('settle', { type: 'string', default: '200ms', describe: 'how long the workload runs in each state' })
          .option('max-downtime', {
            type: 'string',
            default: '50ms',
            describe: 'pre-copy goes on until the last copy would take no longer',
          })
          .option('without', {
            type: 'string',
            array: true,
            default: [],
            describe: 'backend features not to acknowledge, such as IOTLB_PERSIST',
          })
          .example('$0 migrate', 'between two embedded devices')
          .example(
            '$0 migrate --from vblk0 --to vblk1 --destroy',
            'between two devices whose shared disk may be overwritten',
          ),
      async args => exit(await (await import('./commands/migrate.js')).migrate(args)),
    )
    .demandCommand(1, 'Name a command.')
    .recommendCommands()
    .strictCommands()
    .strict()
    .exitProcess(false)
    .version(version())
    .epilogue(EXIT_TEXT)
    .wrap(Math.min(120, process.stdout.columns ?? 100))
    .fail((message, error) => {
      throw error ?? usageError(message, argv, parser);
    });
  return parser;
}

function usageError(message: string, argv: readonly string[], parser: Argv): VdpaError {
  const unknown = /^Unknown arguments?: ([^,]+)/.exec(message)?.[1];
  const hint = unknown === undefined ? undefined : nearestOption(unknown, parser);
  const command = argv.find(argument => !argument.startsWith('-'));
  const help = `See "svq${command && !message.startsWith('Unknown command') ? ` ${command}` : ''} --help".`;
  return new VdpaError(
    'ERR_VDPA_INVALID_ARGUMENT',
    `${message.replace(/\n+/g, ' ')}.${hint ? ` Did you mean --${hint}?` : ''} ${help}`
      .replace('..', '.')
      .replace('?.', '?'),
  );
}

function nearestOption(unknown: string, parser: Argv): string | undefined {
  const known = Object.keys((parser as unknown as { getOptions(): { key: Record<string, unknown> } }).getOptions().key);
  const [nearest] = known
    .map(name => ({ name, distance: leven(name, unknown) }))
    .sort((a, b) => a.distance - b.distance);
  return nearest && nearest.distance <= 3 ? nearest.name : undefined;
}

function version(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}
