/** What bounds a device's maps: the device's own answers and the host's. */
import type { IovaLimits } from '../iova/limits.js';
import type { Capabilities } from './capabilities.js';
import { maxIotlbEntries, pinnableBytes, pinsMemory } from './kernel/sysfs.js';
import { isSoft } from './reference.js';

export function readLimits(path: string, { iovaRange, asids }: Capabilities): IovaLimits {
  const soft = isSoft(path);
  return {
    ...iovaRange,
    asids,
    maxEntries: soft ? undefined : maxIotlbEntries(),
    pinnable: soft || !pinsMemory(path) ? () => undefined : pinnableBytes,
  };
}
