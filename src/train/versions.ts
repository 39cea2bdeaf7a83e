import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

const require = createRequire(import.meta.url);

/** Version of an installed package, or undefined. Works where a package hides its package.json from imports. */
export function packageVersion(name: string): string | undefined {
  for (const folder of require.resolve.paths(name) ?? []) {
    const file = join(folder, name, "package.json");
    if (existsSync(file)) return JSON.parse(readFileSync(file, "utf8")).version;
  }
  return undefined;
}

/** voxsmith's own version: its package.json stands above src/train/ and above dist/train/ alike. */
export function ownVersion(): string {
  for (let folder = import.meta.dirname; ; folder = dirname(folder)) {
    const file = join(folder, "package.json");
    if (existsSync(file)) return JSON.parse(readFileSync(file, "utf8")).version;
    if (dirname(folder) === folder) return "unknown";
  }
}

/** What results depend on: a run repeats bit for bit only with the same of each. */
export function versions(): Record<string, string> {
  return {
    voxsmith: ownVersion(),
    node: process.versions.node,
    "onnxruntime-node": packageVersion("onnxruntime-node") ?? "missing",
  };
}
