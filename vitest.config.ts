import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    testTimeout: 120_000,
    hookTimeout: 120_000,
    // Two cores: two files at a time, each in its own process, since native sessions do not share workers well.
    pool: "forks",
    maxWorkers: 2,
  },
});
