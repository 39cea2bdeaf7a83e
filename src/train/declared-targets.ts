import { buildVocabulary, LabelVocabulary } from "../corpus/vocab.ts";
import type { CorpusSpec, Objective } from "./recipe-schema.ts";
import type { Target } from "./targets.ts";

/**
 * The target that a recipe's corpus declares (`classes`, `symbols`), where it declares one: an ordinal scale keeps its order and
 * its empty grades, and a rare phone that no training utterance has is no fault.
 */
export function declaredTarget(objective: Objective, { classes, symbols }: CorpusSpec): Target | undefined {
  const { loss, target } = objective;
  const label = target.startsWith("labels.") ? target.slice("labels.".length) : undefined;
  if (loss === "cross-entropy" && label !== undefined && classes?.[label] !== undefined)
    return { kind: "class", labels: new LabelVocabulary(label, classes[label]) };
  if (loss !== "ctc" || symbols === undefined || (target !== "phones" && target !== "tokens"))
    return undefined;
  const { letterCase, dropStress } = objective;
  const inventory = { id: "symbols", audio: "", phones: [...symbols], text: symbols.join(" ") };
  return {
    kind: "sequence",
    vocabulary: buildVocabulary([inventory], { unit: target, letterCase, dropStress }),
  };
}
