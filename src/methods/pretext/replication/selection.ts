import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { RunError } from "../../../errors.ts";
import { ownVersion } from "../../../train/versions.ts";
import { writeAtomically } from "../../../weights/file.ts";
import { type CandidateName, plusCandidates, spectralNames, speechCandidates } from "../candidates.ts";
import { collectUnits } from "../collect.ts";
import { type EstimateOptions, Estimator, referenceOptions, type Units } from "../estimate.ts";
import {
  type Choice,
  choose,
  estimateCandidates,
  type Method,
  methods,
  type SelectOptions,
} from "../select.ts";
import { unitsOf } from "../units.ts";
import type { Data } from "./data.ts";
import type { Size, Task } from "./size.ts";

export type Weights = Readonly<Record<string, number>>;

/** Groups of Table V: sparsemax over three more candidates, and over four spectra beside the labels that sparsemax chose. */
export const EXTENDED = ["sparsemax+", "spectral+"] as const;
export type Extended = (typeof EXTENDED)[number];

/** What a selection found for one task. */
export interface Selected {
  readonly weights: Readonly<Record<Method, Weights>>;
  readonly extended: Readonly<Record<Extended, Weights>>;
  /** Of every label that a model may learn, the three more among them. */
  readonly estimates: Weights;
}

/** All that is described of each unit. */
export const described: readonly CandidateName[] = [...speechCandidates, ...plusCandidates, ...spectralNames];

/** The weights.json of a group, in the folder of its task's selection. */
export const weightsFile = (group: Method | Extended): string =>
  group === "sparsemax+" || group === "spectral+" ? `weights-${group}.json` : "weights.json";

const SETTINGS = {
  penalty: 0,
  optimise: { optimizer: "sgd", referenceStart: true, tolerance: 0, restarts: 4 },
} as const satisfies SelectOptions;

/**
 * `voxsmith select --reference` for a task, written as the weights.json that recipes take. As the released code does it: with correct
 * centring and the penalty of our default softmax and sparsemax find the same weights, and there would be nothing to compare.
 * @throws RunError where it was stopped
 */
export async function selectFor(
  task: Task,
  { selection }: Data,
  size: Size,
  folder: string,
  { threads, signal }: { threads: number; signal: AbortSignal },
): Promise<Selected> {
  const { utterances, label, frames } = selection[task];
  const sources = unitsOf(utterances, { task: label, perClass: size.perClass[task] });
  mkdirSync(folder, { recursive: true });
  const units = await collectUnits(sources, { candidates: described, frames, threads, signal, folder });
  if (units === undefined) throw new RunError(`selection for ${task}: stopped; the same command goes on`);
  const among = (...names: readonly CandidateName[]): Units => ({
    ...units,
    candidates: units.candidates.filter(({ name }) => names.includes(name as CandidateName)),
  });
  const put = (
    group: Method | Extended,
    choices: readonly Choice[],
    always: Weights,
    settings: EstimateOptions,
  ) => {
    const [{ method, weights }] = choices;
    const json = { task: label, method, always, weights, choices, settings };
    writeAtomically(join(folder, weightsFile(group)), (write) =>
      write(Buffer.from(`${JSON.stringify({ ...json, version: ownVersion() }, null, 1)}\n`)),
    );
    return weights;
  };
  const options = { ...SETTINGS, threads, signal };
  const labels = among(...speechCandidates);
  const estimator = new Estimator(labels, referenceOptions);
  const estimates = estimateCandidates(estimator);
  // Sparsemax first: a file's own weights are those of its first choice.
  const choices: Choice[] = [];
  for (const method of methods) choices.push(await choose(method, estimator, estimates, options));
  const sparsemax = put("sparsemax", choices, { mel: 1, mfcc: 1 }, referenceOptions);
  const wider = among(...speechCandidates, ...plusCandidates);
  const plusEstimator = new Estimator(wider, referenceOptions);
  const plusEstimates = estimateCandidates(plusEstimator);
  const plus = await choose("sparsemax", plusEstimator, plusEstimates, options);
  // The labels keep what sparsemax gave them (section VIII-B). Their kernel at the released code's one bandwidth calls all units
  // different, so that weights of spectra would stay where chance starts them: here bandwidths are each candidate's own.
  const spectra = among(...speechCandidates, ...spectralNames);
  const own = new Estimator(spectra);
  const spectral = await choose("sparsemax", own, estimateCandidates(own), {
    threads,
    signal,
    fixed: sparsemax,
    optimise: { restarts: 4 },
  });
  return {
    weights: Object.fromEntries(
      choices.map(({ method, weights }) => [method, weights]),
    ) as Selected["weights"],
    extended: {
      "sparsemax+": put("sparsemax+", [plus], { mel: 1, mfcc: 1 }, referenceOptions),
      // Mel alone is always there (eq. 13).
      "spectral+": put("spectral+", [spectral], { mel: 1 }, {}),
    },
    estimates: Object.fromEntries(plusEstimates.map(({ name, value }) => [name, value])),
  };
}
