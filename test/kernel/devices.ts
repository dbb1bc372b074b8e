/** The kernel devices the tier runs on, by the names the rig gives them. */
import { readFileSync } from 'node:fs';
import { listVdpaDevices } from 'vhost-vdpa';

/** The character device of a vdpa name. The tier never skips: a missing device is a failure. */
export function devicePath(name: string): string {
  const path = listVdpaDevices().find(device => device.name === name)?.path;
  if (path === undefined) throw new Error(`The kernel tier needs the vdpa device ${name}, bound to vhost_vdpa.`);
  return path;
}

/** Whether this boot's simulators pin memory (vdpa_sim.use_va=0). */
export const PINNED = process.env['VHOST_VDPA_PINNED'] === '1';

/** Whether this boot's simulators take whole tables of maps (.set_map) or one map at a time (.dma_map). */
export const BATCH_MAPPING = readFileSync('/sys/module/vdpa_sim/parameters/batch_mapping', 'utf8').trim() === 'Y';
