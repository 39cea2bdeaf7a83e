import { groupBy } from "../../../corpus/group.ts";
import type { Utterance } from "../../../corpus/manifest.ts";
import { speakerFolds } from "../../../corpus/splits.ts";
import { LabelVocabulary, symbolsOf } from "../../../corpus/vocab.ts";
import { quote, UserError } from "../../../errors.ts";
import { lossOf } from "../../../train/losses/index.ts";
import type { Recipe } from "../../../train/recipe.ts";
import type { Roles } from "./roles.ts";

/** What is wrong with graded speech is said here, in one sentence and before anything is trained. */

/** The grade of each speaker. @throws UserError for an utterance without speaker or grade, or a speaker with two grades */
export function gradesOf(
  utterances: readonly Utterance[],
  { label, classes }: Pick<Roles, "label" | "classes">,
): Map<string, string> {
  const labels = new LabelVocabulary(label, classes);
  const first = new Map<string, { grade: string; id: string }>();
  for (const utterance of utterances) {
    const grade = classes[labels.encode(utterance)];
    const { id, speaker } = utterance;
    if (speaker === undefined)
      throw new UserError(
        `utterance ${quote(id)} names no speaker; folds without shared voices need every speaker`,
      );
    const known = first.get(speaker);
    if (known === undefined) first.set(speaker, { grade, id });
    else if (known.grade !== grade)
      throw new UserError(
        `speaker ${quote(speaker)} has ${label} ${known.grade} in utterance ${quote(known.id)} and ${grade} in ${quote(id)}: two people share an id, or one was graded twice; give each person (or each session) an id of its own`,
      );
  }
  return new Map([...first].map(([speaker, { grade }]) => [speaker, grade]));
}

/** @throws UserError for a transcript without symbols, or with one that the recipe's `corpus.symbols` lacks */
export function checkTranscripts(
  utterances: readonly Utterance[],
  recipe: Recipe,
  { phonemes }: Roles,
): void {
  const objective = recipe.objectives[phonemes];
  const kind = lossOf(objective);
  const target =
    recipe.corpus.symbols && kind.target(objective, { utterances: [], corpus: recipe.corpus, config: {} });
  for (const utterance of utterances) {
    const symbols = symbolsOf(utterance, unitOf(recipe, phonemes));
    if (symbols.length === 0)
      throw new UserError(
        `utterance ${quote(utterance.id)} has an empty transcript; write down what was said, or leave the recording out of the manifest`,
      );
    if (target) kind.encode(target, utterance);
  }
}

/** How an objective's symbols are read off an utterance. */
export function unitOf(recipe: Recipe, objective: string) {
  const spec = recipe.objectives[objective];
  if (spec.loss !== "ctc") throw new UserError(`objectives.${objective}.loss: must be ctc`);
  const { target, letterCase, dropStress } = spec;
  return { unit: target as "phones" | "characters" | "tokens", letterCase, dropStress };
}

/** Every symbol of the corpus in code-point order: a CTC head that lacks one that is only tested could never write it. */
export function symbolsIn(utterances: readonly Utterance[], recipe: Recipe, { phonemes }: Roles): string[] {
  const unit = unitOf(recipe, phonemes);
  const found = new Set(utterances.flatMap((utterance) => symbolsOf(utterance, unit)));
  if (unit.unit === "characters") found.delete("|");
  return [...found].sort((a, b) => (a < b ? -1 : 1));
}

export interface FoldSpec {
  readonly folds: number;
  readonly seed: number;
  readonly stratify: readonly string[];
}

/**
 * The fold of each speaker. @throws UserError where a class has a single speaker, or lacks one in some fold: there it could
 * be neither learned nor tested
 */
export function foldsOf(
  utterances: readonly Utterance[],
  grades: ReadonlyMap<string, string>,
  { label, classes }: Pick<Roles, "label" | "classes">,
  { folds, seed, stratify }: FoldSpec,
): Map<string, number> {
  const speakers = groupBy(grades.keys(), (speaker) => grades.get(speaker)!);
  for (const grade of classes) {
    const here = speakers.get(grade) ?? [];
    if (here.length === 0)
      throw new UserError(
        `${label} ${grade} has no speaker in this corpus; take it out of corpus.classes.${label}, or add recordings`,
      );
    if (here.length === 1)
      throw new UserError(
        `${label} ${grade} has a single speaker, ${quote(here[0])}: what is learned of one voice cannot be tested on another; add speakers, or merge the class with its neighbour`,
      );
  }
  const dealt = speakerFolds(utterances, { folds, seed, stratify: [...stratify] });
  for (let fold = 0; fold < folds; fold++)
    for (const grade of classes) {
      const here = speakers.get(grade)!;
      if (here.some((speaker) => dealt.get(speaker) === fold)) continue;
      const most = Math.min(...classes.map((each) => speakers.get(each)!.length));
      throw new UserError(
        `fold ${fold} has no speaker of ${label} ${grade}, which has ${here.length} in all: ${
          here.length >= folds
            ? `name ${label} first in corpus.split.stratify`
            : most >= 3
              ? `corpus.split.folds can be at most ${most} here`
              : "add speakers, or merge the class with its neighbour"
        }`,
      );
    }
  return dealt;
}
