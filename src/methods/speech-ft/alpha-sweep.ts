import { rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "../../errors.ts";
import { writeMerge } from "../../merge/merge.ts";
import { openModels } from "../../merge/models.ts";
import { type MergeSpec, mergeSpec } from "../../merge/spec.ts";
import type { ProbeTask } from "../../superb/index.ts";
import { inheritLineage } from "../../train/lineage.ts";
import { openCheckpoint } from "../../weights/checkpoint.ts";
import { type PartDistance, weightDistances } from "./distance.ts";
import {
  fingerprint,
  type Probed,
  type ProbingOptions,
  probeModel,
  readResults,
  type Summary,
  summary,
} from "./probing.ts";

export interface AlphaPoint {
  readonly alpha: number;
  readonly summary: Summary;
}

export interface AlphaSweep {
  readonly base: string;
  readonly tuned: readonly string[];
  readonly method: MergeSpec["method"];
  readonly points: readonly AlphaPoint[];
  /** How far each tuned model has moved. */
  readonly distances: readonly { readonly model: string; readonly parts: readonly PartDistance[] }[];
}

/** The points of Speech-FT's Table 9. */
export const ALPHAS: readonly number[] = [0, 0.1, 0.25, 0.5, 0.75, 1];

/**
 * Merges at each alpha and probes what comes out (Speech-FT, Table 9). Merged models are removed once they are probed; the
 * same call goes on with what an interrupted one left.
 */
export async function alphaSweep(
  base: string,
  tuned: readonly string[],
  given: Partial<MergeSpec> & { method: MergeSpec["method"] },
  alphas: readonly number[],
  tasks: readonly ProbeTask[],
  options: ProbingOptions,
): Promise<AlphaSweep> {
  if (alphas.length === 0) throw new UserError("--alphas: must name at least one number");
  // All are checked before anything runs.
  const specs = alphas.map((alpha) => mergeSpec({ ...given, alpha }, tuned.length));
  const points: AlphaPoint[] = [];
  for (const spec of specs) {
    options.log(`alpha ${spec.alpha}`);
    const folder = join(options.folder, `alpha-${spec.alpha}`);
    const results = await mergedAndProbed(base, tuned, spec, tasks, { ...options, folder });
    points.push({ alpha: spec.alpha, summary: summary(results) });
  }
  const distances = tuned.map((model) => ({ model, parts: distancesOf(base, model) }));
  return { base, tuned, method: given.method, points, distances };
}

/** The results of a merge, which is made and removed again unless they are there already. */
export async function mergedAndProbed(
  base: string,
  tuned: readonly string[],
  spec: MergeSpec,
  tasks: readonly ProbeTask[],
  options: ProbingOptions,
): Promise<Probed> {
  const key = JSON.stringify([spec, [base, ...tuned].map(identity)]);
  const known = readResults(join(options.folder, "results.json"), fingerprint(key, tasks, options));
  if (known !== undefined) return known;
  const model = join(options.folder, "model");
  rmSync(model, { recursive: true, force: true });
  mergeModels(base, tuned, spec, model);
  const results = await probeModel(model, key, tasks, options);
  rmSync(model, { recursive: true });
  return results;
}

/** Merges into a folder that carries the lineage of all its parents. */
export function mergeModels(base: string, tuned: readonly string[], spec: MergeSpec, out: string): void {
  const models = openModels(base, tuned, spec);
  try {
    writeMerge(models, spec, out, { finish: (folder) => inheritLineage(folder, [base, ...tuned]) });
  } finally {
    models.close();
  }
}

export function distancesOf(base: string, tuned: string): PartDistance[] {
  const [a, b] = [base, tuned].map((path) => openCheckpoint(path));
  try {
    return weightDistances(a, b);
  } finally {
    for (const { weights } of [a, b]) weights.close();
  }
}

/** A model's path with size and time of its weights: a run that was made again is another model. */
function identity(path: string): (string | number)[] {
  const checkpoint = openCheckpoint(path);
  const { path: file } = checkpoint.weights;
  checkpoint.weights.close();
  const weights = statSync(file).isDirectory() ? join(file, "model.safetensors") : file;
  const { size, mtimeMs } = statSync(weights, { throwIfNoEntry: false }) ?? statSync(file);
  return [path, size, mtimeMs];
}
