#!/usr/bin/env node
// Installed, the compiled program stands in dist/. In a checkout the TypeScript sources run directly, so that
// nobody ever runs a stale build.
import { existsSync } from "node:fs";

const source = new URL("../src/cli/main.ts", import.meta.url);
if (existsSync(source)) {
  await import("tsx/esm");
  await import(source.href);
} else {
  await import(new URL("../dist/cli/main.js", import.meta.url).href);
}
