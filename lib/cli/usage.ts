/** What is wrong with a command line, and what was probably meant. */
import leven from 'leven';
import { VdpaError } from '../errors.js';

/** Farther apart than this, two words are not one mistyped. */
const MOST_EDITS = 3;

/**
 * The error for what yargs found wrong.
 * @param message yargs' own, in English.
 * @param commands Names of all commands, those of two words before those of one.
 * @param options Names of the options known where it happened.
 */
export function usageError(
  message: string,
  argv: readonly string[],
  commands: readonly string[],
  options: readonly string[],
): VdpaError {
  const words = ` ${argv.filter(argument => !argument.startsWith('-')).join(' ')} `;
  const command = commands.find(name => words.includes(` ${name} `));
  const word = argv.find(argument => !argument.startsWith('-')) ?? '';
  const help = `See "svq${command ? ` ${command}` : ''} --help".`;
  return invalid(`${reword(message, word, command, options)} ${help}`);
}

/** @throws VdpaError ERR_VDPA_INVALID_ARGUMENT for an option given twice, which yargs makes a list of. */
export function refuseRepeated(args: Readonly<Record<string, unknown>>, lists: readonly string[]): void {
  const repeated = Object.keys(args).find(name => name !== '_' && Array.isArray(args[name]) && !lists.includes(name));
  if (repeated) throw invalid(`--${repeated} was given more than once.`);
}

/** @throws VdpaError ERR_VDPA_INVALID_ARGUMENT for a switch with a value that is neither true nor false: yargs takes it for false. */
export function refuseOddSwitches(argv: readonly string[], switches: readonly string[]): void {
  for (const argument of argv) {
    const [, name = '', value = ''] = /^--([^=]+)=(.*)$/.exec(argument) ?? [];
    if (switches.includes(name) && value !== 'true' && value !== 'false') {
      throw invalid(`--${name} takes no value, or true or false, not "${value}".`);
    }
  }
}

function reword(message: string, word: string, command: string | undefined, options: readonly string[]): string {
  const stray = /^Unknown command: (.+)/.exec(message)?.[1];
  if (stray !== undefined && command) return `${command} takes no argument ${stray}.`;
  if (message.startsWith('Did you mean')) return `Unknown command: ${word}. ${message}`;
  if (message.startsWith('Not enough non-option')) return `${command} needs a device, such as soft:blk.`;
  const [, option, given, choices] = /Argument: ([\w-]+), Given: (".*"), Choices: (.*)/.exec(message) ?? [];
  if (option) return `--${option} is one of ${choices!.replaceAll('"', '')}, not ${given}.`;
  const unknown = /^Unknown arguments?: ([^,]+)/.exec(message)?.[1];
  if (unknown === undefined) return `${message.replace(/\n+/g, ' ').replace(/\.$/, '')}.`;
  const hint = nearest(unknown, options);
  return `Unknown option: ${unknown.length > 1 ? '--' : '-'}${unknown}.${hint ? ` Did you mean --${hint}?` : ''}`;
}

function nearest(unknown: string, options: readonly string[]): string | undefined {
  const [best] = options
    .map(name => ({ name, distance: leven(name, unknown) }))
    .sort((a, b) => a.distance - b.distance);
  return best && best.distance <= Math.min(MOST_EDITS, unknown.length - 1) ? best.name : undefined;
}

function invalid(message: string): VdpaError {
  return new VdpaError('ERR_VDPA_INVALID_ARGUMENT', message);
}
