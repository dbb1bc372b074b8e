{
  'targets': [{
    'target_name': 'vhost_vdpa',
    'conditions': [
      ['OS=="linux"', {
        'sources': [
          'native/addon.cc',
          'native/batch.cc',
          'native/calls_device.cc',
          'native/calls_region.cc',
          'native/calls_transfer.cc',
          'native/device.cc',
          'native/device_file.cc',
          'native/env.cc',
          'native/eventfd.cc',
          'native/region.cc',
          'native/requests.cc',
          'native/transfer.cc',
          'native/watch.cc',
          'native/window.cc',
        ],
        'include_dirs': ['<!(node -p "require(\'node-addon-api\').include_dir")'],
        'defines': [
          'NAPI_VERSION=8',
          'NAPI_DISABLE_CPP_EXCEPTIONS',
          'NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS',
          # linux/virtio_ring.h does not compile as C++ with its legacy helpers.
          'VIRTIO_RING_NO_LEGACY',
        ],
        'cflags': ['-Wall', '-Wextra', '-Werror', '-fvisibility=hidden'],
        'cflags_cc': ['-std=c++17'],
        # Node unloads an addon with the last worker that used it, but a device thread may outlive that worker.
        'ldflags': ['-Wl,-z,nodelete'],
      }, {
        # Nothing to build elsewhere, so that the package installs and imports anywhere.
        'type': 'none',
      }],
    ],
  }],
}
