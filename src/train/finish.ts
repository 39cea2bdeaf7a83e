import { copyFileSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { writeAtomically } from "../weights/file.ts";
import { logMelRidge } from "./baseline.ts";
import type { Part, Stream } from "./data.ts";
import type { Evaluation, Evaluator, Prediction } from "./evaluation.ts";
import { exportModel } from "./export.ts";
import { LINEAGE_FILE } from "./lineage.ts";
import type { Answer } from "./losses/kind.ts";
import { writeMasks } from "./mask-file.ts";
import type { Prepared } from "./prepare.ts";
import type { RunFolder } from "./run-folder.ts";

/** A line of `predictions.jsonl`. */
export interface PredictionLine {
  id: string;
  part: Part;
  speaker?: string;
  /** The corpus, where it is not the main one. */
  stream?: string;
  answers: Record<string, Answer>;
}

/**
 * What is left when training is over: the model in Hugging Face's form, its predictions on validation and test parts, and
 * the metrics, named `test.OBJECTIVE.METRIC` (`baseline.` before those of the recipe's baseline).
 */
export async function finishRun(
  prepared: Prepared,
  evaluator: Evaluator,
  run: RunFolder,
  log: (line: string) => void,
): Promise<Record<string, number>> {
  const { streams } = prepared;
  exportTrained(run.path, prepared);
  const metrics: Record<string, number> = {};
  const predictions: Prediction[] = [];
  for (const part of ["valid", "test"] as const) {
    const result = await evaluator.evaluate(streams, part);
    if (result === undefined) continue;
    predictions.push(...result.predictions);
    for (const [name, value] of Object.entries(result.metrics)) metrics[`${part}.${name}`] = value;
    log(`${part}: ${metricsLine(result)}`);
  }
  writePredictions(run.file("predictions.jsonl"), streams, predictions);
  Object.assign(metrics, await baseline(prepared, log));
  return metrics;
}

/** The model in Hugging Face's form, and what a plan learned that this form has no place for. */
function exportTrained(folder: string, { task, store, streams, masks }: Prepared): void {
  exportModel(folder, task, store, streams[0]);
  if (masks !== undefined) writeMasks(folder, masks, store, task.model.upstream.prefix);
}

/** The model as the last update left it, in a folder that reads like a run's own. */
export function exportLast(run: RunFolder, prepared: Prepared): void {
  const folder = run.file("last");
  mkdirSync(folder, { recursive: true });
  exportTrained(folder, prepared);
  for (const name of ["recipe.yaml", LINEAGE_FILE]) copyFileSync(run.file(name), join(folder, name));
}

export function metricsLine({ metrics, predictions }: Evaluation): string {
  const parts = Object.entries(metrics).map(([name, value]) => `${name} ${value.toFixed(4)}`);
  return `${parts.join(", ")} (${predictions.length} utterances)`;
}

/** Predictions as lines of JSON, one an utterance. */
export function writePredictions(
  path: string,
  streams: readonly Stream[],
  predictions: readonly Prediction[],
): void {
  const lines = predictions.map(({ stream, part, index, answers }): PredictionLine => {
    const { id, speaker } = streams.find(({ name }) => name === stream)!.items[index].utterance;
    // What frames add up to is in the metrics; it says nothing about one utterance.
    const told = Object.entries(answers).filter(([, answer]) => answer.kind !== "frames");
    const where = stream === "main" ? {} : { stream };
    return { id, part, speaker, ...where, answers: Object.fromEntries(told) };
  });
  writeAtomically(path, (put) => {
    for (const line of lines) put(Buffer.from(`${JSON.stringify(line)}\n`));
  });
}

async function baseline(
  { recipe, task, streams }: Prepared,
  log: (line: string) => void,
): Promise<Record<string, number>> {
  const metrics: Record<string, number> = {};
  if (recipe.baseline === "none") return metrics;
  for (const { name, target, spec } of task.objectives) {
    if (target.kind !== "class") continue;
    const stream = streams.find((each) => each.name === spec.stream)!;
    const { accuracy, penalty } = await logMelRidge(
      stream,
      (i) => stream.items[i].targets[name][0],
      target.labels.classes.length,
    );
    for (const part of ["valid", "test"] as const) {
      const value = accuracy[part];
      if (value !== undefined) metrics[`baseline.${part}.${name}.accuracy`] = value;
    }
    const shown = Object.entries(metrics).map(([key, value]) => `${key.slice(9)} ${value.toFixed(4)}`);
    log(`baseline, log-mel statistics and ridge regression (penalty ${penalty}): ${shown.join(", ")}`);
  }
  return metrics;
}
