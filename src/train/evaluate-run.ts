import { availableParallelism } from "node:os";
import { join } from "node:path";
import { UserError } from "../errors.ts";
import { type DataOptions, PARTS, type Part } from "./data.ts";
import { Evaluator, type Prediction } from "./evaluation.ts";
import { importModel } from "./export.ts";
import { writePredictions } from "./finish.ts";
import { decodingOf, type LmOptions } from "./lm-decoding.ts";
import { readTargets, selfContainedRecipe } from "./open-model.ts";
import { closeStreams, load } from "./prepare.ts";
import { readRecipe } from "./recipe.ts";
import { readRun } from "./run-folder.ts";

export interface RunEvaluation {
  readonly run: string;
  readonly part: Part;
  readonly utterances: number;
  readonly metrics: Readonly<Record<string, number>>;
}

/**
 * Evaluates a finished run's model on a part of its corpus, or of another one in `data` with the same kind of manifest.
 * @throws UserError where the folder holds no finished run, or the corpus has targets that the model does not know
 */
export async function evaluateRun(
  folder: string,
  part: Part,
  options: Omit<DataOptions, "cache"> & {
    threads?: number;
    /** Where to write what it says of each utterance, in the form of `predictions.jsonl`. */
    predictionsFile?: string;
    /** How heads are decoded. */
    decoding?: LmOptions;
  },
): Promise<RunEvaluation & { predictions: readonly Prediction[] }> {
  const info = readRun(folder);
  if (info === undefined) throw new UserError(`${folder}: holds no run (there is no run.json)`);
  if (info.status !== "finished")
    throw new UserError(
      `${folder}: holds a run that is ${info.status}, not finished; finish it with \`voxsmith train\``,
    );
  const recipe = selfContainedRecipe(folder);
  const loaded = await load(recipe, {
    ...options,
    cache: join(folder, ".."),
    targets: readTargets(folder),
    parts: [part],
    // The run's own weights replace the upstream's.
    weights: false,
    model: readRecipe(join(folder, "recipe.yaml")).upstream.model,
  });
  try {
    const { task, store, streams } = loaded;
    importModel(folder, task, store);
    const threads = options.threads ?? (recipe.threads || availableParallelism());
    const { dispose, ...decoding } = await decodingOf(task, options.decoding, threads);
    const evaluator = new Evaluator(task, store, { threads, batch: recipe.evaluate.batch, ...decoding });
    try {
      const result = await evaluator.evaluate(streams, part);
      if (result === undefined) throw new UserError(`${folder}: its corpus has no ${part} part`);
      const { metrics, predictions } = result;
      if (options.predictionsFile !== undefined)
        writePredictions(options.predictionsFile, streams, predictions);
      return { run: folder, part, utterances: predictions.length, metrics, predictions };
    } finally {
      await evaluator.dispose();
      await dispose();
    }
  } finally {
    await closeStreams(loaded.streams);
  }
}

export const partOf = (name: string): Part => {
  const part = PARTS.find((each) => each === name);
  if (part === undefined) throw new UserError(`--split ${name}: must be one of ${PARTS.join(", ")}`);
  return part;
};
