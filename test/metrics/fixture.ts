import { readFileSync } from "node:fs";
import { join } from "node:path";

/** A file of reference values; scripts/reference/metrics-*.py wrote it. */
export const fixture = (name: string) =>
  JSON.parse(readFileSync(join(import.meta.dirname, "../fixtures/metrics", `${name}.json`), "utf8"));
