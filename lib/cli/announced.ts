/** What is said of a device just opened, and `--trace`: every operation on stderr, in the manner of strace. */
import type { Device } from '../device/device.js';
import { isSoft } from '../device/reference.js';
import { formatTrace, observe } from '../device/trace.js';
import { note } from './output.js';

/** Says that opening has reset the device, and traces it from then on if wanted. */
export function announced(device: Device, reference: string, trace: boolean): Device {
  if (!isSoft(reference)) note(`opening ${reference} has reset it`);
  if (!trace) return device;
  return observe(device, (operations, results) => {
    operations.forEach((operation, i) => {
      process.stderr.write(`${formatTrace(device.path, operation, results[i]!)}\n`);
    });
  });
}
