/** `svq iova plan DEVICE`: what mapping a machine's memory takes on this device. */
import { readCapabilities } from '../../device/capabilities.js';
import { type Device, run } from '../../device/device.js';
import { readLimits } from '../../device/host-limits.js';
import { pinsMemory } from '../../device/kernel/sysfs.js';
import { openDevice } from '../../device/open.js';
import { isSoft } from '../../device/reference.js';
import { AddressSpace } from '../../iova/address-space.js';
import { DeviceMemory } from '../../iova/device-memory.js';
import { validateGranule } from '../../iova/limits.js';
import type { Placement } from '../../iova/placement.js';
import { GuestMemory } from '../../memory/guest-memory.js';
import { MemoryRegion } from '../../memory/region.js';
import type { Topology } from '../../memory/topology.js';
import { ringLayout } from '../../ring/areas.js';
import { VHOST_BACKEND_F_IOTLB_BATCH } from '../../uapi/backend-features.js';
import type { Operation } from '../../uapi/operation.js';
import { parseSize } from '../../units.js';
import { announced } from '../announced.js';
import { EXIT } from '../exit-codes.js';
import { interruptible } from '../interrupt.js';
import { type IovaPlanDocument, planDocument } from '../iova-plan-document.js';
import { type MachineArguments, parseMachine } from '../machine-options.js';
import { printJson } from '../output.js';
import { printIovaPlan } from '../print-iova-plan.js';

interface Arguments extends MachineArguments {
  readonly device: string;
  readonly placement: Placement;
  readonly granule: string | undefined;
  readonly measure: boolean;
  readonly json: boolean;
  readonly trace: boolean;
}

export async function iovaPlan(args: Arguments): Promise<number> {
  const machine = await parseMachine(args);
  const granule = args.granule === undefined ? undefined : parseSize(args.granule);
  if (granule !== undefined) validateGranule(granule);
  const { result: document } = await interruptible(async signal => {
    const document = await planOn(machine, granule, args, signal);
    signal.throwIfAborted();
    return document;
  });
  if (args.json) printJson(document);
  else printIovaPlan(document);
  return EXIT.ok;
}

async function planOn(
  machine: Topology,
  granule: number | undefined,
  args: Arguments,
  signal: AbortSignal,
): Promise<IovaPlanDocument> {
  const device = announced(await openDevice(args.device), args.device, args.trace);
  const opened: { close(): void }[] = [];
  try {
    return await plan(device, machine, granule, args, signal, opened);
  } finally {
    await device.close();
    for (const thing of opened) thing.close();
  }
}

/** @param opened Gets what must be closed after the device. */
async function plan(
  device: Device,
  machine: Topology,
  granule: number | undefined,
  { placement, measure, topology }: Arguments,
  signal: AbortSignal,
  opened: { close(): void }[],
): Promise<IovaPlanDocument> {
  const capabilities = await readCapabilities(device);
  const known = readLimits(device.path, capabilities);
  const limits = granule === undefined ? known : { ...known, granule };
  const guest = GuestMemory.create(machine);
  opened.push(guest);
  // As many and as large as the device allows: what shadowing all of it would take.
  const bytes = capabilities.vqs * ringLayout(capabilities.vringNumMax).bytes;
  const rings = MemoryRegion.create('shadow-rings', Math.ceil(bytes / limits.granule) * limits.granule);
  opened.push(rings);
  const { end, hotplug } = guest;
  const memory = new DeviceMemory(guest.sections, {
    placement,
    limits,
    hotplug,
    end,
    rings: { region: rings.id, size: rings.size },
  });
  const space = new AddressSpace(0, limits);
  const batched = (capabilities.backendFeatures & VHOST_BACKEND_F_IOTLB_BATCH) !== 0n;
  const operations = space.plan(memory.maps(placement !== 'identity'), { batched, probe: true, merge: false });
  const measured = measure ? await carryOut(device, space, operations, { batched, signal }) : undefined;
  const pins = !isSoft(device.path) && pinsMemory(device.path);
  return planDocument({
    device: device.path,
    machine,
    machineName: topology,
    placement,
    limits,
    pins,
    memory,
    rings,
    operations,
    measured,
  });
}

/** Maps and unmaps for the times it takes. Interrupted, it leaves what is mapped: closing the device drops it. */
async function carryOut(
  device: Device,
  space: AddressSpace,
  operations: readonly Operation[],
  { batched, signal }: { readonly batched: boolean; readonly signal: AbortSignal },
) {
  const map = await run(device, operations, { signal });
  space.apply(operations, map);
  return { map, unmap: await run(device, space.plan([], { batched }), { signal }) };
}
