/** A plan for people: one line for each message, and what it adds up to. */
import { hex } from '../errors.js';
import type { Operation } from '../uapi/operation.js';
import { formatSize } from '../units.js';
import { type AddressRange, endOf, sizeOf } from './map.js';

/** What a list of messages adds up to. */
export interface PlanTotals {
  readonly unmaps: number;
  readonly unmappedBytes: number;
  readonly maps: number;
  readonly mappedBytes: number;
  readonly batches: number;
  /** System calls: one for each message. */
  readonly calls: number;
}

type Bracket = Extract<Operation, { op: 'iotlbBatchBegin' | 'iotlbBatchEnd' }>;
type Message = Bracket | Extract<Operation, { op: 'iotlbUpdate' }> | Extract<Operation, { op: 'iotlbInvalidate' }>;

/** @param operations Others than IOTLB messages are passed over. */
export function planTotals(operations: readonly Operation[]): PlanTotals {
  const messages = operations.filter(isMessage);
  const unmaps = messages.filter(({ op }) => op === 'iotlbInvalidate').filter(isRanged);
  const maps = messages.filter(({ op }) => op === 'iotlbUpdate').filter(isRanged);
  return {
    unmaps: unmaps.length,
    unmappedBytes: sizeOf(unmaps),
    maps: maps.length,
    mappedBytes: sizeOf(maps),
    batches: messages.filter(({ op }) => op === 'iotlbBatchBegin').length,
    calls: messages.length,
  };
}

/**
 * The IOTLB messages of a list, one line each in columns, and a last line with the sum. The order is that of the messages.
 *
 *     batch begin  space 0
 *       unmap  0x100000000-0x17fffffff  2 GiB
 *       map    0x100000000-0x1ffffffff  4 GiB  rw  region 3 + 0x80000000
 *     batch end
 *     1 unmap of 2 GiB, 1 map of 4 GiB: 4 system calls
 */
export function formatPlan(operations: readonly Operation[]): string[] {
  const messages = operations.filter(isMessage);
  const ranged = messages.filter(isRanged);
  const columns = {
    digits: widest(ranged, range => (endOf(range) - 1).toString(16)),
    sizeWidth: widest(ranged, ({ size }) => formatSize(size)),
  };
  let indent = '';
  const lines = messages.map(message => {
    if (message.op === 'iotlbBatchEnd') indent = '';
    const line = indent + formatMessage(message, columns);
    if (message.op === 'iotlbBatchBegin') indent = '  ';
    return line;
  });
  return [...lines, formatTotals(planTotals(messages))];
}

/** Digits of an address, so that ranges line up, and characters of a size. */
interface Columns {
  readonly digits: number;
  readonly sizeWidth: number;
}

function formatMessage(message: Message, { digits, sizeWidth }: Columns): string {
  if (!isRanged(message)) return message.op === 'iotlbBatchBegin' ? `batch begin  space ${message.asid}` : 'batch end';
  const { iova, size } = message;
  const address = (value: number) => `0x${value.toString(16).padStart(digits, '0')}`;
  const range = `${address(iova)}-${address(iova + size - 1)}  ${formatSize(size).padStart(sizeWidth)}`;
  if (message.op === 'iotlbInvalidate') return `unmap  ${range}`;
  const { perm, region, offset } = message;
  return `map    ${range}  ${perm}  region ${region} + ${hex(offset)}`;
}

function formatTotals({ unmaps, unmappedBytes, maps, mappedBytes, calls }: PlanTotals): string {
  if (calls === 0) return 'nothing to do';
  const parts = [counted(unmaps, 'unmap', unmappedBytes), counted(maps, 'map', mappedBytes)].filter(
    part => part !== '',
  );
  const messages = `${calls} system call${calls === 1 ? '' : 's'}`;
  return parts.length === 0 ? messages : `${parts.join(', ')}: ${messages}`;
}

function counted(count: number, what: string, bytes: number): string {
  return count === 0 ? '' : `${count} ${what}${count === 1 ? '' : 's'} of ${formatSize(bytes)}`;
}

function widest(ranges: readonly AddressRange[], text: (range: AddressRange) => string): number {
  return ranges.reduce((width, range) => Math.max(width, text(range).length), 0);
}

function isMessage(operation: Operation): operation is Message {
  return operation.op.startsWith('iotlb');
}

function isRanged(message: Message): message is Exclude<Message, Bracket> {
  return 'iova' in message;
}
