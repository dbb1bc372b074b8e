/** `svq devices` */
import { listVdpaDevices } from '../../device/kernel/sysfs.js';
import { EXIT } from '../exit-codes.js';
import { note, print, printJson, table } from '../output.js';

const SOFT = { name: 'soft:blk', path: undefined, driver: 'embedded', parent: undefined };

export function devices({ json }: { json: boolean }): number {
  const found = listVdpaDevices();
  if (json) {
    printJson({
      schema: 'svq.devices/1',
      devices: [...found, SOFT].map(({ name, path, driver, parent }) => ({
        name,
        path: path ?? null,
        driver: driver ?? null,
        parent: parent ?? null,
      })),
    });
    return EXIT.ok;
  }
  const rows = [...found, SOFT].map(({ name, path, driver, parent }) => [
    name,
    path ?? '-',
    driver ?? '-',
    parent ?? '-',
  ]);
  print(table(['NAME', 'DEVICE', 'DRIVER', 'PARENT'], rows));
  if (found.length === 0) {
    note(
      'no vDPA device on this host. To make a simulated one: modprobe -a vhost_vdpa vdpa_sim_blk; vdpa dev add mgmtdev vdpasim_blk name vblk0',
    );
  }
  return EXIT.ok;
}
