import type { Utterance } from "../corpus/manifest.ts";
import {
  buildLabels,
  buildVocabulary,
  LabelVocabulary,
  Vocabulary,
  type VocabularyOptions,
} from "../corpus/vocab.ts";
import { quote, UserError } from "../errors.ts";
import type { Json } from "./checkpoint.ts";
import type { Objective } from "./recipe-schema.ts";

/** What an objective asks of an utterance: symbols, one class, or one number. */
export type Target =
  | { readonly kind: "sequence"; readonly vocabulary: Vocabulary }
  | { readonly kind: "class"; readonly labels: LabelVocabulary }
  | { readonly kind: "number"; readonly label: string };

/** Reads an objective's symbols or classes off the training utterances. @throws UserError naming the utterance */
export function targetOf(objective: Objective, utterances: readonly Utterance[]): Target {
  if (objective.loss === "ctc")
    return { kind: "sequence", vocabulary: buildVocabulary(utterances, unitOf(objective)) };
  const label = objective.target.slice("labels.".length);
  return objective.loss === "cross-entropy"
    ? { kind: "class", labels: buildLabels(utterances, label) }
    : { kind: "number", label };
}

const unitOf = (o: Objective): VocabularyOptions => ({
  unit: o.target as VocabularyOptions["unit"],
  letterCase: o.letterCase,
  dropStress: o.dropStress,
});

/** Outputs that a head needs for a target. */
export const targetSize = (target: Target): number =>
  target.kind === "sequence"
    ? target.vocabulary.size
    : target.kind === "class"
      ? target.labels.classes.length
      : 1;

/** An utterance's target as numbers: symbols, [class] or [value]. @throws UserError naming the utterance */
export function encodeTarget(target: Target, utterance: Utterance): number[] {
  switch (target.kind) {
    case "sequence":
      return target.vocabulary.encode(utterance);
    case "class":
      return [target.labels.encode(utterance)];
    case "number": {
      const value = Number(utterance.labels?.[target.label] ?? Number.NaN);
      if (!Number.isFinite(value))
        throw new UserError(
          `utterance ${quote(utterance.id)} has ${target.label} ${quote(utterance.labels?.[target.label])}, which is not a number`,
        );
      return [value];
    }
  }
}

/** Targets as plain data, kept in a run's folder so that `eval` needs no training data. */
export function targetToJson(target: Target): Json {
  switch (target.kind) {
    case "sequence":
      return {
        kind: "sequence",
        symbols: [...target.vocabulary.symbols],
        options: { ...target.vocabulary.options },
      };
    case "class":
      return { kind: "class", label: target.labels.label, classes: [...target.labels.classes] };
    case "number":
      return { kind: "number", label: target.label };
  }
}

type TargetJson =
  | { kind: "sequence"; symbols: string[]; options: Required<VocabularyOptions> }
  | { kind: "class"; label: string; classes: string[] }
  | { kind: "number"; label: string };

export function targetFromJson(json: Json): Target {
  const data = json as unknown as TargetJson;
  if (data.kind === "sequence")
    return { kind: "sequence", vocabulary: new Vocabulary(data.symbols, data.options) };
  if (data.kind === "class") return { kind: "class", labels: new LabelVocabulary(data.label, data.classes) };
  return data;
}
