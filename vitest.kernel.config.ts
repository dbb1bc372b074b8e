import { defineConfig } from 'vitest/config';

// Runs inside the rig, or on a host with vdpa devices: one file at a time, because a device has one opener.
export default defineConfig({
  cacheDir: '/tmp/vitest',
  test: {
    include: ['test/kernel/**/*.test.ts'],
    pool: 'forks',
    fileParallelism: false,
    testTimeout: 120_000,
    hookTimeout: 60_000,
  },
});
