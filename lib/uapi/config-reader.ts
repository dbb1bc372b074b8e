/** Reading a device's configuration space: little-endian, and never past the bytes the device gave. */
import { hex, UnsupportedError } from '../errors.js';

/** An object without its undefined members: a key that is there was read from the device. */
export type Given<T> = { readonly [K in keyof T]?: Exclude<T[K], undefined> };

export function given<T extends object>(members: T): Given<T> {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined)) as Given<T>;
}

/**
 * Fields of a configuration space. A field is undefined when none of the features it depends on (`anyOf`) is offered, or when
 * it does not lie wholly within the bytes.
 */
export class ConfigReader {
  readonly #bytes: Uint8Array;
  readonly #features: bigint;

  constructor(bytes: Uint8Array, features: bigint) {
    this.#bytes = bytes;
    this.#features = features;
  }

  /** Reads a field, or a structure of fields, through a view of exactly its bytes. */
  read<T>(offset: number, size: number, anyOf: bigint | undefined, decode: (view: DataView) => T): T | undefined {
    const offered = anyOf === undefined || (this.#features & anyOf) !== 0n;
    if (!offered || offset + size > this.#bytes.length) return undefined;
    return decode(new DataView(this.#bytes.buffer, this.#bytes.byteOffset + offset, size));
  }

  u8(offset: number, anyOf?: bigint): number | undefined {
    return this.read(offset, 1, anyOf, view => view.getUint8(0));
  }

  u16(offset: number, anyOf?: bigint): number | undefined {
    return this.read(offset, 2, anyOf, view => view.getUint16(0, true));
  }

  u32(offset: number, anyOf?: bigint): number | undefined {
    return this.read(offset, 4, anyOf, view => view.getUint32(0, true));
  }

  /** Throws ERR_VDPA_UNSUPPORTED above 2^53-1, where arithmetic with numbers stops being exact. */
  u64(offset: number, anyOf?: bigint): number | undefined {
    const value = this.read(offset, 8, anyOf, view => view.getBigUint64(0, true));
    if (value === undefined || value <= BigInt(Number.MAX_SAFE_INTEGER))
      return value === undefined ? value : Number(value);
    throw new UnsupportedError(
      `The device's configuration has ${hex(value)} at offset ${offset}; this library counts to 2^53-1. No real device is that large: the device or its driver is broken.`,
      { details: { offset, value } },
    );
  }
}
