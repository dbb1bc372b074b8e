import { defineConfig } from 'vitest/config';

// The kernel tier needs a real /dev/vhost-vdpa and has its own configuration (vitest.kernel.config.ts).
export default defineConfig({
  test: {
    include: ['test/unit/**/*.test.ts', 'test/property/**/*.test.ts', 'test/cli/**/*.test.ts'],
    pool: 'forks',
    testTimeout: 30_000,
  },
});
