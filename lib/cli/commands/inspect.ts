/** `svq inspect DEVICE` */
import { type Capabilities, readCapabilities } from '../../device/capabilities.js';
import { openDevice } from '../../device/open.js';
import { hex } from '../../errors.js';
import { backendFeatureNames } from '../../uapi/backend-features.js';
import { decodeConfig } from '../../uapi/config.js';
import { deviceName } from '../../uapi/devices.js';
import { featureNames } from '../../uapi/features.js';
import { announced } from '../announced.js';
import { EXIT } from '../exit-codes.js';
import { facts, print, printJson, table } from '../output.js';

export async function inspect(args: { device: string; json: boolean; trace: boolean }): Promise<number> {
  const device = announced(await openDevice(args.device), args.device, args.trace);
  try {
    const document = describe(device.path, await readCapabilities(device));
    if (args.json) printJson(document);
    else printHuman(document);
    return EXIT.ok;
  } finally {
    await device.close();
  }
}

function describe(path: string, capabilities: Capabilities) {
  const { deviceId, features, backendFeatures, vqs, vringNumMax, iovaRange, asids, groups, config, queues } =
    capabilities;
  return {
    schema: 'svq.inspect/1',
    device: path,
    type: deviceName(deviceId),
    device_id: deviceId,
    features: { value: features, names: featureNames(deviceId, features) },
    backend_features: { value: backendFeatures, names: backendFeatureNames(backendFeatures) },
    vqs,
    vring_num_max: vringNumMax,
    groups,
    address_spaces: asids,
    iova_range: iovaRange,
    queues: queues.map(({ group, descGroup, size }, index) => ({
      index,
      group: group ?? null,
      desc_group: descGroup ?? null,
      size: size ?? null,
    })),
    config_size: config.length,
    config: decodeConfig(deviceId, config, features)?.config ?? null,
  };
}

type Document = ReturnType<typeof describe>;

function printHuman(document: Document): void {
  const { features, backend_features, iova_range, queues, config } = document;
  const rows: [string, string][] = [
    ['device', `${document.device} (${document.type})`],
    ['features', `${hex(features.value)}  ${features.names.join(' ')}`],
    ['backend features', `${hex(backend_features.value)}  ${backend_features.names.join(' ')}`],
    ['queues', `${document.vqs}, at most ${document.vring_num_max} entries`],
    ['groups', `${document.groups}`],
    ['address spaces', `${document.address_spaces}`],
    ['IOVA range', `${hex(iova_range.first)} to ${hex(iova_range.last)}`],
    ['config', `${document.config_size} bytes`],
    ...configRows(config ?? {}),
  ];
  print(facts(rows));
  const cells = queues.map(queue => [queue.index, queue.group ?? '-', queue.desc_group ?? '-', queue.size ?? '-']);
  print('');
  print(table(['QUEUE', 'GROUP', 'DESC GROUP', 'SIZE'], cells));
}

/** Fields of the config space, those of structures under the structure's name. */
function configRows(config: object, prefix = ''): [string, string][] {
  return Object.entries(config).flatMap(([name, value]): [string, string][] => {
    if (typeof value === 'object' && value !== null && !Array.isArray(value))
      return configRows(value, `${prefix}${name}.`);
    return [[`  ${prefix}${name}`, Array.isArray(value) ? value.join(' ') : String(value)]];
  });
}
