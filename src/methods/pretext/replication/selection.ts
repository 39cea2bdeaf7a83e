import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { RunError } from "../../../errors.ts";
import { ownVersion } from "../../../train/versions.ts";
import { writeAtomically } from "../../../weights/file.ts";
import { speechCandidates } from "../candidates.ts";
import { collectUnits } from "../collect.ts";
import { Estimator, referenceOptions } from "../estimate.ts";
import { choose, estimateCandidates, type Method, methods } from "../select.ts";
import { unitsOf } from "../units.ts";
import type { Data } from "./data.ts";
import type { Size, Task } from "./size.ts";

/** What a selection found for one task. */
export interface Selected {
  readonly weights: Readonly<Record<Method, Readonly<Record<string, number>>>>;
  readonly estimates: Readonly<Record<string, number>>;
}

/**
 * `voxsmith select --reference` for a task, written as the weights.json that recipes take. As the released code does it: with correct
 * centring and the penalty of our default softmax and sparsemax find the same weights, and there would be nothing to compare.
 * @throws RunError where it was stopped
 */
export async function selectFor(
  task: Task,
  { selection }: Data,
  size: Size,
  path: string,
  { threads, signal }: { threads: number; signal: AbortSignal },
): Promise<Selected> {
  const { utterances, label, frames } = selection[task];
  const sources = unitsOf(utterances, { task: label, perClass: size.perClass[task] });
  const folder = dirname(path);
  mkdirSync(folder, { recursive: true });
  const units = await collectUnits(sources, {
    ...{ candidates: [...speechCandidates], frames, threads, signal, folder },
  });
  if (units === undefined) throw new RunError(`selection for ${task}: stopped; the same command goes on`);
  const estimator = new Estimator(units, referenceOptions);
  const estimates = estimateCandidates(estimator);
  const options = {
    penalty: 0,
    optimise: { optimizer: "sgd", referenceStart: true, tolerance: 0, restarts: 4 },
  } as const;
  const choices = methods.map((method) => choose(method, units, estimator, estimates, options));
  const json = {
    ...{ task: label, method: "sparsemax", always: { mel: 1, mfcc: 1 } },
    weights: choices.find(({ method }) => method === "sparsemax")!.weights,
    ...{ choices, estimates, settings: referenceOptions, version: ownVersion() },
  };
  writeAtomically(path, (put) => put(Buffer.from(`${JSON.stringify(json, null, 1)}\n`)));
  return {
    weights: Object.fromEntries(
      choices.map(({ method, weights }) => [method, weights]),
    ) as Selected["weights"],
    estimates: Object.fromEntries(estimates.map(({ name, value }) => [name, value])),
  };
}
