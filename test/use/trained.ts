import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseRecipe } from "../../src/train/recipe.ts";
import { train } from "../../src/train/trainer.ts";
import { tinyCorpus, tinyRecipe } from "../train/tiny-corpus.ts";

export const scratch = mkdtempSync(join(tmpdir(), "use-"));
export const corpus = tinyCorpus(2);

/** Trains a tiny run for a few steps and returns its folder: for tests that need a model and not a good one. */
export async function tinyRun(name: string, changes: Record<string, unknown> = {}): Promise<string> {
  const out = join(scratch, name);
  const recipe = parseRecipe(tinyRecipe({ epochs: 2, evaluate: { every: 1000 }, ...changes }), "tiny.yaml");
  await train(recipe, { data: corpus.folder, out, skipBad: false, log: () => {} });
  return out;
}

/** The largest |a - b|; infinite where they have unequal lengths. */
export const far = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  a.length === b.length
    ? Array.from(a).reduce((most, x, i) => Math.max(most, Math.abs(x - b[i])), 0)
    : Infinity;

/** Something to hear: [samples] at 16 kHz. */
export const signal = (samples: number): Float32Array =>
  Float32Array.from({ length: samples }, (_, i) => 0.5 * Math.sin(i / 7) * Math.sin(i / 900));
