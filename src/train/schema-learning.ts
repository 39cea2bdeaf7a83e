import { z } from "zod";
import { chosen, count, fraction, key, nonNegative, positive } from "./schema-basics.ts";

/** The recipe's `plan`, `optimizer` and `schedule`: which parameters move, how and how fast. */

const group = z.strictObject({
  match: key(
    z.string(),
    "Parameter names: a leading part such as `encoder.layers.0`, or a pattern with `*`; the first group that fits counts.",
  ),
  lr: key(nonNegative, "Factor of the learning rate.").default(1),
  weightDecay: key(nonNegative, "Instead of the optimiser's weight decay.").optional(),
});
const modules = z.enum(["ffn", "attention", "both"]);
const layers = key(
  z.union([z.literal("all"), z.array(z.int().min(0)).min(1)]),
  "Transformer layers, from 0: `all`, or a list.",
).default("all");

export const mask = z.strictObject({
  modules: key(
    modules,
    "Which weight matrices: the feed-forward blocks', the attention's four projections, or both.",
  ).default("ffn"),
  layers,
  sparsity: key(
    fraction,
    "Share of weights that a mask switches off; of n entries floor((1 - (1 - s)) n).",
  ).default(0.1),
  rates: key(
    z.array(
      z.strictObject({
        match: key(z.string(), "Parameter names, as in `groups`; the first that fits counts."),
        sparsity: key(fraction, "Their sparsity."),
      }),
    ),
    "Matrices with a sparsity of their own.",
  ).default([]),
  scope: key(
    z.enum(["matrix", "layer", "global"]),
    "What is ranked together: each matrix by itself, a layer's matrices, or all.",
  ).default("matrix"),
  init: key(
    z.enum(["order-preserving", "random", "magnitude", "magnitude-mask"]),
    "How scores start: random ones dealt in the order of the weights' magnitudes; as drawn; the weights over `scale`; or 1 where magnitude pruning keeps a weight and 0 elsewhere.",
  ).default("order-preserving"),
  scale: key(positive, "Divides the weights for `init: magnitude`.").default(1),
  alsoTrain: key(
    z.array(z.string()),
    "Parameters of the upstream that train beside the scores, as in `groups`; heads always do.",
  ).default(["masked_spec_embed"]),
});

const adapterAlso = key(
  z.array(z.string()),
  "Parameters of the upstream that train beside the adapters, as in `groups`; heads always do.",
).default([]);

const adapter = z.strictObject({
  kind: key(
    z.enum(["serial", "houlsby"]),
    "`serial`: norm, down, ReLU, up and a residual behind each layer (Le et al. 2021). `houlsby`: two a layer, behind attention and behind the feed-forward block, before their residuals (Houlsby et al. 2019).",
  ).default("serial"),
  width: key(count, "Of the bottleneck.").default(64),
  alsoTrain: adapterAlso,
});

const prune = z
  .strictObject({
    sparsity: key(fraction, "Share of weights that are zero at the end."),
    modules: modules.describe("Which weight matrices, as for `mask`.").default("both"),
    layers,
    scope: key(
      z.enum(["global", "layer", "matrix"]),
      "What is ranked together: all (PARP's way), a layer's matrices, or each matrix by itself.",
    ).default("global"),
    biases: key(z.boolean(), "Prune the matrices' biases with them, as PARP's code does.").default(true),
    zeros: key(
      z.enum(["revive", "hold"]),
      "`revive`: zeroed weights train on until the next pruning (PARP). `hold`: they stay zero (magnitude pruning).",
    ).default("revive"),
    start: key(fraction, "Share of all steps before the first pruning.").default(0),
    initial: key(
      fraction,
      "Sparsity of the first pruning, from which it rises in a straight line to the target; the target at once where absent.",
    ).optional(),
    until: key(fraction, "Share of all steps at which a rising sparsity reaches the target.").default(1),
    every: key(count, "Updates between prunings; the model is also pruned before each evaluation.").default(
      50,
    ),
  })
  .refine((p) => p.start <= p.until, { message: "`start` must not come after `until`" });

const lora = z.strictObject({
  rank: key(count, "Of the product that is added to a weight.").default(8),
  alpha: key(positive, "The product counts alpha / rank.").default(16),
  targets: key(
    z.array(z.string()).min(1),
    "Layers whose weights are adapted, by the last part of their names.",
  ).default(["q_proj", "v_proj"]),
  alsoTrain: adapterAlso,
});

export const plan = z.strictObject({
  freeze: key(
    z.array(z.string()),
    "Leading parts of parameter names that never train; frozen parts cost no gradient and no memory.",
  ).default(["feature_extractor"]),
  headFirst: key(fraction, "Share of all steps in which only the heads train.").default(0),
  anchor: key(
    nonNegative,
    "Lambda of lambda * ||w - w0||^2, which is added to the loss and holds the upstream's weights near where they start (L2-SP); 0 leaves it out.",
  ).default(0),
  recompute: key(
    z.union([z.enum(["none", "all"]), z.array(z.int().min(0))]),
    "Encoder layers whose inner values are computed again in the backward pass instead of kept: less memory, about a third more time.",
  ).default("none"),
  groups: key(z.array(group), "Parts with a learning rate or weight decay of their own.").default([]),
  mask: key(
    mask,
    "Learn which weights to keep instead of changing them (S3-Router): scores train, weights are frozen, and a weight counts while its score ranks high enough.",
  ).optional(),
  adapter: key(
    adapter,
    "Learn bottlenecks inside a frozen model; only they and the heads train. They start as the identity.",
  ).optional(),
  prune: key(prune, "Zero weights of small magnitude while all of them train.").optional(),
  lora: key(lora, "Learn low-rank sums to frozen weights (LoRA); only they and the heads train.").optional(),
});

const lr = key(positive, "Peak learning rate.");
const weightDecay = key(nonNegative, "Weight decay.");
const clip = key(
  nonNegative,
  "Greatest norm of all gradients together; larger ones are scaled down. 0 never clips.",
).default(1);
const adam = {
  betas: key(
    z.tuple([fraction, fraction]),
    "Decay of the running means of gradient and squared gradient.",
  ).default([0.9, 0.98]),
  eps: key(positive, "Added to the root of the squared-gradient mean.").default(1e-8),
  clip,
};
const optimizers = z.discriminatedUnion("name", [
  z.strictObject({
    name: z.literal("adam"),
    lr: lr.default(1e-4),
    ...adam,
    weightDecay: weightDecay.default(0),
  }),
  z.strictObject({
    name: z.literal("adamw"),
    lr: lr.default(1e-4),
    ...adam,
    weightDecay: weightDecay.default(0.01),
  }),
  z.strictObject({
    name: z.literal("adadelta"),
    lr: lr.default(1),
    rho: key(fraction, "Decay of the running means of squared gradients and squared steps.").default(0.95),
    eps: key(positive, "Added to both means.").default(1e-8),
    weightDecay: weightDecay.default(0),
    clip,
  }),
  z.strictObject({
    name: z.literal("sgd"),
    lr: lr.default(0.01),
    momentum: key(fraction, "Decay of the running mean of gradients.").default(0),
    nesterov: key(z.boolean(), "Look ahead along the momentum.").default(false),
    weightDecay: weightDecay.default(0),
    clip,
  }),
]);

const stage = (meaning: string) => key(nonNegative, `${meaning} Steps, or a share of all steps if below 1.`);
const schedules = z.discriminatedUnion("name", [
  z.strictObject({ name: z.literal("constant") }),
  z.strictObject({
    name: z.literal("linear"),
    warmup: stage("Rise from 0.").default(0),
    finalScale: key(fraction, "Factor at the end.").default(0),
  }),
  z.strictObject({
    name: z.literal("warmup-hold-decay"),
    warmup: stage("Rise from 0.").default(0.1),
    hold: stage("Stay at the peak; the rest falls to 0.").default(0.4),
  }),
  z.strictObject({
    name: z.literal("tri-stage"),
    warmup: stage("Rise.").default(0.1),
    hold: stage("Stay at the peak.").default(0.4),
    decay: stage("Fall exponentially.").default(0.5),
    initialScale: key(fraction, "Factor at step 0.").default(0.01),
    finalScale: key(positive, "Factor at the end.").default(0.05),
  }),
  z.strictObject({
    name: z.literal("noam"),
    warmup: stage("Rise.").default(25000),
    dim: key(
      count,
      "The model's width: the peak factor is then 1 / sqrt(dim * warmup) as in the paper, else 1.",
    ).optional(),
  }),
  z.strictObject({
    name: z.literal("inverse-sqrt"),
    warmup: stage("Rise; then the root of `warmup / step`.").default(10000),
    initialScale: key(fraction, "Factor at step 0.").default(0),
  }),
  z.strictObject({
    name: z.literal("newbob"),
    factor: key(fraction, "What the rate is multiplied by when validation does not improve.").default(0.5),
    threshold: key(nonNegative, "Relative improvement that counts as one.").default(0.0025),
    patience: key(z.int().min(0), "Evaluations without improvement that are forgiven each time.").default(0),
  }),
]);

export const optimizer = chosen("name", "adam", optimizers).prefault({});
export const schedule = chosen("name", "constant", schedules).prefault({});
