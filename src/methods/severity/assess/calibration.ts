import { join } from "node:path";
import { calibration, fitTemperature, softmax } from "../../../metrics/calibration.ts";
import type { PredictionLine } from "../../../train/finish.ts";
import { readTargets } from "../../../train/open-model.ts";
import { runFile } from "../../../train/pack.ts";
import { writeAtomically } from "../../../weights/file.ts";

/** Calibration of a run's class probabilities by one temperature (Guo et al. 2017), fitted on its validation part. */
export interface Temperature {
  /** Scores are divided by it before the softmax; above 1 makes answers less sure. */
  readonly temperature: number;
  /** Validation utterances that it was fitted on; 0 where there are none, and probabilities stay as they are. */
  readonly utterances: number;
  /** Expected calibration error (15 bins) on them, before and after. */
  readonly errorBefore: number;
  readonly errorAfter: number;
}

/** Probabilities of 0 were rounded there. */
const LEAST = 1e-6;

const FILE = "calibration.json";

/**
 * The temperature of a run's classifier: kept in `calibration.json`, fitted from `predictions.jsonl` when first asked for. A pack
 * brings that of its run along.
 */
export function temperatureOf(run: string, objective: string): Temperature {
  const kept: Record<string, Temperature> = JSON.parse(runFile(run, FILE) ?? "{}");
  if (kept[objective] !== undefined) return kept[objective];
  const fitted = fittedOn(validationScores(run, objective));
  if (fitted.utterances > 0)
    try {
      const text = `${JSON.stringify({ ...kept, [objective]: fitted }, null, 2)}\n`;
      writeAtomically(join(run, FILE), (put) => put(Buffer.from(text)));
    } catch {
      // A run in a folder that may not be written to is fitted anew each time.
    }
  return fitted;
}

/** Fits and keeps the temperature of every classifier of a run; nothing where it has none. */
export function calibrateRun(run: string): void {
  if (runFile(run, "targets.json") === undefined) return;
  for (const [name, target] of readTargets(run)) if (target.kind === "class") temperatureOf(run, name);
}

/** Log-probabilities, which are scores up to a constant, and true classes. */
export interface Scored {
  readonly scores: number[][];
  readonly truth: number[];
}

export function fittedOn({ scores, truth }: Scored): Temperature {
  const temperature = fitTemperature(scores, truth);
  const error = (t: number) =>
    truth.length === 0
      ? Number.NaN
      : calibration(
          scores.map((row) => softmax(row, t)),
          truth,
        ).expectedError;
  return { temperature, utterances: truth.length, errorBefore: error(1), errorAfter: error(temperature) };
}

function validationScores(run: string, objective: string): Scored {
  const scored: Scored = { scores: [], truth: [] };
  for (const text of (runFile(run, "predictions.jsonl") ?? "").split("\n")) {
    if (text.trim() === "") continue;
    const { part, answers }: PredictionLine = JSON.parse(text);
    const answer = answers[objective];
    if (part !== "valid" || answer?.kind !== "class") continue;
    const classes = Object.keys(answer.probabilities);
    scored.scores.push(classes.map((name) => Math.log(Math.max(LEAST, answer.probabilities[name]))));
    scored.truth.push(classes.indexOf(answer.truth));
  }
  return scored;
}
