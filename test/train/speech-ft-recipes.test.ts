import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { readRecipe } from "../../src/train/recipe.ts";

const root = join(import.meta.dirname, "../../recipes");
const all = readdirSync(root, { recursive: true, encoding: "utf8" }).filter((path) => path.endsWith(".yaml"));
const speechFt = all.filter((path) => path.includes("speech-ft-")).sort();

/** Corpus and task, steps and utterances of an update: Speech-FT, appendix D; facts of Tables 1, 3, 4 and 6. */
const rows: Record<string, [steps: number, batch: number]> = {
  "aishell3/speech-ft-hubert.yaml": [100_000, 32],
  "crema-d/speech-ft-er.yaml": [15_510, 32],
  "iemocap/speech-ft-er.yaml": [30_000, 32],
  "librispeech/speech-ft-asr.yaml": [200_000, 32],
  "librispeech/speech-ft-mtf.yaml": [200_000, 2],
  "librispeech/speech-ft-pr.yaml": [100_000, 32],
  "librispeech/speech-ft-sid.yaml": [100_000, 32],
  "tedlium/speech-ft-asr.yaml": [50_000, 32],
  "timit/speech-ft-pc-decoar2.yaml": [300_000, 16],
  "timit/speech-ft-pc-wav2vec2.yaml": [300_000, 16],
  "timit/speech-ft-pc.yaml": [300_000, 16],
  "voxceleb1/speech-ft-sid-sequential.yaml": [200_000, 32],
  "voxceleb1/speech-ft-sid.yaml": [200_000, 32],
};

describe("recipes", () => {
  it.each(all)("%s can be read", (path) => {
    expect(readRecipe(join(root, path)).name).toMatch(/^[\w.-]+$/);
  });
});

describe("recipes of Speech-FT", () => {
  it("are there for every row of the tables", () => {
    expect(speechFt).toEqual(expect.arrayContaining(Object.keys(rows)));
  });

  it.each(Object.entries(rows))("%s is stable fine-tuning at the paper's size", (path, [steps, batch]) => {
    const { batch: b, ...recipe } = readRecipe(join(root, path));
    expect([recipe.steps, b.size * b.accumulate]).toEqual([steps, batch]);
    expect(recipe.plan.headFirst).toBe(0.1);
    expect(recipe.plan.freeze).toEqual(path.includes("decoar2") ? [] : ["feature_extractor"]);
    expect(recipe.schedule).toEqual({ name: "warmup-hold-decay", warmup: 0.1, hold: 0.4 });
    expect(recipe.optimizer).toMatchObject({ name: "adam", lr: 1e-4, betas: [0.9, 0.999], clip: 1 });
    expect(recipe.upstream).toMatchObject({ layers: "last" });
    // Why stands in the file.
    expect(readFileSync(join(root, path), "utf8").match(/^ *#/gm)!.length).toBeGreaterThan(10);
  });

  it("take separate batches of two utterances for each task of multi-task fine-tuning", () => {
    const recipe = readRecipe(join(root, "librispeech/speech-ft-mtf.yaml"));
    expect(recipe.batch.size).toBe(2);
    expect(recipe.streams.speakers.batch.size).toBe(2);
    expect(recipe.objectives.speaker.stream).toBe("speakers");
  });
});
