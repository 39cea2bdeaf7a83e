import { z } from "zod";
import { linear } from "../../nn/layers.ts";
import * as ops from "../../ops/index.ts";
import { normalInit, type Params } from "../../params/params.ts";
import { i32 } from "../../runtime/program.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { count, key, nonNegative, positive } from "../schema-basics.ts";
import type { ClusterTarget } from "../targets.ts";
import { deriveClusters } from "../units.ts";
import { objectiveKeys } from "./keys.ts";
import { answersOf, frameMean, type LossKind, maskOf, padFrames, perplexity, unitLength } from "./kind.ts";

const clusters = z.union([
  z.strictObject({
    of: key(
      z.enum(["mfcc", "layer"]),
      "`mfcc`: 13 coefficients with two slopes, HuBERT's first targets; `layer`: a hidden state of `model`.",
    ),
    count: key(z.int().min(2), "How many clusters.").default(100),
    model: key(
      z.string().min(1),
      "`layer`: the run, folder or hub id whose hidden state is clustered.",
    ).optional(),
    layer: key(z.int().min(0), "`layer`: which hidden state, 0 being the transformer's input.").optional(),
    points: key(count, "Frames of the training part that clusters are fitted to, drawn at random.").default(
      200_000,
    ),
    seed: key(z.int(), "Draws starts and mini-batches.").default(1),
  }),
  z.strictObject({
    of: key(
      z.literal("codebook"),
      "The nearest of a model's own label embeddings, from a pass of the original model over unmasked audio.",
    ),
    model: key(
      z.string().min(1),
      "The pre-trained HuBERT model, with its codebook. Left out, it is `upstream.model`, and a `cosine` head goes on from that model's own `final_proj` and `label_embs_concat` (a model without them is refused); clusters of any other kind get a new head.",
    ).optional(),
  }),
]);
export type ClusterSpec = z.output<typeof clusters>;

const schema = z.strictObject({
  loss: key(
    z.literal("masked-prediction"),
    "The cluster of each frame that is hidden from the model (HuBERT).",
  ),
  clusters: key(clusters, "Where the frames' labels come from: mini-batch k-means of the training part."),
  logits: key(
    z.enum(["cosine", "linear"]),
    "`cosine` similarity of a projected frame to a learned embedding of each cluster, over `temperature`; or a `linear` layer.",
  ).default("cosine"),
  size: key(
    count,
    "`cosine`: width of the projection and the embeddings; the codebook's own where clusters are `of: codebook`.",
  ).default(256),
  temperature: key(positive, "`cosine`: what similarities are divided by.").default(0.1),
  unmasked: key(
    nonNegative,
    "Weight of the frames that are not hidden; those that are hidden have 1.",
  ).default(0),
  ...objectiveKeys,
});

/** HuBERT's masked prediction of hidden units (Hsu et al. 2021, section II-B), with fairseq's normalisation: the sum over the frames that count, divided by their number. */
export const maskedPrediction: LossKind<typeof schema, ClusterTarget> = {
  schema,
  continues: ({ clusters, logits }) =>
    logits === "cosine" && clusters.of === "codebook" && clusters.model === undefined
      ? ["final_proj.weight", "final_proj.bias", "label_embs_concat"]
      : [],
  asTrained: true,
  metrics: () => ["accuracy", "perplexity"],
  target: ({ clusters }) => ({ kind: "clusters", count: "count" in clusters ? clusters.count : 0 }),
  encode: () => [],
  derive: ({ name, spec, target }, audio) => deriveClusters(name, spec.clusters, target, audio),
  feeds: ({ name }, rows, { width }) => ({
    [`labels.${name}`]: i32([rows.length, width], Int32Array.from(padFrames(rows, width, 1))),
  }),
  over: ({ unmasked }) => (unmasked > 0 ? "frames" : "masked"),
  term({ name, spec, target }, pass) {
    const { valid, features } = pass;
    const [batch, width] = valid.shape;
    const masked = ops.cast(maskOf(pass, name), "f32");
    const heard = ops.cast(valid, "f32");
    const logits = logitsOf(features, target, spec, pass.head);
    const labels = ops.reshape(pass.input("labels", [batch, width], "i32"), [batch, width, 1]);
    const chosen = ops.cast(ops.equal(labels, ops.range(target.count)), "f32");
    const losses = ops.neg(ops.reduceSum(ops.mul(ops.logSoftmax(logits), chosen), [2]));
    const weights =
      spec.unmasked > 0 ? ops.add(masked, ops.mul(ops.sub(heard, masked), spec.unmasked)) : masked;
    const counted = ops.reduceSum(spec.unmasked > 0 ? heard : masked, [1]);
    const sums = ops.reduceSum(ops.mul(losses, weights), [1]);
    const means = ops.div(sums, ops.maximum(counted, 1));
    // What evaluation counts: hidden frames, those named rightly, and how often each cluster was named.
    const top = ops.reduceMax(logits, [2], true);
    const named = ops.mul(ops.cast(ops.equal(logits, top), "f32"), ops.reshape(masked, [batch, width, 1]));
    const hits = ops.reduceSum(ops.mul(named, chosen), [1, 2], false);
    const column = (x: Tensor) => ops.reshape(x, [batch, 1]);
    const scores = ops.concat(
      [column(ops.reduceSum(masked, [1])), column(hits), ops.reduceSum(named, [1])],
      1,
    );
    return { scores, each: () => means, loss: () => frameMean(means, counted) };
  },
  answer: (_, { scores: [frames, correct, ...counts] }) => ({
    kind: "frames",
    frames,
    sums: { correct },
    counts,
  }),
  score(_, answers) {
    const of = answersOf("frames", answers);
    const total = (value: (a: (typeof of)[number]) => number) => of.reduce((sum, a) => sum + value(a), 0);
    return {
      accuracy:
        total((a) => a.sums.correct) /
        Math.max(
          1,
          total((a) => a.frames),
        ),
      perplexity: perplexity(of.map((a) => a.counts ?? [])),
    };
  },
};

/** Scores of every cluster, [batch, frames, clusters], under fairseq's parameter names. */
function logitsOf(
  x: Tensor,
  { count, size: codebook }: ClusterTarget,
  { logits, size: asked, temperature }: z.output<typeof schema>,
  head: Params,
): Tensor {
  if (logits === "linear") return linear(x, head, count);
  const size = codebook ?? asked;
  const projected = linear(x, head.at("final_proj"), size);
  // fairseq starts the embeddings evenly in [0, 1); around 0 their angles are spread wider and no less random.
  const embeddings = head.get("label_embs_concat", [count, size], normalInit(1));
  return ops.matMul(unitLength(projected), unitLength(embeddings), { transB: true, alpha: 1 / temperature });
}
