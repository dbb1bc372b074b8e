/** Operations to the addon's batches and back. The layout is native/batch.h's; argument structs are linux/vhost.h's. */
import { VdpaError } from '../../errors.js';
import type { NativeRequest } from '../../native.js';
import { accessOf } from '../../uapi/iotlb.js';
import type { Operation, OperationResult, OperationValue } from '../../uapi/operation.js';
import { requestOf } from '../../uapi/requests.js';

const HEADER = 48;
const FLAG_ALWAYS = 1;
const FLAG_EXPECT = 2;

const text = new TextEncoder();

/** Opcodes by request name, as the addon numbers them. */
export type Opcodes = ReadonlyMap<string, { readonly opcode: number; readonly size: number }>;

export function opcodesOf(requests: readonly NativeRequest[]): Opcodes {
  return new Map(requests.map(({ name, size }, opcode) => [name, { opcode, size }]));
}

/** Encodes a list of operations into one batch. */
export function encodeBatch(operations: readonly Operation[], opcodes: Opcodes): Uint8Array {
  const encoded = operations.map(operation => encodeArgument(operation, opcodes));
  const batch = new Uint8Array(encoded.reduce((sum, argument) => sum + HEADER + padded(argument.length), 0));
  const view = new DataView(batch.buffer);
  let at = 0;
  operations.forEach((operation, index) => {
    const argument = encoded[index]!;
    const { expect } = operation;
    view.setUint32(at, lookup(operation, opcodes).opcode, true);
    view.setUint32(at + 4, (operation.always ? FLAG_ALWAYS : 0) | (expect ? FLAG_EXPECT : 0), true);
    view.setUint32(at + 8, argument.length, true);
    view.setUint32(at + 40, expect?.mask ?? 0, true);
    view.setUint32(at + 44, expect?.equals ?? 0, true);
    batch.set(argument, at + HEADER);
    at += HEADER + padded(argument.length);
  });
  return batch;
}

/** Reads the results out of a finished batch. */
export function decodeBatch(operations: readonly Operation[], batch: Uint8Array): OperationResult[] {
  const view = new DataView(batch.buffer, batch.byteOffset, batch.byteLength);
  let at = 0;
  return operations.map(operation => {
    const length = view.getUint32(at + 8, true);
    const ran = view.getUint32(at + 16, true) !== 0;
    const started = Number(view.getBigUint64(at + 24, true));
    const ended = Number(view.getBigUint64(at + 32, true));
    const argument = new DataView(batch.buffer, batch.byteOffset + at + HEADER, length);
    const result: OperationResult = {
      ran,
      errno: view.getInt32(at + 12, true),
      value: ran ? decodeValue(operation, argument) : undefined,
      started_ms: started / 1e6,
      duration_ms: (ended - started) / 1e6,
    };
    at += HEADER + padded(length);
    return result;
  });
}

function lookup(operation: Operation, opcodes: Opcodes): { opcode: number; size: number } {
  const entry = opcodes.get(requestOf(operation.op));
  if (entry) return entry;
  throw new VdpaError('ERR_VDPA_ADDON', `The addon does not know ${requestOf(operation.op)}: run "npm rebuild".`);
}

function padded(length: number): number {
  return Math.ceil(length / 8) * 8;
}

function encodeArgument(operation: Operation, opcodes: Opcodes): Uint8Array {
  if (operation.op === 'open') return text.encode(`${operation.path}\0`);
  if (operation.op === 'getConfig') return configArgument(operation.offset, new Uint8Array(operation.length));
  if (operation.op === 'setConfig') return configArgument(operation.offset, operation.bytes);
  const argument = new Uint8Array(lookup(operation, opcodes).size);
  writeFields(operation, new DataView(argument.buffer));
  return argument;
}

/** struct vhost_vdpa_config: u32 off, u32 len, bytes. */
function configArgument(offset: number, bytes: Uint8Array): Uint8Array {
  const argument = new Uint8Array(8 + bytes.length);
  const view = new DataView(argument.buffer);
  view.setUint32(0, offset, true);
  view.setUint32(4, bytes.length, true);
  argument.set(bytes, 8);
  return argument;
}

function writeFields(operation: Operation, view: DataView): void {
  switch (operation.op) {
    case 'setFeatures':
    case 'setBackendFeatures':
      view.setBigUint64(0, operation.features, true);
      return;
    case 'setStatus':
      view.setUint8(0, operation.status);
      return;
    case 'setForkFromOwner':
      view.setUint8(0, operation.value);
      return;
    case 'setConfigCall':
    case 'setLogFd':
      view.setInt32(0, operation.fd, true);
      return;
    case 'setLogBase':
      writeU64(view, 0, operation.base);
      return;
    case 'setGroupAsid':
      view.setUint32(0, operation.group, true);
      view.setUint32(4, operation.asid, true);
      return;
    case 'setVringAddr':
      // struct vhost_vring_addr: index, flags, desc, used, avail, log: used stands before avail.
      view.setUint32(0, operation.index, true);
      writeU64(view, 8, operation.desc);
      writeU64(view, 16, operation.used);
      writeU64(view, 24, operation.avail);
      return;
    case 'iotlbUpdate':
      writeIotlb(view, operation);
      view.setUint32(28, operation.region, true);
      writeU64(view, 16, operation.offset);
      view.setUint8(32, accessOf(operation.perm));
      return;
    case 'iotlbInvalidate':
      writeIotlb(view, operation);
      return;
    case 'iotlbBatchBegin':
    case 'iotlbBatchEnd':
      view.setUint32(24, operation.asid, true);
      return;
    default:
      writeVring(operation, view);
  }
}

/** struct vhost_vring_state and vhost_vring_file: index, then a number or a file descriptor. */
function writeVring(operation: Operation, view: DataView): void {
  if ('index' in operation) view.setUint32(0, operation.index, true);
  if ('num' in operation) view.setUint32(4, operation.num, true);
  if ('fd' in operation) view.setInt32(4, operation.fd, true);
}

function writeIotlb(view: DataView, { iova, size, asid }: { iova: number; size: number; asid: number }): void {
  writeU64(view, 0, iova);
  writeU64(view, 8, size);
  view.setUint32(24, asid, true);
}

function writeU64(view: DataView, at: number, value: number): void {
  view.setBigUint64(at, BigInt(value), true);
}

function decodeValue(operation: Operation, argument: DataView): OperationValue {
  switch (operation.op) {
    case 'getFeatures':
    case 'getBackendFeatures':
      return argument.getBigUint64(0, true);
    case 'getStatus':
    case 'getForkFromOwner':
      return argument.getUint8(0);
    case 'getVringNum':
      return argument.getUint16(0, true);
    case 'getDeviceId':
    case 'getConfigSize':
    case 'getAsNum':
    case 'getVqsCount':
    case 'getGroupNum':
      return argument.getUint32(0, true);
    case 'getVringBase':
    case 'getVringGroup':
    case 'getVringDescGroup':
    case 'getVringSize':
    case 'getVringEndian':
    case 'getVringBusyloopTimeout':
      return argument.getUint32(4, true);
    case 'getIovaRange':
      return { first: argument.getBigUint64(0, true), last: argument.getBigUint64(8, true) };
    case 'getConfig':
      return new Uint8Array(argument.buffer, argument.byteOffset + 8, argument.byteLength - 8).slice();
    default:
      return undefined;
  }
}
