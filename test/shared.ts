import { existsSync } from "node:fs";
import { join, resolve } from "node:path";

// Real speech and reference outputs are not part of the repository: a test that wants them asks here and skips,
// with the reason printed, where they are absent.
const root = resolve(import.meta.dirname, "..");

function find(variable: string, fallback: string, parts: string[]): string | undefined {
  const path = join(process.env[variable] ?? resolve(root, fallback), ...parts);
  if (existsSync(path)) return path;
  console.log(`skipped: ${parts.join("/")} not found; set ${variable} to the folder that holds it`);
  return undefined;
}

/** A path under VOXSMITH_DATA (default ../shared/data), or undefined with the reason printed. */
export const dataDir = (...parts: string[]) => find("VOXSMITH_DATA", "../shared/data", parts);

/** A path under VOXSMITH_REFERENCE (default ../shared/reference), or undefined with the reason printed. */
export const referenceDir = (...parts: string[]) => find("VOXSMITH_REFERENCE", "../shared/reference", parts);
