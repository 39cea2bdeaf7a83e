import { z } from "zod";
import * as ops from "../../ops/index.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { key } from "../schema-basics.ts";
import type { NoTarget } from "../targets.ts";
import { objectiveKeys } from "./keys.ts";
import { type LossKind, maskOf } from "./kind.ts";
import { CODE_SCORES, codeLogits, quantiserConfig } from "./quantiser.ts";

const schema = z.strictObject({
  loss: key(
    z.literal("code-diversity"),
    "How far from even the entries of wav2vec 2.0's codebook are used (fairseq's weight is 0.1).",
  ),
  ...objectiveKeys,
});

/**
 * wav2vec 2.0's diversity penalty (Baevski et al. 2020, equation 4) as fairseq and transformers compute it: (G V - sum of the
 * groups' perplexities) / (G V), of the mean softmax over the hidden frames of a batch. Evaluation, which judges
 * utterances one by one, takes the mean over each one's own frames.
 */
export const codeDiversity: LossKind<typeof schema, NoTarget> = {
  schema,
  continues: () => CODE_SCORES,
  asTrained: true,
  metrics: () => [],
  target: () => ({ kind: "none" }),
  encode: () => [],
  feeds: () => ({}),
  over: () => "masked",
  term({ name }, pass) {
    const { num_codevector_groups: groups, num_codevectors_per_group: entries } = quantiserConfig(
      pass.config,
    );
    const masked = ops.cast(maskOf(pass, name), "f32");
    const [batch, width] = masked.shape;
    const odds = ops.softmax(codeLogits(pass, name));
    // [batch, groups, entries]
    const sums = ops.reduceSum(ops.mul(odds, ops.reshape(masked, [batch, width, 1, 1])), [1]);
    const counted = ops.reduceSum(masked, [1]);
    /** Of mean odds [..., groups, entries], over all groups: [...]. */
    const unevenness = (mean: Tensor) => {
      const last = mean.shape.length - 1;
      const entropy = ops.neg(ops.reduceSum(ops.mul(mean, ops.log(ops.add(mean, 1e-7))), [last]));
      const perplexity = ops.reduceSum(ops.exp(entropy), [last - 1]);
      return ops.div(ops.sub(groups * entries, perplexity), groups * entries);
    };
    const each = () => unevenness(ops.div(sums, ops.maximum(ops.reshape(counted, [batch, 1, 1]), 1)));
    const whole = ops.div(ops.reduceSum(sums, [0]), ops.maximum(ops.reduceSum(counted, [0]), 1));
    const loss = unevenness(whole);
    return {
      scores: ops.reshape(counted, [batch, 1]),
      each,
      loss: () => loss,
      measures: { perplexity: ops.mul(ops.sub(1, loss), groups * entries) },
    };
  },
  answer: (_, { scores: [frames] }) => ({ kind: "frames", frames, sums: {} }),
  score: () => ({}),
};
