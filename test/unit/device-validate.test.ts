import { describe, expect, it } from 'vitest';
import { validateOperations } from '../../lib/device/validate.js';
import type { Operation } from '../../lib/uapi/operation.js';

describe('operations', () => {
  it.each<[Operation]>([
    [{ op: 'setStatus', status: 255 }],
    [{ op: 'setVringKick', index: 0, fd: -1 }],
    [{ op: 'setVringBase', index: 0xffff_ffff, num: 0x8000_8000 }],
    [{ op: 'setFeatures', features: 2n ** 64n - 1n }],
    [{ op: 'iotlbInvalidate', asid: 0, iova: Number.MAX_SAFE_INTEGER, size: 0 }],
  ])('that fit their fields pass: %o', operation => {
    expect(() => validateOperations([operation])).not.toThrow();
  });

  it.each<[Operation, string, string]>([
    [{ op: 'setStatus', status: 256 }, 'status', '0x100'],
    [{ op: 'setStatus', status: -1 }, 'status', '-1'],
    [{ op: 'setVringNum', index: 2 ** 32, num: 1 }, 'index', '0x100000000'],
    [{ op: 'setVringNum', index: 0, num: 1.5 }, 'num', '1.5'],
    [{ op: 'setVringKick', index: 0, fd: -2 }, 'fd', '-2'],
    [{ op: 'setVringAddr', index: 0, desc: 2 ** 53, avail: 0, used: 0 }, 'desc', '0x20000000000000'],
    [{ op: 'setGroupAsid', group: Number.NaN, asid: 0 }, 'group', 'NaN'],
    [{ op: 'setFeatures', features: -1n }, 'features', '-1'],
    [{ op: 'setFeatures', features: 2n ** 64n }, 'features', '0x10000000000000000'],
  ])('that do not are refused with the value: %o', (operation, field, shown) => {
    expect(() => validateOperations([{ op: 'getStatus' }, operation])).toThrow(
      expect.objectContaining({
        code: 'ERR_VDPA_INVALID_ARGUMENT',
        message: `${operation.op} cannot have ${field} ${shown}: it does not fit the field.`,
      }),
    );
  });
});
