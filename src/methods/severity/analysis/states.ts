import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { loadUtterance } from "../../../corpus/load-audio.ts";
import type { Utterance } from "../../../corpus/manifest.ts";
import { UserError } from "../../../errors.ts";
import { openCorpus } from "../../../train/data.ts";
import type { LogRecord } from "../../../train/log.ts";
import { progress } from "../../../train/progress.ts";
import { readRecipe } from "../../../train/recipe.ts";
import { Inference } from "../../../use/inference.ts";
import { Mlp } from "../baselines/mlp.ts";
import { type Point, principalComponents, silhouette, umap } from "./projection.ts";

/** What a run's model makes of its corpus, layer by layer, and how its validation losses went. */
export interface RunAnalysis {
  readonly name: string;
  /** Which of the kept models: the last step's, as the paper's Fig. 2, or the best. */
  readonly model: "last" | "best";
  readonly label: string;
  readonly classes: readonly string[];
  /** Training recordings, in the order of the points. */
  readonly grades: readonly string[];
  readonly sentences: readonly string[];
  /** From the transformer's input (0) to the last layer. */
  readonly layers: readonly LayerAnalysis[];
  /** Validation loss of each objective by evaluation. */
  readonly losses: Readonly<Record<string, readonly (readonly [step: number, value: number])[]>>;
  /** The step from which on grading counts; 0 where it does from the start. */
  readonly joins: number;
}

export interface LayerAnalysis {
  readonly layer: number;
  readonly pca: readonly Point[];
  readonly umap: readonly Point[];
  /** How far grades and sentences lie apart, in [-1, 1]. */
  readonly silhouette: { readonly grade: number; readonly sentence: number };
  /** Accuracy on the validation part of a linear probe trained on the training part; NaN without a validation part. */
  readonly probe: { readonly grade: number; readonly sentence: number };
}

export interface AnalysisOptions {
  readonly data?: string;
  readonly model: "last" | "best";
  readonly threads?: number;
  /** Maps and probes are made of these; default all. */
  readonly layers?: readonly number[];
}

/** Analyses a finished run on its own corpus. @throws UserError where the folder lacks what is needed */
export async function analyseRun(run: string, options: AnalysisOptions): Promise<RunAnalysis> {
  const folder = options.model === "last" ? join(run, "last") : run;
  if (!existsSync(join(folder, "recipe.yaml")))
    throw new UserError(
      options.model === "last"
        ? `${run}: has no model of its last step; train with checkpoint.last=true, or take --best`
        : `${run}: is no run's folder`,
    );
  const recipe = readRecipe(join(run, "recipe.yaml"));
  const corpus = await openCorpus("main", recipe.corpus, {
    ...{ data: options.data, cache: join(run, ".."), skipBad: false, log: () => {} },
  });
  const inference = await Inference.open(folder, { threads: options.threads, heads: [], layers: "all" });
  try {
    const grader = inference.model.task.objectives.find(({ target }) => target.kind === "class");
    if (grader?.target.kind !== "class") throw new UserError(`${run}: its model has no classes to colour by`);
    const { label, classes } = grader.target.labels;
    const [train, valid] = [
      await pooledStates(inference, corpus.train, "training part"),
      await pooledStates(inference, corpus.valid, "validation part"),
    ];
    const gradesOf = (of: readonly Utterance[]) => of.map(({ labels }) => String(labels?.[label]));
    const sentencesOf = (of: readonly Utterance[]) =>
      of.map(
        ({ text, phones, id }) =>
          text ?? phones?.map((p) => (typeof p === "string" ? p : p.phone)).join(" ") ?? id,
      );
    const grades = { train: gradesOf(corpus.train), valid: gradesOf(corpus.valid) };
    const sentences = { train: sentencesOf(corpus.train), valid: sentencesOf(corpus.valid) };
    const numbers = options.layers ?? train.map((_, layer) => layer);
    const wrong = numbers.find((layer) => !(layer in train));
    if (wrong !== undefined)
      throw new UserError(`--layers ${wrong}: the model has the hidden states 0 to ${train.length - 1}`);
    const layers = numbers.map(
      (layer): LayerAnalysis => ({
        layer,
        pca: principalComponents(train[layer]),
        umap: umap(train[layer]),
        silhouette: {
          grade: silhouette(train[layer], grades.train),
          sentence: silhouette(train[layer], sentences.train),
        },
        probe: {
          grade: probe(train[layer], grades.train, valid[layer] ?? [], grades.valid),
          sentence: probe(train[layer], sentences.train, valid[layer] ?? [], sentences.valid),
        },
      }),
    );
    return {
      ...{
        name: run,
        model: options.model,
        label,
        classes,
        grades: grades.train,
        sentences: sentences.train,
        layers,
      },
      ...lossesOf(run, Object.keys(recipe.objectives), grader.name),
    };
  } finally {
    await inference.dispose();
  }
}

/** Mean over frames of every hidden state: [layers][utterances][dim]. */
async function pooledStates(
  inference: Inference,
  utterances: readonly Utterance[],
  part: string,
): Promise<Float64Array[][]> {
  const layers: Float64Array[][] = [];
  if (utterances.length === 0) return layers;
  const shown = progress({ label: `hearing the ${part}`, total: utterances.length });
  for (const [i, utterance] of utterances.entries()) {
    const samples = await loadUtterance(utterance, { sampleRate: inference.sampleRate });
    const { frames, hidden } = await inference.hear(samples);
    for (const [layer, { data }] of hidden.entries()) {
      const states = data as Float32Array;
      const dim = states.length / frames;
      const mean = new Float64Array(dim);
      for (let t = 0; t < frames; t++) for (let k = 0; k < dim; k++) mean[k] += states[t * dim + k] / frames;
      layers[layer] ??= [];
      layers[layer].push(mean);
    }
    shown.update(i + 1);
  }
  shown.end();
  return layers;
}

/**
 * Accuracy of a softmax regression from one part to another, on columns standardised by the first. Answers that the first part
 * does not have are left out; NaN where none is left.
 */
export function probe(
  train: readonly Float64Array[],
  labels: readonly string[],
  valid: readonly Float64Array[],
  truth: readonly string[],
): number {
  const names = [...new Set(labels)].sort();
  const kept = truth.flatMap((label, i) => (names.includes(label) ? [i] : []));
  if (names.length < 2 || kept.length === 0) return Number.NaN;
  const mean = train[0].map((_, k) => train.reduce((sum, row) => sum + row[k], 0) / train.length);
  const sd = mean.map(
    (m, k) => Math.sqrt(train.reduce((sum, row) => sum + (row[k] - m) ** 2, 0) / train.length) || 1,
  );
  const scale = (rows: readonly Float64Array[]) =>
    rows.map((row) => row.map((x, k) => (x - mean[k]) / sd[k]));
  const model = new Mlp(
    scale(train),
    labels.map((label) => names.indexOf(label)),
    names.length,
    // A fifth of the rows' number as penalty: there are more columns than rows.
    {
      layers: 0,
      activation: "identity",
      solver: "adam",
      learningRate: 0.01,
      alpha: train.length / 5,
      seed: 1,
    },
  );
  const predicted = model.predict(scale(kept.map((i) => valid[i])));
  return predicted.filter((p, i) => names[p] === truth[kept[i]]).length / kept.length;
}

function lossesOf(
  run: string,
  objectives: readonly string[],
  grader: string,
): Pick<RunAnalysis, "losses" | "joins"> {
  const path = join(run, "log.jsonl");
  if (!existsSync(path)) return { losses: {}, joins: 0 };
  const log: LogRecord[] = readFileSync(path, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  const losses = Object.fromEntries(
    objectives.map((name) => [
      name,
      log.flatMap((line): [number, number][] => {
        const value = (line.metrics as Record<string, number> | undefined)?.[`${name}.loss`];
        return line.event === "valid" && typeof value === "number" ? [[line.step, value]] : [];
      }),
    ]),
  );
  const first = log.find(
    ({ event, losses: each }) => event === "train" && grader in ((each ?? {}) as Record<string, number>),
  );
  return { losses, joins: first === undefined ? 0 : first.step - 1 };
}
