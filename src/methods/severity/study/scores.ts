import { readFileSync } from "node:fs";
import { groupBy } from "../../../corpus/group.ts";
import {
  type ConfusionMatrix,
  classificationScores,
  confusionMatrix,
  quadraticKappa,
} from "../../../metrics/classification.ts";
import { spearman } from "../../../metrics/correlation.ts";
import { countEdits } from "../../../metrics/error-rate.ts";
import { bootstrapInterval, type Interval } from "../../../metrics/significance.ts";
import { spread } from "../../../metrics/spread.ts";
import type { PredictionLine } from "../../../train/finish.ts";
import type { Roles } from "./roles.ts";

/** What a system said of one utterance. */
export interface Graded {
  readonly id: string;
  readonly speaker: string;
  readonly truth: string;
  readonly predicted: string;
  /** By class; a support vector machine has none. */
  readonly probabilities?: Readonly<Record<string, number>>;
  /** Edits and length of what it wrote down, where it writes. */
  readonly edits?: { readonly errors: number; readonly expected: number };
}

/** Scores of one part of the corpus; shares, not percent. */
export interface SeverityScores {
  utterances: number;
  speakers: number;
  accuracy: number;
  /** Unweighted means over the classes that occur in truth or answers, as scikit-learn's. */
  macroPrecision: number;
  macroRecall: number;
  macroF1: number;
  /** Quadratic-weighted kappa and rank correlation over the ordered classes; NaN where a side is constant. */
  kappa: number;
  spearman: number;
  /** All edits over all symbols; absent where nothing is written down. */
  per?: number;
  /** Share of speakers graded right: by most utterances, and by the mean of the utterances' probabilities. */
  speakerVote: number;
  speakerMean?: number;
}

export function severityScores(items: readonly Graded[], classes: readonly string[]): SeverityScores {
  const [truth, predicted] = [items.map((one) => one.truth), items.map((one) => one.predicted)];
  const { accuracy, macroPrecision, macroRecall, macroF1 } = classificationScores(truth, predicted);
  const place = (grade: string) => classes.indexOf(grade);
  const written = items.flatMap(({ edits }) => edits ?? []);
  const speakers = [...groupBy(items, ({ speaker }) => speaker).values()];
  const right = (call: (of: readonly Graded[]) => string | undefined) =>
    speakers.filter((of) => call(of) === of[0].truth).length / speakers.length;
  return {
    utterances: items.length,
    speakers: speakers.length,
    accuracy,
    macroPrecision,
    macroRecall,
    macroF1,
    kappa: quadraticKappa(truth, predicted, classes),
    spearman: spearman(truth.map(place), predicted.map(place)),
    ...(written.length > 0 && {
      per:
        written.reduce((sum, { errors }) => sum + errors, 0) /
        written.reduce((sum, { expected }) => sum + expected, 0),
    }),
    speakerVote: right((of) => speakerVote(of, classes)),
    ...(items.every(({ probabilities }) => probabilities !== undefined) && {
      speakerMean: right((of) => speakerMean(of, classes)),
    }),
  };
}

/** The class that most of a speaker's utterances got; among equals the milder one. */
export function speakerVote(of: readonly Graded[], classes: readonly string[]): string {
  const votes = classes.map((grade) => of.filter(({ predicted }) => predicted === grade).length);
  return classes[votes.indexOf(Math.max(...votes))];
}

/** The class with the greatest mean probability over a speaker's utterances. */
export function speakerMean(of: readonly Graded[], classes: readonly string[]): string | undefined {
  if (of.some(({ probabilities }) => probabilities === undefined)) return undefined;
  const sums = classes.map((grade) => of.reduce((sum, one) => sum + (one.probabilities?.[grade] ?? 0), 0));
  return classes[sums.indexOf(Math.max(...sums))];
}

export type Bounded = "accuracy" | "macroF1" | "kappa" | "per";

/** Intervals of the main scores, drawn by speaker: utterances of one voice are not independent. */
export function intervals(
  items: readonly Graded[],
  classes: readonly string[],
  seed = 1,
): Partial<Record<Bounded, Interval>> {
  const clusters = items.map(({ speaker }) => speaker);
  const over = (name: Bounded, resamples: number) =>
    bootstrapInterval(
      items.length,
      (units) =>
        severityScores(
          units.map((i) => items[i]),
          classes,
        )[name] ?? Number.NaN,
      { clusters, resamples, seed },
    );
  return {
    accuracy: over("accuracy", 500),
    macroF1: over("macroF1", 500),
    kappa: over("kappa", 500),
    ...(items.some(({ edits }) => edits !== undefined) && { per: over("per", 500) }),
  };
}

export const confusion = (items: readonly Graded[], classes: readonly string[]): ConfusionMatrix<string> =>
  confusionMatrix(
    items.map(({ truth }) => truth),
    items.map(({ predicted }) => predicted),
    classes,
  );

/** Answers of a part out of a run's `predictions.jsonl`. */
export function readGraded(path: string, part: PredictionLine["part"], roles: Roles): Graded[] {
  const lines: PredictionLine[] = readFileSync(path, "utf8")
    .trim()
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line));
  return lines
    .filter((line) => line.part === part)
    .flatMap(({ id, speaker = id, answers }) => {
      const [grade, written] = [answers[roles.severity], answers[roles.phonemes]];
      if (grade?.kind !== "class") return [];
      const edits =
        written?.kind === "sequence"
          ? { errors: countEdits(written.expected, written.heard).errors, expected: written.expected.length }
          : undefined;
      return [{ id, speaker, ...grade, ...(edits && { edits }) }];
    });
}

/** Mean and sample standard deviation over folds and seeds. */
export interface Spread {
  mean: number;
  /** 0 for a single value. */
  sd: number;
  values: number[];
}

export function spreadOf(values: readonly number[]): Spread {
  const known = values.filter(Number.isFinite);
  const { mean, sd } = spread(known);
  return { mean, sd: sd ?? 0, values: [...values] };
}
