import { z } from "zod";
import { greedyDecode } from "../../decode/ctc.ts";
import { ctc as ctcOf } from "../../nn/losses.ts";
import * as ops from "../../ops/index.ts";
import { symbol } from "../../tensor/dims.ts";
import { head as applyHead } from "../heads.ts";
import { key } from "../schema-basics.ts";
import type { SequenceTarget } from "../targets.ts";
import { head, objectiveKeys } from "./keys.ts";
import type { LossKind } from "./kind.ts";
import { sequenceAnswer, sequenceFeeds, sequenceKeys, sequenceKind, sequenceTargetKey } from "./sequence.ts";

const schema = z.strictObject({
  loss: key(z.literal("ctc"), "Sequences."),
  target: sequenceTargetKey("ctc"),
  pieces: sequenceKeys.pieces,
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
  letterCase: sequenceKeys.letterCase,
  dropStress: sequenceKeys.dropStress,
  ...objectiveKeys,
});

/** Connectionist temporal classification (Graves et al. 2006) of symbol sequences. */
export const ctc: LossKind<typeof schema, SequenceTarget> = {
  schema,
  ...sequenceKind,
  aligned: ({ zeroInfinity }) => !zeroInfinity,
  feeds: ({ name }, rows) => sequenceFeeds(name, rows),
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
  answer(target, { scores, shape: [, , symbols], frames, truth, decode }) {
    const { blank } = target.vocabulary;
    const logits = scores.subarray(0, frames * symbols);
    const heard =
      decode?.(logits, frames, symbols) ??
      greedyDecode(logits, frames, symbols, { blank }).map(({ token }) => token);
    return sequenceAnswer(target, truth, heard);
  },
};
