import { readFileSync } from "node:fs";
import { z } from "zod";
import { trainBpe } from "../../corpus/bpe.ts";
import type { Utterance } from "../../corpus/manifest.ts";
import type { Pieces } from "../../corpus/pieces.ts";
import { SentencePieceModel } from "../../corpus/sentence-piece.ts";
import { buildVocabulary, type VocabularyOptions } from "../../corpus/vocab.ts";
import { quote, UserError } from "../../errors.ts";
import { errorRate, words } from "../../metrics/error-rate.ts";
import { i32 } from "../../runtime/program.ts";
import { key } from "../schema-basics.ts";
import type { SequenceTarget } from "../targets.ts";
import { targetKey } from "./keys.ts";
import { type Answer, answersOf, type Encoded, type Feeds, type TargetSource } from "./kind.ts";

/** What losses of symbol sequences share: their target's keys, its symbols, and how what was heard is judged. */

export const sequenceTargetKey = (loss: string) =>
  targetKey(
    /^(characters|pieces|phones|tokens)$/,
    `\`characters\`, \`pieces\`, \`phones\` or \`tokens\` for ${loss}`,
    "The `characters`, `pieces` of words or white-space-separated `tokens` of the manifest's text, or its `phones`.",
  );

export const sequenceKeys = {
  pieces: key(
    z.union([z.int().min(2), z.string().min(1)]),
    "For `pieces`: how many symbols to learn from the training part's text by byte-pair encoding, or a SentencePiece model's file, relative to the recipe. A run keeps them in its folder.",
  ).default(1000),
  letterCase: key(
    z.enum(["keep", "lower", "upper"]),
    "The letter case that text is brought to first.",
  ).default("keep"),
  dropStress: key(z.boolean(), "Drop stress marks from phones.").default(false),
};

interface SequenceSpec {
  readonly target: string;
  readonly pieces: number | string;
  readonly letterCase: NonNullable<VocabularyOptions["letterCase"]>;
  readonly dropStress: boolean;
}

/** The symbols of a target. @throws UserError naming the utterance that lacks them */
function targetOf(
  { target, letterCase, dropStress, pieces: wanted }: SequenceSpec,
  { utterances, corpus: { symbols } }: TargetSource,
): SequenceTarget {
  const unit = target as VocabularyOptions["unit"];
  if (unit === "pieces") {
    const pieces = piecesFor(wanted, utterances, letterCase);
    return { kind: "sequence", vocabulary: buildVocabulary([], { unit, letterCase, pieces }) };
  }
  // A rare phone that the corpus declares and no training utterance has is no fault.
  const text = symbols?.join(unit === "characters" ? "" : " ");
  const inventory = symbols && [{ id: "symbols", audio: "", phones: [...symbols], text }];
  const vocabulary = buildVocabulary(inventory ?? utterances, { unit, letterCase, dropStress });
  return { kind: "sequence", vocabulary };
}

/** Sequences as graph inputs: `labels.NAME` [batch, longest] and `targets.NAME` [batch], their lengths. */
export function sequenceFeeds(name: string, rows: readonly Encoded[]): Feeds {
  // A batch of empty targets still needs a column.
  const width = Math.max(1, ...rows.map((row) => row.length));
  const labels = new Int32Array(rows.length * width);
  for (const [b, row] of rows.entries()) labels.set(row, b * width);
  const counts = rows.map((row) => row.length);
  return {
    [`labels.${name}`]: i32([rows.length, width], labels),
    [`targets.${name}`]: i32([rows.length], counts),
  };
}

const metrics = ({ target }: Pick<SequenceSpec, "target">): readonly string[] =>
  target === "phones" ? ["per"] : target === "characters" ? ["cer", "wer"] : ["wer"];

export const sequenceAnswer = (
  { vocabulary }: SequenceTarget,
  truth: Encoded,
  heard: readonly number[],
): Answer => ({
  kind: "sequence",
  expected: vocabulary.decodeSymbols(truth),
  heard: vocabulary.decodeSymbols(heard),
  text: { expected: vocabulary.decode(truth), heard: vocabulary.decode(heard) },
});

/** Error rates over a part's answers: those that `metrics` names. */
function score({ vocabulary }: SequenceTarget, answers: readonly Answer[]): Record<string, number> {
  const of = answersOf("sequence", answers);
  const rate = (split: (a: (typeof of)[number]) => string[][]) => {
    const pairs = of.map(split);
    return errorRate(
      pairs.map(([expected]) => expected),
      pairs.map(([, heard]) => heard),
    ).rate;
  };
  const symbols = rate((a) => [a.expected, a.heard]);
  const { unit } = vocabulary.options;
  if (unit === "phones") return { per: symbols };
  if (unit === "tokens") return { wer: symbols };
  if (unit === "pieces") return { wer: rate(({ text }) => [words(text.expected), words(text.heard)]) };
  return { cer: symbols, wer: rate(({ text }) => [words(text.expected), words(text.heard)]) };
}

/** Pieces of a SentencePiece model's file, or so many (the blank among them) that the training part's text teaches. */
export function piecesFor(
  wanted: number | string,
  utterances: readonly Utterance[],
  letterCase: NonNullable<VocabularyOptions["letterCase"]>,
): Pieces {
  if (typeof wanted === "string") {
    SentencePieceModel.open(wanted);
    return { sentencePiece: readFileSync(wanted).toString("base64") };
  }
  const cased = utterances.map((utterance) => {
    const { id, audio, text } = utterance;
    if (text === undefined) throw new UserError(`utterance ${quote(id)} has no text`);
    const changed =
      letterCase === "lower" ? text.toLowerCase() : letterCase === "upper" ? text.toUpperCase() : text;
    return { id, audio, text: changed };
  });
  const { symbols, merges } = trainBpe(cased, wanted);
  return { symbols: symbols.slice(1), merges };
}

/** What is the same in every loss of sequences. */
export const sequenceKind = {
  metrics,
  target: targetOf,
  encode: ({ vocabulary }: SequenceTarget, utterance: Utterance): number[] => vocabulary.encode(utterance),
  score,
};
