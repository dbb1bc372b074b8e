/**
 * A machine's memory as a JSON file, schema `svq.machine/1`. docs/machine.schema.json is made from what stands here, so that the
 * published schema and the one that is checked are the same.
 */
import { z } from 'zod';
import { hex, VdpaError } from '../errors.js';
import { parseSize } from '../units.js';
import { checkTopology, MOST_SLOTS } from './check-topology.js';
import { q35 } from './q35.js';
import { SECTION_KINDS, type Topology } from './topology.js';

const SCHEMA = 'svq.machine/1';

/** Whole numbers, in hex, or with the binary units of `parseSize`. */
const NUMBER = /^(?:0[xX][0-9a-fA-F]+|[0-9]+(?:\.[0-9]+)?\s*(?:[kKmMgGtT](?:[iI]?[bB])?|[iI]?[bB])?)$/;
const WRITE_NUMBER = 'write a whole number of bytes below 2^53, such as 4096, "0x1000", "4K" or "2G"';
const WRITE_SLOTS = `write a whole number from 1 to ${MOST_SLOTS}`;
const TYPES: Readonly<Record<string, string>> = {
  array: 'write a list in [ ]',
  object: 'write an object in { }',
  string: 'write a text in quotes',
  boolean: 'write true or false',
};
/** What fails is told, and not everything at once. */
const MOST_ISSUES = 3;

const number = z
  .union([z.int(WRITE_NUMBER).min(0, WRITE_NUMBER), z.string().regex(NUMBER, WRITE_NUMBER)], { error: WRITE_NUMBER })
  .meta({ id: 'number', description: 'A number, or a text in hex (0x1000) or with a binary unit (4K, 2M, 1G, 1T).' });

const bytes = (description: string) =>
  number
    .transform((value, context) => {
      const bytes = typeof value === 'number' ? value : parseBytes(value);
      if (bytes !== undefined) return bytes;
      context.addIssue({ code: 'custom', message: WRITE_NUMBER });
      return z.NEVER;
    })
    .describe(description);

const slots = (description: string) =>
  z.int(WRITE_SLOTS).min(1, WRITE_SLOTS).max(MOST_SLOTS, WRITE_SLOTS).describe(description);

const name = (description: string) => z.string().min(1, 'must not be empty').describe(description);

const head = {
  $schema: z.string().optional().describe('Where an editor finds this schema.'),
  schema: z.literal(SCHEMA).describe('The format of this file.'),
};

const backend = z.strictObject({
  name: name('By which sections refer to it.'),
  size: bytes('Bytes.'),
  file: name('The file that holds it, such as a PCI resource in sysfs; without one it is made, and empty.').optional(),
});

const section = z.strictObject({
  name: name("The memory region's name, for messages."),
  kind: z
    .enum(SECTION_KINDS)
    .describe('What is there: ram, rom and ram-device are in a backend, the others have none.'),
  gpa: bytes('First guest physical address.'),
  size: bytes('Bytes.'),
  backend: name('The backend the section is in. Sections that share bytes of a backend are aliases.').optional(),
  offset: bytes('Where in the backend the section starts; default 0.').optional(),
});

const sectionsMachine = z.strictObject({
  ...head,
  backends: z.array(backend).describe('The memory behind the sections.'),
  sections: z
    .array(section)
    .min(1, 'must not be empty')
    .describe("The guest's addresses, in any order, without overlap."),
  hotplug: z
    .strictObject({
      base: bytes('First guest physical address.'),
      size: bytes('Bytes.'),
      slots: slots('How many sections may be plugged in.'),
    })
    .optional()
    .describe('Addresses kept free for memory that is plugged in.'),
  iommus: z
    .array(name('Its memory region.'))
    .optional()
    .describe("IOMMUs of the guest that translate its devices' accesses."),
});

const q35Machine = z.strictObject({
  ...head,
  q35: z
    .strictObject({
      ram: bytes('Memory at the start.'),
      maxmem: bytes('Memory with all that may be plugged in.').optional(),
      slots: slots('How many memory devices may be plugged in.').optional(),
      amd: z
        .boolean()
        .optional()
        .describe("The CPU is AMD's: memory keeps clear of HyperTransport's addresses below 1 TiB."),
      firmware: z.enum(['booted', 'reset']).optional().describe('How far firmware is; default booted.'),
      tseg: bytes('System management RAM hidden at the top of low memory.').optional(),
      vram: bytes('Frame buffer of a VGA card.').optional(),
    })
    .describe("A PC as QEMU's q35 machine lays it out."),
});

/** The published schema: JSON Schema, draft 2020-12. */
export function machineFileSchema(): Record<string, unknown> {
  const { $schema, ...schema } = z.toJSONSchema(z.union([sectionsMachine, q35Machine]), {
    target: 'draft-2020-12',
    io: 'input',
  });
  return { $schema, title: SCHEMA, description: "A machine's memory, for svq --topology.", ...schema };
}

/**
 * The memory that a machine file describes.
 * @param source What to call the file in messages.
 * @throws VdpaError ERR_VDPA_INVALID_ARGUMENT with the entries that are wrong, their values and what to write.
 */
export function parseMachineFile(text: string, source = 'machine.json'): Topology {
  const document = parseJson(text, source);
  if (typeof document !== 'object' || document === null || Array.isArray(document)) {
    throw invalid(source, `it holds ${describe(document)}: it must be an object with "schema": "${SCHEMA}"`);
  }
  if ('schema' in document && document.schema !== SCHEMA) {
    throw invalid(source, `schema is ${describe(document.schema)}: this version reads "${SCHEMA}"`);
  }
  if ('q35' in document) {
    const { q35: options } = check(q35Machine, document, source);
    return inFile(source, () => q35(withoutUndefined(options)));
  }
  const { backends, sections, hotplug, iommus } = check(sectionsMachine, document, source);
  return inFile(source, () =>
    checkTopology({
      backends: backends.map(withoutUndefined),
      sections: sections.map(({ offset = 0, ...rest }) => withoutUndefined({ ...rest, offset })),
      ...(hotplug && { hotplug }),
      ...(iommus && { iommus }),
    }),
  );
}

/** A topology as the text of a machine file; `parseMachineFile` reads it back. */
export function formatMachineFile({ backends, sections, hotplug, iommus }: Topology): string {
  const document = {
    schema: SCHEMA,
    backends: backends.map(({ size, ...rest }) => ({ ...rest, size: hex(size) })),
    sections: sections.map(({ name, kind, gpa, size, backend, offset }) => ({
      name,
      kind,
      gpa: hex(gpa),
      size: hex(size),
      ...(backend !== undefined && { backend, offset: hex(offset) }),
    })),
    ...(hotplug && { hotplug: { base: hex(hotplug.base), size: hex(hotplug.size), slots: hotplug.slots } }),
    ...(iommus && { iommus }),
  };
  return `${JSON.stringify(document, undefined, 2)}\n`;
}

function parseJson(text: string, source: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw invalid(source, `it is not JSON (${(cause as Error).message})`, { cause });
  }
}

function check<T extends z.ZodType>(schema: T, document: object, source: string): z.output<T> {
  const result = schema.safeParse(document);
  if (result.success) return result.data;
  const { issues } = result.error;
  const told = issues.slice(0, MOST_ISSUES).map(issue => describeIssue(issue, document));
  const more = issues.length > told.length ? `; and ${issues.length - told.length} more` : '';
  throw invalid(source, `${told.join('; ')}${more}`, {
    details: { source, path: issues[0]!.path.join('.'), issues: issues.length },
  });
}

/** Where it is, what is there, and what to write instead. */
function describeIssue(issue: z.core.$ZodIssue, document: object): string {
  const place = issue.path.reduce<string>(
    (path, key) => (typeof key === 'number' ? `${path}[${key}]` : `${path}${path && '.'}${String(key)}`),
    '',
  );
  const value = issue.path.reduce<unknown>((inner, key) => (inner as Record<PropertyKey, unknown>)?.[key], document);
  if (issue.code === 'unrecognized_keys') {
    const keys = issue.keys.map(key => `"${key}"`).join(', ');
    return `${place || 'the file'} has ${keys}, which does not belong there: remove it, or correct its name`;
  }
  if (value === undefined) return `${place} is missing`;
  return `${place} is ${describe(value)}: ${wanted(issue)}`;
}

function wanted(issue: z.core.$ZodIssue): string {
  if (issue.code === 'invalid_value') return `it is one of ${issue.values.map(describe).join(', ')}`;
  // Numbers bring words of their own.
  return (issue.code === 'invalid_type' && TYPES[issue.expected]) || issue.message;
}

/** A value as JSON, not too much of it. */
function describe(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

function parseBytes(text: string): number | undefined {
  try {
    const value = /^0x/i.test(text) ? Number(text) : parseSize(text);
    return Number.isSafeInteger(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** What is wrong with the machine itself, with the file's name before it. */
function inFile(source: string, make: () => Topology): Topology {
  try {
    return make();
  } catch (error) {
    if (!(error instanceof VdpaError)) throw error;
    throw new VdpaError(error.code, `${source}: ${error.message}`, { details: error.details, cause: error });
  }
}

function withoutUndefined<T extends object>(value: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  const entries = Object.entries(value).filter(([, inner]) => inner !== undefined);
  return Object.fromEntries(entries) as { [K in keyof T]: Exclude<T[K], undefined> };
}

function invalid(
  source: string,
  what: string,
  options: { details?: VdpaError['details']; cause?: unknown } = {},
): VdpaError {
  return new VdpaError('ERR_VDPA_INVALID_ARGUMENT', `${source}: ${what}. See docs/machine.schema.json.`, options);
}
