import { existsSync } from "node:fs";
import { join } from "node:path";
import { parseRecipe } from "../../../train/recipe.ts";
import { readRun } from "../../../train/run-folder.ts";
import { train } from "../../../train/trainer.ts";
import type { Tuning } from "./data.ts";

/** How large a replication is. */
export interface Size {
  readonly seeds: readonly number[];
  readonly tuning: readonly Tuning[];
  readonly alphas: readonly number[];
  /** Speech-FT's lambdas; the paper's grid is lost in its text. */
  readonly lambdas: readonly number[];
  readonly steps: Readonly<Record<Tuning, number>>;
  /** Updates of the probes' heads, or a factor below 1 of their own number. */
  readonly probeSteps: number;
  readonly lr: number;
}

export const FULL: Size = {
  seeds: [1, 2, 3],
  tuning: ["phonemes", "speakers", "keywords"],
  alphas: [0.1, 0.25, 0.5, 0.75, 1],
  lambdas: [1e-4, 1e-3, 1e-2, 1e-1, 1],
  steps: { phonemes: 800, speakers: 500, keywords: 300 },
  // Over a hundred models are probed. 700 of 1,500 updates cost the head of phones less than two points: 62.7 for 61.0 % on
  // nano's teacher (`voxsmith superb RUN --tasks mini-phonemes --steps 700`).
  probeSteps: 0.5,
  // Small models and hundreds of steps instead of hundreds of thousands ask for more than the paper's 1e-4.
  lr: 5e-4,
};

export const TINY_SIZE: Size = {
  seeds: [1],
  tuning: ["phonemes", "speakers"],
  alphas: [0.25, 1],
  lambdas: [1e-2, 1],
  steps: { phonemes: 2, speakers: 2, keywords: 2 },
  probeSteps: 2,
  lr: 1e-3,
};

export type Variant =
  | { readonly kind: "regular" }
  | { readonly kind: "stable" }
  | { readonly kind: "anchored"; readonly lambda: number };

const OBJECTIVES = {
  phonemes: { loss: "ctc", target: "phones", dropStress: true, zeroInfinity: true },
  speakers: { loss: "cross-entropy", target: "labels.speaker" },
  keywords: { loss: "cross-entropy", target: "labels.keyword" },
};
const METRICS = { phonemes: "per", speakers: "accuracy", keywords: "accuracy" };

const corpusOf = (tuning: Tuning) => ({
  manifest: `${tuning}.jsonl`,
  // Speakers are asked of voices that were heard; wake words have no speaker labels.
  split: { by: "field", allowSpeakerOverlap: tuning !== "phonemes" },
  maxSeconds: 12,
});

/** The recipe of one fine-tuning run: the paper's schedule at another length. Two tasks have separate batches. */
export function tuningRecipe(
  base: string,
  tuning: readonly Tuning[],
  variant: Variant,
  seed: number,
  size: Size,
  threads: number,
) {
  const [main, second] = tuning;
  const stable = variant.kind !== "regular";
  // Two tasks together cost what they cost one after the other: as many steps, of batches that are halved (the paper's are
  // small, too). With half the steps, CTC had not begun to tell phones apart.
  const steps = tuning.reduce((sum, each) => sum + size.steps[each], 0);
  const batch = { size: second === undefined ? 8 : 4, maxSeconds: 100 };
  const recipe = {
    ...{ name: `speech-ft-${tuning.join("-")}`, seed, threads, steps },
    upstream: { model: base },
    corpus: corpusOf(main),
    ...(second !== undefined && { streams: { second: { corpus: corpusOf(second), batch } } }),
    objectives: Object.fromEntries(
      tuning.map((each, i) => [each, { ...OBJECTIVES[each], ...(i > 0 && { stream: "second" }) }]),
    ),
    plan: {
      headFirst: stable ? 0.1 : 0,
      freeze: stable ? ["feature_extractor"] : [],
      anchor: variant.kind === "anchored" ? variant.lambda : 0,
    },
    optimizer: { name: "adam", lr: size.lr, betas: [0.9, 0.999] },
    schedule: { name: "warmup-hold-decay" },
    batch,
    dropout: { final: 0, layerdrop: 0 },
    augment: { timeMask: { prob: 0 }, channelMask: { prob: 0 } },
    evaluate: {
      every: Math.max(1, Math.round(steps / 8)),
      best: second === undefined ? `${main}.${METRICS[main]}` : "loss",
    },
  };
  return parseRecipe(JSON.stringify(recipe), "speech-ft replication");
}

export interface Tuned {
  readonly folder: string;
  readonly metrics: Readonly<Record<string, number>>;
}

/** Trains a recipe in its folder, or goes on with what an interrupted call left there. */
export async function tune(
  recipe: ReturnType<typeof tuningRecipe>,
  folder: string,
  data: string,
  signal: AbortSignal,
): Promise<Tuned> {
  const before = existsSync(join(folder, "run.json")) ? readRun(folder) : undefined;
  if (before?.status === "finished") return { folder, metrics: before.metrics ?? {} };
  const result = await train(recipe, { data, out: folder, skipBad: false, signal, log: () => {} });
  // Work.do asks the signal before it takes this for a result.
  if (result.status === "interrupted") throw new Error("interrupted");
  return { folder, metrics: result.metrics };
}

/** Whether a run learned nothing: no phone right, or no better than a guess among the classes. */
export function learnedNothing(tuning: Tuning, metrics: Readonly<Record<string, number>>): boolean {
  const value = metrics[`valid.${tuning}.${METRICS[tuning]}`];
  if (value === undefined) return false;
  return tuning === "phonemes" ? value >= 0.95 : value <= (tuning === "keywords" ? 1.5 / 6 : 2 / 42);
}
