import { z } from "zod";
import { UserError } from "../../errors.ts";
import { maskedMean } from "../../nn/layers.ts";
import * as ops from "../../ops/index.ts";
import { key } from "../schema-basics.ts";
import type { NoTarget } from "../targets.ts";
import { objectiveKeys } from "./keys.ts";
import { frameMean, type LossKind } from "./kind.ts";

const schema = z.strictObject({
  loss: key(
    z.literal("feature-penalty"),
    "Mean square of the extractor's output, which keeps it small (fairseq's weight is 10).",
  ),
  ...objectiveKeys,
});

/** The feature penalty of wav2vec 2.0 and HuBERT: the extractor's outputs, before they are normalised, stay small. */
export const featurePenalty: LossKind<typeof schema, NoTarget> = {
  schema,
  asTrained: true,
  metrics: () => [],
  target: () => ({ kind: "none" }),
  encode: () => [],
  feeds: () => ({}),
  over: () => "frames",
  term({ name }, { frames, valid, upstream: { extracted } }) {
    if (extracted === undefined)
      throw new UserError(`objectives.${name}: this upstream has no convolutional extractor`);
    const [batch] = valid.shape;
    const squares = ops.reduceMean(ops.mul(extracted, extracted), [2], true);
    const means = ops.reshape(maskedMean(squares, valid), [batch]);
    return {
      scores: ops.reshape(means, [batch, 1]),
      each: () => means,
      loss: () => frameMean(means, ops.cast(frames, "f32")),
    };
  },
  answer: (_, { frames }) => ({ kind: "frames", frames, sums: {} }),
  score: () => ({}),
};
