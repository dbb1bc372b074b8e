/** virtio-blk on a memory disk, with vdpa_sim_blk's answers (drivers/vdpa/vdpa_sim/vdpa_sim_blk.c). */
import type { Chain } from '../../ring/chain.js';
import {
  VIRTIO_BLK_HEADER_SECTOR,
  VIRTIO_BLK_HEADER_SIZE,
  VIRTIO_BLK_HEADER_TYPE,
  VIRTIO_BLK_ID_BYTES,
  VIRTIO_BLK_S_IOERR,
  VIRTIO_BLK_S_OK,
  VIRTIO_BLK_SECTOR_SIZE,
  VIRTIO_BLK_T_FLUSH,
  VIRTIO_BLK_T_GET_ID,
  VIRTIO_BLK_T_IN,
  VIRTIO_BLK_T_OUT,
} from '../../uapi/virtio-blk.js';
import type { Dma } from './dma.js';

const SERIAL = new TextEncoder().encode('svq_soft_blk');

/** Bytes of data and the status a request ended with. */
interface Outcome {
  readonly status: number;
  readonly written: number;
}

export class BlkBackend {
  readonly #disk: Uint8Array;
  readonly #dma: Dma;
  readonly #header = new DataView(new ArrayBuffer(VIRTIO_BLK_HEADER_SIZE));
  readonly #status = new Uint8Array(1);

  constructor(disk: Uint8Array, dma: Dma) {
    this.#disk = disk;
    this.#dma = dma;
  }

  /**
   * Carries out one request.
   * @returns bytes written to the driver's buffers, or -1 when the chain has no room for a header or a status.
   * @throws RingError when a buffer is not mapped.
   */
  execute(chain: Chain): number {
    const data = chain.writableBytes - 1;
    if (chain.readableBytes < VIRTIO_BLK_HEADER_SIZE || data < 0) return -1;
    this.#gather(chain, 0, new Uint8Array(this.#header.buffer));
    const { status, written } = this.#transfer(chain, data);
    this.#status[0] = status;
    // The status is the last writable byte, wherever the driver split its buffers.
    this.#scatter(chain, data, this.#status);
    return written + 1;
  }

  #transfer(chain: Chain, room: number): Outcome {
    const type = this.#header.getUint32(VIRTIO_BLK_HEADER_TYPE, true);
    const start = Number(this.#header.getBigUint64(VIRTIO_BLK_HEADER_SECTOR, true)) * VIRTIO_BLK_SECTOR_SIZE;
    switch (type) {
      case VIRTIO_BLK_T_IN:
        if (start + room > this.#disk.length) break;
        this.#scatter(chain, 0, this.#disk.subarray(start, start + room));
        return { status: VIRTIO_BLK_S_OK, written: room };
      case VIRTIO_BLK_T_OUT: {
        const length = chain.readableBytes - VIRTIO_BLK_HEADER_SIZE;
        if (start + length > this.#disk.length) break;
        this.#gather(chain, VIRTIO_BLK_HEADER_SIZE, this.#disk.subarray(start, start + length));
        return { status: VIRTIO_BLK_S_OK, written: 0 };
      }
      case VIRTIO_BLK_T_FLUSH:
        return { status: start === 0 ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR, written: 0 };
      case VIRTIO_BLK_T_GET_ID: {
        if (start !== 0 || room < VIRTIO_BLK_ID_BYTES) break;
        const id = new Uint8Array(VIRTIO_BLK_ID_BYTES);
        id.set(SERIAL);
        this.#scatter(chain, 0, id);
        return { status: VIRTIO_BLK_S_OK, written: VIRTIO_BLK_ID_BYTES };
      }
    }
    // Like the simulator: unknown types too are IOERR, not UNSUPP.
    return { status: VIRTIO_BLK_S_IOERR, written: 0 };
  }

  /** Readable bytes from `skip` on, into `target`. */
  #gather(chain: Chain, skip: number, target: Uint8Array): void {
    this.#walk(chain, 0, chain.readable, skip, target.length, (bytes, done) => target.set(bytes, done));
  }

  /** `source` into the writable bytes from `skip` on. */
  #scatter(chain: Chain, skip: number, source: Uint8Array): void {
    this.#walk(chain, chain.readable, chain.count, skip, source.length, (bytes, done) =>
      bytes.set(source.subarray(done, done + bytes.length)),
    );
  }

  #walk(
    chain: Chain,
    from: number,
    to: number,
    skip: number,
    length: number,
    visit: (bytes: Uint8Array, done: number) => void,
  ): void {
    let offset = skip;
    let done = 0;
    for (let i = from; i < to && done < length; i++) {
      const size = chain.len[i]!;
      if (offset < size) {
        const piece = Math.min(size - offset, length - done);
        const before = done;
        this.#dma.access(chain.addr[i]! + offset, piece, from > 0, (bytes, at) => visit(bytes, before + at));
        done += piece;
      }
      offset = Math.max(0, offset - size);
    }
  }
}
