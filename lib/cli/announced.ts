/** `--trace`: every device operation on stderr, in the manner of strace. */
import type { Device } from '../device/device.js';
import { formatTrace, observe } from '../device/trace.js';

export function traced(device: Device, on: boolean): Device {
  if (!on) return device;
  return observe(device, (operations, results) => {
    operations.forEach((operation, i) => {
      process.stderr.write(`${formatTrace(device.path, operation, results[i]!)}\n`);
    });
  });
}
