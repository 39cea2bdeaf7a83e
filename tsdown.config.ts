import { defineConfig } from "tsdown";

/**
 * The published form: one JavaScript file a module, dependencies left to npm, and types for the library. Programs that
 * are started by path (the command line, worker threads, the doctor's probe) are entries of their own.
 */
export default defineConfig({
  entry: ["src/index.ts", "src/cli/main.ts", "src/cli/doctor-probe.ts", "src/**/*-worker.ts"],
  outDir: "dist",
  format: "esm",
  platform: "node",
  target: "node20.19",
  unbundle: true,
  // The package is `type: module`, so `.js` says enough, and it is what worker threads are started by.
  fixedExtension: false,
  dts: true,
  clean: true,
});
