import { classificationScores } from "../metrics/classification.ts";
import { pearson } from "../metrics/correlation.ts";
import { errorRate, words } from "../metrics/error-rate.ts";
import type { Objective } from "./recipe-schema.ts";
import type { Target } from "./targets.ts";

/** What a head made of one utterance, in the words of its target. */
export type Answer =
  | { kind: "class"; truth: string; predicted: string; probabilities: Record<string, number> }
  | { kind: "sequence"; expected: string[]; heard: string[]; text: { expected: string; heard: string } }
  | { kind: "number"; truth: number; predicted: number };

/** The metrics of an objective, `loss` aside. */
export function metricNames({ loss, target }: Pick<Objective, "loss" | "target">): string[] {
  if (loss === "cross-entropy") return ["accuracy", "macroF1"];
  if (loss !== "ctc") return ["meanAbsoluteError", "rootMeanSquareError", "pearson"];
  if (target === "phones") return ["per"];
  return target === "characters" ? ["cer", "wer"] : ["wer"];
}

/** Metrics over utterances; those of `metricNames`. */
export function scoreAnswers(target: Target, answers: readonly Answer[]): Record<string, number> {
  if (target.kind === "class") {
    const of = answers.filter((a) => a.kind === "class");
    const { accuracy, macroF1 } = classificationScores(
      of.map((a) => a.truth),
      of.map((a) => a.predicted),
    );
    return { accuracy, macroF1 };
  }
  if (target.kind === "number") {
    const of = answers.filter((a) => a.kind === "number");
    const errors = of.map((a) => a.predicted - a.truth);
    const mean = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length;
    return {
      meanAbsoluteError: mean(errors.map(Math.abs)),
      rootMeanSquareError: Math.sqrt(mean(errors.map((e) => e * e))),
      pearson: pearson(
        of.map((a) => a.truth),
        of.map((a) => a.predicted),
      ),
    };
  }
  const of = answers.filter((a) => a.kind === "sequence");
  const rate = (split: (text: { expected: string; heard: string }, a: (typeof of)[number]) => string[][]) => {
    const pairs = of.map((a) => split(a.text, a));
    return errorRate(
      pairs.map(([expected]) => expected),
      pairs.map(([, heard]) => heard),
    ).rate;
  };
  const symbols = rate((_, a) => [a.expected, a.heard]);
  const { unit } = target.vocabulary.options;
  if (unit === "phones") return { per: symbols };
  if (unit === "tokens") return { wer: symbols };
  return { cer: symbols, wer: rate((text) => [words(text.expected), words(text.heard)]) };
}
