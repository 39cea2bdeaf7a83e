import { readFileSync } from "node:fs";
import { z } from "zod";
import { trainBpe } from "../../corpus/bpe.ts";
import type { Utterance } from "../../corpus/manifest.ts";
import type { Pieces } from "../../corpus/pieces.ts";
import { SentencePieceModel } from "../../corpus/sentence-piece.ts";
import { buildVocabulary, type VocabularyOptions } from "../../corpus/vocab.ts";
import { greedyDecode } from "../../decode/ctc.ts";
import { quote, UserError } from "../../errors.ts";
import { errorRate, words } from "../../metrics/error-rate.ts";
import { ctc as ctcOf } from "../../nn/losses.ts";
import * as ops from "../../ops/index.ts";
import { i32 } from "../../runtime/program.ts";
import { symbol } from "../../tensor/dims.ts";
import { head as applyHead } from "../heads.ts";
import { key } from "../schema-basics.ts";
import type { SequenceTarget } from "../targets.ts";
import { head, objectiveKeys, targetKey } from "./keys.ts";
import { answersOf, type LossKind } from "./kind.ts";

const schema = z.strictObject({
  loss: key(z.literal("ctc"), "Sequences."),
  target: targetKey(
    /^(characters|pieces|phones|tokens)$/,
    "`characters`, `pieces`, `phones` or `tokens` for ctc",
    "The `characters`, `pieces` of words or white-space-separated `tokens` of the manifest's text, or its `phones`.",
  ),
  pieces: key(
    z.union([z.int().min(2), z.string().min(1)]),
    "For `pieces`: how many symbols to learn from the training part's text by byte-pair encoding, or a SentencePiece model's file, relative to the recipe. A run keeps them in its folder.",
  ).default(1000),
  pool: key(z.literal("none"), "`none`: every frame is needed.").default("none"),
  head,
  reduction: key(
    z.enum(["sum", "mean", "utterance"]),
    "Over a batch: `sum` of the utterances' losses; `mean` of each divided by its target length; or `utterance`, the mean of undivided losses, which is what batches of one with accumulation give.",
  ).default("mean"),
  zeroInfinity: key(
    z.boolean(),
    "An utterance with more targets than frames counts as 0 instead of being refused.",
  ).default(false),
  letterCase: key(
    z.enum(["keep", "lower", "upper"]),
    "The letter case that text is brought to first.",
  ).default("keep"),
  dropStress: key(z.boolean(), "Drop stress marks from phones.").default(false),
  ...objectiveKeys,
});

/** Connectionist temporal classification (Graves et al. 2006) of symbol sequences. */
export const ctc: LossKind<typeof schema, SequenceTarget> = {
  schema,
  metrics: ({ target }) =>
    target === "phones" ? ["per"] : target === "characters" ? ["cer", "wer"] : ["wer"],
  target(spec, { utterances, corpus: { symbols } }) {
    const unit = spec.target as VocabularyOptions["unit"];
    const { letterCase, dropStress } = spec;
    // A rare phone that the corpus declares and no training utterance has is no fault.
    if (unit === "pieces") {
      const pieces = piecesFor(spec.pieces, utterances, letterCase);
      return { kind: "sequence", vocabulary: buildVocabulary([], { unit, letterCase, pieces }) };
    }
    const text = symbols?.join(unit === "characters" ? "" : " ");
    const inventory = symbols && [{ id: "symbols", audio: "", phones: [...symbols], text }];
    const vocabulary = buildVocabulary(inventory ?? utterances, { unit, letterCase, dropStress });
    return { kind: "sequence", vocabulary };
  },
  encode: ({ vocabulary }, utterance) => vocabulary.encode(utterance),
  aligned: ({ zeroInfinity }) => !zeroInfinity,
  feeds({ name }, rows) {
    // A batch of empty targets still needs a column.
    const width = Math.max(1, ...rows.map((row) => row.length));
    const labels = new Int32Array(rows.length * width);
    for (const [b, row] of rows.entries()) labels.set(row, b * width);
    const counts = rows.map((row) => row.length);
    return {
      [`labels.${name}`]: i32([rows.length, width], labels),
      [`targets.${name}`]: i32([rows.length], counts),
    };
  },
  over: ({ reduction }) => (reduction === "sum" ? "sum" : "utterances"),
  term({ name, spec, target }, { features, valid, frames, head: p, training, input }) {
    const { size, blank } = target.vocabulary;
    const scores = applyHead({ features, valid, spec: spec.head, pool: "none", size, training }, p);
    const [batch] = scores.shape;
    const { reduction, zeroInfinity } = spec;
    const asked = () => ({
      labels: input("labels", [batch, symbol(`labels.${name}`)], "i32"),
      targets: input("targets", [batch], "i32"),
    });
    return {
      scores,
      each() {
        const { labels, targets } = asked();
        const losses = ops.ctcLoss(scores, labels, frames, targets, { blank, zeroInfinity });
        return reduction === "mean" ? ops.div(losses, ops.maximum(ops.cast(targets, "f32"), 1)) : losses;
      },
      ...(reduction !== "utterance" && {
        loss() {
          const { labels, targets } = asked();
          return ctcOf(scores, labels, frames, targets, { blank, zeroInfinity, reduction });
        },
      }),
    };
  },
  answer({ vocabulary }, { scores, shape: [, , symbols], frames, truth, decode }) {
    const { blank } = vocabulary;
    const logits = scores.subarray(0, frames * symbols);
    const heard =
      decode?.(logits, frames, symbols) ??
      greedyDecode(logits, frames, symbols, { blank }).map(({ token }) => token);
    return {
      kind: "sequence",
      expected: vocabulary.decodeSymbols(truth),
      heard: vocabulary.decodeSymbols(heard),
      text: { expected: vocabulary.decode(truth), heard: vocabulary.decode(heard) },
    };
  },
  score({ vocabulary }, answers): Record<string, number> {
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
  },
};

/** Pieces of a SentencePiece model's file, or so many (the blank among them) that the training part's text teaches. */
function piecesFor(
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
