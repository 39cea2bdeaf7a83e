import { LabelVocabulary, Vocabulary, type VocabularyOptions } from "../corpus/vocab.ts";
import type { Json } from "./checkpoint.ts";

/** What an objective asks of an utterance: symbols, one class, or one number. */
export type Target = SequenceTarget | ClassTarget | NumberTarget;
export interface SequenceTarget {
  readonly kind: "sequence";
  readonly vocabulary: Vocabulary;
}
export interface ClassTarget {
  readonly kind: "class";
  readonly labels: LabelVocabulary;
}
export interface NumberTarget {
  readonly kind: "number";
  readonly label: string;
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
