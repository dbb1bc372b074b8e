/** Names and numbers, both ways: features, backend features, status, device types, error numbers, permissions. */
import { constants } from 'node:os';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { VdpaError } from '../../lib/errors.js';
import * as backend from '../../lib/uapi/backend-features.js';
import { backendFeatureBits, backendFeatureNames } from '../../lib/uapi/backend-features.js';
import type { BitSpec } from '../../lib/uapi/bits.js';
import { deviceIdOf, deviceName } from '../../lib/uapi/devices.js';
import { ERRNO, errnoName, errnoOf } from '../../lib/uapi/errno.js';
import * as features from '../../lib/uapi/features.js';
import { featureBits, featureNames } from '../../lib/uapi/features.js';
import { accessOf, permissionOf, permits } from '../../lib/uapi/iotlb.js';
import * as status from '../../lib/uapi/status.js';
import { statusBits, statusNames } from '../../lib/uapi/status.js';

const NET = 1;
const BLK = 2;
const FS = 26;
const CONSOLE = 3;

// Literals from the virtio specification, apart from the tables under test.
const TRANSPORT_BITS =
  'NOTIFY_ON_EMPTY 24,ANY_LAYOUT 27,INDIRECT_DESC 28,EVENT_IDX 29,VERSION_1 32,ACCESS_PLATFORM 33,RING_PACKED 34,IN_ORDER 35,' +
  'ORDER_PLATFORM 36,SR_IOV 37,NOTIFICATION_DATA 38,NOTIF_CONFIG_DATA 39,RING_RESET 40,ADMIN_VQ 41,SUSPEND 43';
const NET_BITS =
  'CSUM 0,GUEST_CSUM 1,CTRL_GUEST_OFFLOADS 2,MTU 3,MAC 5,GSO 6,GUEST_TSO4 7,GUEST_TSO6 8,GUEST_ECN 9,GUEST_UFO 10,HOST_TSO4 11,' +
  'HOST_TSO6 12,HOST_ECN 13,HOST_UFO 14,MRG_RXBUF 15,STATUS 16,CTRL_VQ 17,CTRL_RX 18,CTRL_VLAN 19,CTRL_RX_EXTRA 20,' +
  'GUEST_ANNOUNCE 21,MQ 22,CTRL_MAC_ADDR 23,DEVICE_STATS 50,HASH_TUNNEL 51,VQ_NOTF_COAL 52,NOTF_COAL 53,GUEST_USO4 54,' +
  'GUEST_USO6 55,HOST_USO 56,HASH_REPORT 57,GUEST_HDRLEN 59,RSS 60,RSC_EXT 61,STANDBY 62,SPEED_DUPLEX 63';
const BLK_BITS =
  'BARRIER 0,SIZE_MAX 1,SEG_MAX 2,GEOMETRY 4,RO 5,BLK_SIZE 6,SCSI 7,FLUSH 9,TOPOLOGY 10,CONFIG_WCE 11,MQ 12,DISCARD 13,' +
  'WRITE_ZEROES 14,LIFETIME 15,SECURE_ERASE 16,ZONED 17';
const BACKEND_BITS =
  'IOTLB_MSG_V2 1,IOTLB_BATCH 2,IOTLB_ASID 3,SUSPEND 4,RESUME 5,ENABLE_AFTER_DRIVER_OK 6,DESC_ASID 7,IOTLB_PERSIST 8';
const DEVICE_TYPES =
  'net 1,blk 2,console 3,rng 4,balloon 5,scsi 8,9p 9,gpu 16,input 18,vsock 19,crypto 20,pstore 22,iommu 23,mem 24,sound 25,fs 26,' +
  'pmem 27,rpmb 28,video-encoder 30,video-decoder 31,scmi 32,i2c 34,watchdog 35,can 36,bt 40,gpio 41,spi 45';
const STATUS_BITS = 'ACKNOWLEDGE 0,DRIVER 1,DRIVER_OK 2,FEATURES_OK 3,SUSPEND 4,NEEDS_RESET 6,FAILED 7';

interface Row {
  readonly name: string;
  readonly bit: number;
}

function rows(text: string): Row[] {
  return text.split(',').map(row => ({ name: row.split(' ')[0], bit: Number(row.split(' ')[1]) }));
}

/** A register under test, with its bits and the prefix of each. */
interface Case {
  readonly title: string;
  readonly width: number;
  readonly named: readonly (Row & { readonly prefix: string })[];
  readonly names: (bits: bigint) => string[];
  readonly bits: (specs: Iterable<BitSpec>) => bigint;
}

const prefixed = (text: string, prefix: string) => rows(text).map(row => ({ ...row, prefix }));
const transport = prefixed(TRANSPORT_BITS, 'VIRTIO_F_');

function device(title: string, id: number, named: Case['named']): Case {
  return {
    title,
    width: 64,
    named: [...named, ...transport].sort((a, b) => a.bit - b.bit),
    names: bits => featureNames(id, bits),
    bits: specs => featureBits(id, specs),
  };
}

const CASES: readonly Case[] = [
  device('net features', NET, prefixed(NET_BITS, 'VIRTIO_NET_F_')),
  device('blk features', BLK, prefixed(BLK_BITS, 'VIRTIO_BLK_F_')),
  device('fs features', FS, prefixed('NOTIFICATION 0', 'VIRTIO_FS_F_')),
  device('features of a device without a table', CONSOLE, []),
  {
    title: 'backend features',
    width: 64,
    named: prefixed(BACKEND_BITS, 'VHOST_BACKEND_F_'),
    names: backendFeatureNames,
    bits: backendFeatureBits,
  },
  {
    title: 'status bits',
    width: 8,
    named: prefixed(STATUS_BITS, 'VIRTIO_CONFIG_S_'),
    names: bits => statusNames(Number(bits)),
    bits: specs => BigInt(statusBits(specs)),
  },
];

function codeOf(run: () => unknown): unknown {
  try {
    run();
  } catch (error) {
    return error instanceof VdpaError ? error.code : error;
  }
  return 'did not throw';
}

describe.each(CASES)('$title', ({ width, named, names, bits }) => {
  it('names every bit of the register, and numbers the others', () => {
    const expected = Array.from(
      { length: width },
      (_, bit) => named.find(row => row.bit === bit)?.name ?? `BIT_${bit}`,
    );
    expect(names((1n << BigInt(width)) - 1n)).toEqual(expected);
    expect(names(0n)).toEqual([]);
  });

  it('takes each name plain, with its prefix, in lower case, by number', () => {
    for (const { name, bit, prefix } of named) {
      for (const spec of [name, prefix + name, name.toLowerCase(), (prefix + name).toLowerCase(), bit, String(bit)]) {
        expect(bits([spec]), String(spec)).toBe(1n << BigInt(bit));
      }
    }
  });

  it('comes back from names, from masks and from their text', () => {
    fc.assert(
      fc.property(fc.bigInt(0n, (1n << BigInt(width)) - 1n), value => {
        expect(bits(names(value))).toBe(value);
        expect(bits([value])).toBe(value);
        expect(bits([`0x${value.toString(16)}`])).toBe(value);
      }),
    );
  });

  it('refuses what it does not have', () => {
    const bad: BitSpec[] = [
      'NO_SUCH_BIT',
      'toString',
      '',
      '0x',
      '1.5',
      -1,
      1.5,
      width,
      `BIT_${width}`,
      -1n,
      1n << BigInt(width),
    ];
    for (const spec of bad) {
      expect(
        codeOf(() => bits([spec])),
        String(spec),
      ).toBe('ERR_VDPA_INVALID_ARGUMENT');
    }
    expect(() => bits([named[0].name, 'NO_SUCH_BIT'])).toThrow(/"NO_SUCH_BIT"/);
  });
});

describe('feature words of known devices', () => {
  it('vdpa_sim_net', () => {
    expect(featureNames(NET, 0x308830028n)).toEqual(
      'MTU MAC STATUS CTRL_VQ CTRL_MAC_ADDR ANY_LAYOUT VERSION_1 ACCESS_PLATFORM'.split(' '),
    );
  });

  it('vdpa_sim_blk', () => {
    expect(featureNames(BLK, 0x308007646n)).toEqual(
      'SIZE_MAX SEG_MAX BLK_SIZE FLUSH TOPOLOGY MQ DISCARD WRITE_ZEROES ANY_LAYOUT VERSION_1 ACCESS_PLATFORM'.split(
        ' ',
      ),
    );
  });

  it('backend features of vdpa_sim, vp_vdpa and VDUSE', () => {
    const vduse = ['IOTLB_MSG_V2', 'IOTLB_BATCH', 'IOTLB_ASID'];
    expect(backendFeatureNames(0x0en)).toEqual(vduse);
    expect(backendFeatureNames(0x10en)).toEqual([...vduse, 'IOTLB_PERSIST']);
    expect(backendFeatureNames(0x17en)).toEqual([
      ...vduse,
      'SUSPEND',
      'RESUME',
      'ENABLE_AFTER_DRIVER_OK',
      'IOTLB_PERSIST',
    ]);
  });

  it('does not take the name of another device type', () => {
    expect(codeOf(() => featureBits(BLK, ['VIRTIO_NET_F_MAC']))).toBe('ERR_VDPA_INVALID_ARGUMENT');
    expect(codeOf(() => featureBits(NET, ['VIRTIO_F_MAC']))).toBe('ERR_VDPA_INVALID_ARGUMENT');
    expect(featureBits(NET, ['VIRTIO_RING_F_EVENT_IDX'])).toBe(1n << 29n);
  });
});

describe('exported constants', () => {
  const named = [
    ...prefixed(NET_BITS, 'VIRTIO_NET_F_'),
    ...prefixed(BLK_BITS, 'VIRTIO_BLK_F_'),
    ...transport,
    ...prefixed(BACKEND_BITS, 'VHOST_BACKEND_F_'),
  ];

  it.each([...Object.entries(features), ...Object.entries(backend)].filter(([, value]) => typeof value === 'bigint'))(
    '%s is its bit',
    (name, value) => {
      const row = named.find(({ prefix, name: short }) => prefix + short === name);
      expect(row && 1n << BigInt(row.bit)).toBe(value);
    },
  );

  it('status bits are those of virtio_config.h', () => {
    expect(status).toMatchObject({
      VIRTIO_CONFIG_S_RESET: 0,
      VIRTIO_CONFIG_S_ACKNOWLEDGE: 1,
      VIRTIO_CONFIG_S_DRIVER: 2,
      VIRTIO_CONFIG_S_DRIVER_OK: 4,
      VIRTIO_CONFIG_S_FEATURES_OK: 8,
      VIRTIO_CONFIG_S_NEEDS_RESET: 0x40,
      VIRTIO_CONFIG_S_FAILED: 0x80,
    });
    expect(statusNames(0xf)).toEqual(['ACKNOWLEDGE', 'DRIVER', 'DRIVER_OK', 'FEATURES_OK']);
  });
});

describe('device types', () => {
  it.each(rows(DEVICE_TYPES))('$bit is $name', ({ bit: id, name }) => {
    expect(deviceName(id)).toBe(name);
    expect(deviceIdOf(name)).toBe(id);
  });

  it('gives every name back as its number, and a number where there is no name', () => {
    for (let id = 0; id < 64; id++) {
      const name = deviceName(id);
      expect(deviceIdOf(name)).toBe(name === `device ${id}` ? undefined : id);
    }
    expect(deviceName(63)).toBe('device 63');
    expect(deviceIdOf('block')).toBe(2);
    expect(deviceIdOf('toString')).toBeUndefined();
  });
});

describe('error numbers', () => {
  it('has every name of this system, and its number', () => {
    const names = Object.entries(constants.errno);
    expect(names.length).toBeGreaterThan(70);
    const aliases = { EWOULDBLOCK: 'EAGAIN', ENOTSUP: 'EOPNOTSUPP' };
    for (const [name, number] of names) {
      const canonical = Object.hasOwn(aliases, name) ? aliases[name as keyof typeof aliases] : name;
      expect(errnoName(number)).toBe(canonical);
      expect(errnoOf(canonical)).toBe(number);
    }
  });

  it('has those the kernel leaks, and tells 95 from 524', () => {
    expect(errnoName(95)).toBe('EOPNOTSUPP');
    expect(errnoName(524)).toBe('ENOTSUPP');
    expect(errnoName(512)).toBe('ERESTARTSYS');
    expect(errnoName(4000)).toBe('errno 4000');
    expect(errnoName(0)).toBe('errno 0');
    expect(errnoOf('toString')).toBeUndefined();
  });

  it('gives every name back', () => {
    for (const [name, number] of Object.entries(ERRNO)) {
      expect(errnoName(number)).toBe(name);
      expect(errnoOf(name)).toBe(number);
    }
  });
});

describe('permissions', () => {
  it('are ro 1, wo 2, rw 3, both ways', () => {
    expect((['ro', 'wo', 'rw'] as const).map(accessOf)).toEqual([1, 2, 3]);
    expect([0, 1, 2, 3, 4].map(permissionOf)).toEqual([undefined, 'ro', 'wo', 'rw', undefined]);
  });

  it('a mapping permits what it holds, and rw both', () => {
    const allowed = (['ro', 'wo', 'rw'] as const).map(held =>
      (['ro', 'wo', 'rw'] as const).filter(w => permits(held, w)),
    );
    expect(allowed).toEqual([['ro'], ['wo'], ['ro', 'wo', 'rw']]);
  });
});
