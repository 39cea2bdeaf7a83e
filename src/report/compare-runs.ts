import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { quote, UserError } from "../errors.ts";
import { countEdits } from "../metrics/error-rate.ts";
import {
  type BootstrapOptions,
  bootstrapInterval,
  mcNemar,
  meanOf,
  pairedBootstrap,
  ratioOf,
  type Statistic,
} from "../metrics/significance.ts";
import type { Part } from "../train/data.ts";
import type { PredictionLine } from "../train/finish.ts";
import type { Answer } from "../train/losses/kind.ts";

/** An error with its interval. */
export interface EstimatedError {
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

/** One objective that both runs have, on the utterances that both judged. */
export interface Comparison {
  readonly objective: string;
  /** What the error is: a share of utterances, of reference symbols, or a mean absolute difference. */
  readonly error: "classification error" | "symbol error rate" | "mean absolute error";
  readonly utterances: number;
  readonly first: EstimatedError;
  readonly second: EstimatedError;
  /** The second run's error less the first's; `p` of no difference by the paired bootstrap. */
  readonly difference: EstimatedError & { readonly p: number };
  /** What is drawn: whole speakers where there are ten known ones or more, else utterances. */
  readonly by: "speaker" | "utterance";
  /** McNemar's test, of classes. */
  readonly mcNemar?: number;
}

/** From this many speakers on, intervals are over speakers; one from fewer would say little. */
const ENOUGH_SPEAKERS = 10;

/**
 * Compares two finished runs by their predictions on the same utterances of a part: each error with a 95 % bootstrap
 * interval, and the difference with a paired one.
 * @throws UserError naming the folder without predictions, or the utterance whose truth differs
 */
export function compareRuns(a: string, b: string, part: Part, seed = 1): Comparison[] {
  const [first, second] = [a, b].map((folder) => predictionsOf(folder, part));
  const both = [...first.keys()].filter((id) => second.has(id));
  if (both.length === 0)
    throw new UserError(`${a} and ${b}: have no utterance of the ${part} part in common to be compared on`);
  const names = Object.keys(first.get(both[0])!.answers).filter((name) =>
    both.every((id) => name in first.get(id)!.answers && name in second.get(id)!.answers),
  );
  if (names.length === 0) throw new UserError(`${a} and ${b}: have no objective with predictions in common`);
  const speakers = both.map((id) => first.get(id)!.speaker);
  const enough = speakers.every((s) => s !== undefined) && new Set(speakers).size >= ENOUGH_SPEAKERS;
  const options: BootstrapOptions = { seed, clusters: enough ? speakers.map(String) : undefined };
  return names.map((objective) => {
    const answers = [first, second].map((lines) => both.map((id) => lines.get(id)!.answers[objective]));
    const unlike = both.findIndex((_, i) => truthOf(answers[0][i]) !== truthOf(answers[1][i]));
    if (unlike >= 0)
      throw new UserError(
        `utterance ${quote(both[unlike])} has another true ${objective} in ${b} than in ${a}: these runs answer different questions`,
      );
    const [x, y] = answers.map(statisticOf);
    const estimate = (statistic: Statistic): EstimatedError => {
      const { estimate: value, low, high } = bootstrapInterval(both.length, statistic, options);
      return { value, low, high };
    };
    const { estimate: value, low, high, p } = pairedBootstrap(both.length, y, x, options);
    return {
      objective,
      error: errorOf(answers[0][0]),
      utterances: both.length,
      first: estimate(x),
      second: estimate(y),
      difference: { value, low, high, p },
      by: enough ? "speaker" : "utterance",
      ...(answers[0][0].kind === "class" ? { mcNemar: disagreement(answers[0], answers[1]) } : {}),
    };
  });
}

function predictionsOf(folder: string, part: Part): Map<string, PredictionLine> {
  const path = join(folder, "predictions.jsonl");
  if (!existsSync(path))
    throw new UserError(`${path}: does not exist; a run that \`voxsmith train\` has finished has one`);
  const lines: PredictionLine[] = readFileSync(path, "utf8")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line));
  return new Map(lines.filter((line) => line.part === part).map((line) => [line.id, line]));
}

const wrong = (a: Answer) => Number(a.kind === "class" && a.truth !== a.predicted);

function statisticOf(answers: readonly Answer[]): Statistic {
  const [{ kind }] = answers;
  if (kind === "class") return meanOf(answers.map(wrong));
  if (kind === "number")
    return meanOf(answers.map((a) => (a.kind === "number" ? Math.abs(a.predicted - a.truth) : 0)));
  const edits = answers.map((a) => (a.kind === "sequence" ? countEdits(a.expected, a.heard) : undefined));
  return ratioOf(
    edits.map((e) => e?.errors ?? 0),
    edits.map((e) => e?.referenceTokens ?? 0),
  );
}

const errorOf = ({ kind }: Answer): Comparison["error"] =>
  kind === "class" ? "classification error" : kind === "number" ? "mean absolute error" : "symbol error rate";

function truthOf(answer: Answer): string | number | undefined {
  if (answer.kind === "class" || answer.kind === "number") return answer.truth;
  return answer.kind === "sequence" ? answer.expected.join("\n") : undefined;
}

function disagreement(a: readonly Answer[], b: readonly Answer[]): number {
  const only = (x: readonly Answer[], y: readonly Answer[]) =>
    x.filter((answer, i) => wrong(answer) === 0 && wrong(y[i]) === 1).length;
  return mcNemar(only(a, b), only(b, a)).p;
}
