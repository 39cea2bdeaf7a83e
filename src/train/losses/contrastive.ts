import { z } from "zod";
import { linear } from "../../nn/layers.ts";
import * as ops from "../../ops/index.ts";
import { f32, number } from "../../runtime/program.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { fraction, key, positive } from "../schema-basics.ts";
import type { CodeTarget } from "../targets.ts";
import { objectiveKeys } from "./keys.ts";
import {
  answersOf,
  type BatchFacts,
  frameMean,
  type LossKind,
  maskOf,
  perplexity,
  unitLength,
} from "./kind.ts";
import { CODE_HEADS, quantise, quantiserConfig } from "./quantiser.ts";

const schema = z.strictObject({
  loss: key(
    z.literal("contrastive"),
    "The quantised frame that is hidden, among others of the same utterance (wav2vec 2.0). Sizes of the codebook, `num_negatives` and `contrastive_logits_temperature` are the model configuration's. With `upstream.model`, quantiser and projections go on from that model's own, and a model without them is refused; with `upstream.config` they start anew.",
  ),
  temperature: key(
    z
      .strictObject({
        start: key(positive, "Of the Gumbel softmax at the first step.").default(2),
        end: key(positive, "Its least value.").default(0.5),
        decay: key(fraction, "Its factor from step to step.").default(0.999995),
      })
      .prefault({}),
    "How soft the quantiser's gradient is.",
  ),
  ...objectiveKeys,
});

/**
 * wav2vec 2.0's contrastive loss (Baevski et al. 2020, section 3.2): cosine similarities over a temperature, negatives drawn
 * evenly, with repeats, from the other hidden frames of the utterance. Summed over hidden frames and divided by their
 * number, as fairseq normalises it.
 */
export const contrastive: LossKind<typeof schema, CodeTarget> = {
  schema,
  continues: () => CODE_HEADS,
  asTrained: true,
  metrics: () => ["accuracy", "codePerplexity"],
  target(_, { config }) {
    const { num_codevector_groups: groups, num_codevectors_per_group: entries } = quantiserConfig(config);
    return { kind: "codes", groups, entries, negatives: quantiserConfig(config).num_negatives };
  },
  encode: () => [],
  feeds({ name, spec: { temperature }, target }, rows, facts) {
    const { width, step } = facts;
    const { start, end, decay } = temperature;
    return {
      [`negatives.${name}`]: f32([rows.length, width, width], negatives(facts, target.negatives, name)),
      ...(step === undefined
        ? {}
        : { [`temperature.${name}`]: number(Math.max(end, start * decay ** step)) }),
    };
  },
  over: () => "masked",
  term({ name, target }, pass) {
    const { valid, features, root, config } = pass;
    const { proj_codevector_dim: size, contrastive_logits_temperature: temperature } =
      quantiserConfig(config);
    const [batch, width] = valid.shape;
    const masked = ops.cast(maskOf(pass, name), "f32");
    const counted = ops.reduceSum(masked, [1]);
    const { codes, vectors } = quantise(pass, name);
    const wanted = unitLength(vectors);
    const predicted = unitLength(linear(features, root.at("project_hid"), size));
    const scale = 1 / temperature;
    // How often frame j is a negative of frame i; an equal code is no negative. Many times the same one counts as often.
    const drawn = pass.input("negatives", [batch, width, width], "f32");
    const flat = ops.reshape(codes, [batch, width, target.groups * target.entries]);
    const equal = ops.less(target.groups - 0.5, ops.matMul(flat, flat, { transB: true }));
    const counts = ops.where(equal, 0, drawn);
    const others = ops.matMul(predicted, wanted, { transB: true, alpha: scale });
    const own = ops.mul(ops.reduceSum(ops.mul(predicted, wanted), [2]), scale);
    // No cosine exceeds 1, so this shift keeps every exponential at or below 1.
    const shift = (x: Tensor) => ops.exp(ops.sub(x, scale));
    const all = ops.add(shift(own), ops.reduceSum(ops.mul(counts, shift(others)), [2]));
    const losses = ops.sub(ops.add(ops.log(all), scale), own);
    const means = ops.div(ops.reduceSum(ops.mul(losses, masked), [1]), ops.maximum(counted, 1));
    // What evaluation counts: hidden frames, those nearest to their own target, and how often each code was used.
    const rival = ops.reduceMax(ops.where(ops.less(0, counts), others, -2 * scale), [2]);
    const hits = ops.reduceSum(ops.mul(ops.cast(ops.less(rival, own), "f32"), masked), [1]);
    const used = ops.reduceSum(ops.mul(flat, ops.reshape(masked, [batch, width, 1])), [1]);
    const column = (x: Tensor) => ops.reshape(x, [batch, 1]);
    const total = ops.maximum(ops.reduceSum(counted, [0]), 1);
    return {
      scores: ops.concat([column(counted), column(hits), used], 1),
      each: () => means,
      loss: () => frameMean(means, counted),
      measures: { accuracy: ops.div(ops.reduceSum(hits, [0]), total) },
    };
  },
  answer: (_, { scores: [frames, correct, ...counts] }) => ({
    kind: "frames",
    frames,
    sums: { correct },
    counts,
  }),
  score({ groups, entries }, answers) {
    const of = answersOf("frames", answers);
    const total = (value: (a: (typeof of)[number]) => number) => of.reduce((sum, a) => sum + value(a), 0);
    const group = (g: number) =>
      perplexity(of.map(({ counts = [] }) => counts.slice(g * entries, (g + 1) * entries)));
    return {
      accuracy:
        total((a) => a.sums.correct) /
        Math.max(
          1,
          total((a) => a.frames),
        ),
      codePerplexity: Array.from({ length: groups }, (_, g) => group(g)).reduce((a, b) => a + b, 0),
    };
  },
};

/** How often each frame was drawn as a negative of each hidden one, [batch, width, width]. */
function negatives({ frames, width, hidden, draw }: BatchFacts, count: number, name: string): Float32Array {
  const out = new Float32Array(frames.length * width * width);
  for (const [b, own] of frames.entries()) {
    const row = b * width;
    const places = Array.from({ length: own }, (_, t) => t).filter((t) => hidden?.[row + t] === 1);
    const chance = draw(b, name, "negatives");
    if (places.length < 2) continue;
    for (const [i, t] of places.entries())
      for (let n = 0; n < count; n++) {
        // One of the others: the place itself is left out of the draw.
        const at = chance.int(places.length - 1);
        out[(row + t) * width + places[at < i ? at : at + 1]]++;
      }
  }
  return out;
}
