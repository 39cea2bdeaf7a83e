import { z } from "zod";
import type { AttentionDecoderConfig } from "../../nn/attention-decoder.ts";
import { firstState, remember, write } from "../../nn/attention-decoder.ts";
import { smoothedCrossEntropy } from "../../nn/translation.ts";
import * as ops from "../../ops/index.ts";
import { i32 } from "../../runtime/program.ts";
import { symbol } from "../../tensor/dims.ts";
import { openAttentionReader } from "../attention-reader.ts";
import { count, fraction, key, nonNegative, positive } from "../schema-basics.ts";
import type { SequenceTarget } from "../targets.ts";
import { objectiveKeys } from "./keys.ts";
import type { Encoded, LossKind } from "./kind.ts";
import { sequenceAnswer, sequenceFeeds, sequenceKeys, sequenceKind, sequenceTargetKey } from "./sequence.ts";

const decoder = z
  .strictObject({
    embedding: key(count, "Width of a symbol's embedding.").default(128),
    hidden: key(count, "Units of the GRU.").default(1024),
    attention: key(count, "Width in which states and places are compared, and of the context.").default(1024),
    channels: key(count, "Filters over the attention before.").default(10),
    reach: key(z.int().min(0), "Frames that a filter sees on either side.").default(100),
    dropout: key(fraction, "Of the GRU's input.").default(0.15),
  })
  .prefault({});

const search = z
  .strictObject({
    beam: key(count, "Sequences that are followed at once.").default(8),
    temperature: key(positive, "The decoder's logits are divided by it.").default(1.25),
    eosThreshold: key(
      nonNegative,
      "The end may come where its log probability is above so many times that of the likeliest symbol.",
    ).default(1.5),
    maxShift: key(
      z.int().min(0),
      "Frames that the place of most attention moves at most between two symbols.",
    ).default(240),
    coverage: key(nonNegative, "Factor of the penalty on attention to frames that had it before.").default(
      1.5,
    ),
    longest: key(positive, "Symbols at most, as a share of the frames.").default(1),
  })
  .prefault({});

const schema = z.strictObject({
  loss: key(z.literal("attention"), "Sequences, symbol by symbol."),
  target: sequenceTargetKey("attention"),
  ...sequenceKeys,
  decoder: key(decoder, "The GRU with location-aware attention; SpeechBrain's widths."),
  labelSmoothing: key(fraction, "Share of the target that is spread over all symbols.").default(0.1),
  search: key(
    search,
    "How what it hears is searched for; SpeechBrain's values but for the beam of tests, 60.",
  ),
  ...objectiveKeys,
});

/**
 * Cross-entropy of symbol sequences under an attention decoder that is told the symbols before: of each utterance the mean
 * over its symbols, the end included. The blank, which it never writes otherwise, stands for start and end.
 */
export const attention: LossKind<typeof schema, SequenceTarget> = {
  schema,
  ...sequenceKind,
  feeds({ name, target }, rows) {
    const { blank } = target.vocabulary;
    const ended = rows.map((row): Encoded => [...row, blank]);
    const begun = rows.map((row) => [blank, ...row]);
    const feeds = sequenceFeeds(name, ended);
    const width = feeds[`labels.${name}`].shape[1];
    const previous = new Int32Array(rows.length * width).fill(blank);
    for (const [b, row] of begun.entries()) previous.set(row, b * width);
    return { ...feeds, [`previous.${name}`]: i32([rows.length, width], previous) };
  },
  over: () => "utterances",
  term({ name, spec, target }, { features, frames, head: p, training, input }) {
    const config = configOf(spec.decoder, target);
    const [batch] = features.shape;
    const memory = remember(features, frames, config, p);
    const first = firstState(memory, config);
    // Where only scores are asked for, the decoder's parameters belong to the model all the same.
    const start = ops.expand(ops.constant([1, 1], [target.vocabulary.blank], "i32"), [batch, 1]);
    write(start, memory, first, config, p);
    return {
      scores: features,
      each() {
        const length = symbol(`labels.${name}`);
        const [previous, labels] = ["previous", "labels"].map((each) => input(each, [batch, length], "i32"));
        const counts = input("targets", [batch], "i32");
        const { logits } = write(previous, memory, first, config, p, training);
        // Ours spreads over the other symbols, PyTorch's and SpeechBrain's over all of them.
        const spread = (spec.labelSmoothing * (config.symbols - 1)) / config.symbols;
        const losses = smoothedCrossEntropy(logits, labels, counts, spread);
        return ops.div(losses, ops.cast(counts, "f32"));
      },
    };
  },
  answer: () => {
    throw new Error("attention: read by its own decoder");
  },
  async open({ spec, target, path, width }, parameters, options) {
    const { beam = spec.search.beam } = options;
    const config = configOf(spec.decoder, target);
    const { vocabulary } = target;
    const writing = { ...spec.search, beam };
    const reader = await openAttentionReader(config, path, width, vocabulary, parameters, writing, options);
    return {
      async read({ scores, frames, truth }) {
        return sequenceAnswer(target, truth, await reader.read(scores.slice(0, frames * width), frames));
      },
      dispose: () => reader.dispose(),
    };
  },
};

const configOf = (
  decoder: z.output<typeof schema>["decoder"],
  { vocabulary }: SequenceTarget,
): AttentionDecoderConfig => ({ ...decoder, symbols: vocabulary.size });
