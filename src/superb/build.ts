import type { Utterance } from "../corpus/manifest.ts";
import {
  buildVocabulary,
  LabelVocabulary,
  symbolsOf,
  type Vocabulary,
  type VocabularyOptions,
  type VocabularySettings,
} from "../corpus/vocab.ts";
import { UserError } from "../errors.ts";
import { characters, type ErrorCounts, words } from "../metrics/error-rate.ts";
import { classLearner, type Question } from "./class-task.ts";
import { type CtcHead, ctcLearner, errors, headFor } from "./ctc-task.ts";
import type { Heard } from "./features.ts";
import type { Learner, Part, ProbeRecipe, ProbeTask } from "./task.ts";

/** Utterances by part; what a task is made of. */
export type Parts = Readonly<Record<Part, readonly Utterance[]>>;

/** The utterances of a task in one list, and where its parts are in it. */
export function listed(parts: Parts, recipe: ProbeRecipe): Pick<ProbeTask, "items" | "parts"> {
  const items: Heard[] = [];
  const indices: Record<Part, number[]> = { train: [], valid: [], test: [] };
  for (const part of ["train", "valid", "test"] as const)
    for (const utterance of parts[part]) {
      indices[part].push(items.length);
      // Only training recordings are cut: a score is of whole recordings.
      items.push({
        utterance,
        ...(part === "train" && recipe.maxSamples && { maxSamples: recipe.maxSamples }),
      });
    }
  return { items, parts: indices };
}

type Named = Pick<ProbeTask, "name" | "foldOf" | "recipe" | "notes" | "columns">;

/** A task with an answer in words: the label of an utterance, or several of them. */
export function classTask(
  base: Named & {
    projection: number;
    labels: readonly string[];
    answerOf: (utterance: Utterance, label: string) => string;
    headline?: string;
  },
  parts: Parts,
): ProbeTask {
  const { labels, answerOf, projection, headline = "accuracy", ...named } = base;
  const { items, parts: indices } = listed(parts, base.recipe);
  if (indices.train.length === 0) throw new UserError(`${base.name}: no utterance to train on`);
  const utterances = items.map(({ utterance }) => utterance);
  const questions = labels.map((name): Question => {
    const classes = classesOf(indices.train.map((i) => answerOf(utterances[i], name)));
    return { name, classes, answers: utterances.map((u) => classes.indexOf(answerOf(u, name))) };
  });
  const ids = utterances.map(({ id }) => id);
  return {
    ...named,
    items,
    parts: indices,
    headline: { metric: headline, higher: true },
    classOf: (item) => questions[0].answers[item],
    learner: () => classLearner({ projection, questions, ids }),
  };
}

/** In natural order: 2 before 10. */
function classesOf(values: readonly string[]): string[] {
  const natural = new Intl.Collator("en", { numeric: true });
  return [...new Set(values)].sort((a, b) => natural.compare(a, b) || (a < b ? -1 : 1));
}

/** The label of an utterance. @throws UserError naming both */
export function labelOf(utterance: Utterance, label: string): string {
  const value = utterance.labels?.[label];
  if (value === undefined) new LabelVocabulary(label, []).encode(utterance); // throws the sentence
  return String(value);
}

/** Who speaks, by the label or else by the utterance's own key. @throws UserError naming the utterance */
export function speakerOf({ id, labels, speaker }: Utterance): string {
  const name = labels?.speaker ?? speaker;
  if (name === undefined) throw new UserError(`utterance "${id}" has no speaker`);
  return String(name);
}

export interface SequenceTask extends Named {
  readonly head: CtcHead;
  readonly vocabulary: VocabularyOptions;
  /** Error rates by name. */
  readonly rates: Readonly<Record<string, "phones" | "words" | "characters">>;
  readonly headline: string;
}

const cutters = { phones: words, words, characters } as const;

/** A task whose answer is a sequence, learned by CTC. */
export function sequenceTask(base: SequenceTask, parts: Parts): ProbeTask {
  const { head, vocabulary: options, rates, headline, ...named } = base;
  const { items, parts: indices } = listed(parts, base.recipe);
  const utterances = items.map(({ utterance }) => utterance);
  const vocabulary = buildVocabulary(
    indices.train.map((i) => utterances[i]),
    { ...options, unknown: true },
  );
  return {
    ...named,
    items,
    parts: indices,
    headline: { metric: headline, higher: false },
    learner: ({ hop, sampleRate }) =>
      sequenceLearner(headFor(head, hop / sampleRate), vocabulary, utterances, rates),
  };
}

function sequenceLearner(
  head: CtcHead,
  vocabulary: Vocabulary,
  utterances: readonly Utterance[],
  rates: SequenceTask["rates"],
): Learner {
  const reference = (u: Utterance) => textOf(u, vocabulary.options);
  return ctcLearner({
    ...{ head, symbols: vocabulary.size, blank: vocabulary.blank },
    targets: utterances.map((utterance) => vocabulary.encode(utterance)),
    read: (item, symbols) => ({
      id: utterances[item].id,
      reference: reference(utterances[item]),
      hypothesis: vocabulary.decode(symbols),
    }),
    metrics: (predictions) =>
      Object.fromEntries(
        Object.entries(rates).map(([name, unit]): [string, number] => {
          const { rate }: ErrorCounts = errors(predictions, cutters[unit]);
          return [name, rate];
        }),
      ),
  });
}

/** The text that an utterance's target spells, as the vocabulary would write it. */
function textOf(utterance: Utterance, options: VocabularySettings): string {
  const symbols = symbolsOf(utterance, options);
  if (options.unit !== "characters") return symbols.join(" ");
  return symbols.join("").split("|").join(" ");
}
