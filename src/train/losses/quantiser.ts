import { z } from "zod";
import { UserError } from "../../errors.ts";
import { linear } from "../../nn/layers.ts";
import * as ops from "../../ops/index.ts";
import { normalInit, uniformInit } from "../../params/params.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import type { Pass } from "./kind.ts";

/** Hugging Face's configuration keys of wav2vec 2.0's pre-training, with its defaults. */
const keys = z.object({
  num_codevector_groups: z.int().positive().default(2),
  num_codevectors_per_group: z.int().positive().default(320),
  codevector_dim: z.int().positive().default(256),
  proj_codevector_dim: z.int().positive().default(256),
  num_negatives: z.int().positive().default(100),
  contrastive_logits_temperature: z.number().positive().default(0.1),
});
export type QuantiserConfig = z.output<typeof keys>;

/** What the quantiser, and the contrastive loss over it, have as parameters. */
export const CODE_SCORES = ["quantizer.weight_proj.weight", "quantizer.weight_proj.bias"];
export const CODE_HEADS = [
  "quantizer.codevectors",
  ...CODE_SCORES,
  ...["project_q.weight", "project_q.bias", "project_hid.weight", "project_hid.bias"],
];

/** Reads the keys off a model's configuration. @throws UserError naming the key */
export function quantiserConfig(config: Readonly<Record<string, unknown>>): QuantiserConfig {
  const parsed = keys.safeParse(config);
  if (!parsed.success) {
    const { path, message } = parsed.error.issues[0];
    throw new UserError(`upstream.config: "${path.join(".")}" is not usable: ${message}`);
  }
  const { codevector_dim: dim, num_codevector_groups: groups } = parsed.data;
  if (dim % groups !== 0)
    throw new UserError(
      `upstream.config: codevector_dim ${dim} is not a multiple of num_codevector_groups ${groups}`,
    );
  return parsed.data;
}

/** Scores of the entries of each group for each frame, [batch, frames, groups, entries]. */
export function codeLogits(pass: Pass, name: string): Tensor {
  const { normalised } = pass.upstream;
  if (normalised === undefined)
    throw new UserError(`objectives.${name}: this upstream has no convolutional extractor to quantise`);
  return pass.once("code logits", () => {
    const { num_codevector_groups: groups, num_codevectors_per_group: entries } = quantiserConfig(
      pass.config,
    );
    const [batch, frames] = normalised.shape;
    const logits = linear(normalised, pass.root.at("quantizer.weight_proj"), groups * entries, normalInit(1));
    return ops.reshape(logits, [batch, frames, groups, entries]);
  });
}

/**
 * The product quantiser (Baevski et al. 2020, section 2): one entry of each group, side by side, projected. While training an
 * entry is drawn by Gumbel noise and the gradient is that of the softmax at `temperature` (Jang et al. 2017); otherwise
 * the entry with the highest score is taken.
 *
 * @returns `codes`, one-hot [batch, frames, groups, entries], and `vectors` [batch, frames, proj_codevector_dim]
 */
export function quantise(pass: Pass, name: string): { codes: Tensor; vectors: Tensor } {
  const { training, root, config } = pass;
  const { codevector_dim: dim, proj_codevector_dim: size } = quantiserConfig(config);
  const logits = codeLogits(pass, name);
  const [batch, frames, groups, entries] = logits.shape as [
    Tensor["shape"][0],
    Tensor["shape"][0],
    number,
    number,
  ];
  let soft = logits;
  if (training !== undefined) {
    const noise = ops.gumbel(training.seed, logits.shape, training.nextSite());
    soft = ops.softmax(ops.div(ops.add(logits, noise), pass.input("temperature", [], "f32")));
  }
  const hard = ops.cast(ops.equal(soft, ops.reduceMax(soft, [3], true)), "f32");
  const codes = training === undefined ? hard : ops.straightThrough(hard, soft);
  const width = dim / groups;
  const book = ops.reshape(root.get("quantizer.codevectors", [1, groups * entries, width], uniformInit(1)), [
    groups,
    entries,
    width,
  ]);
  const chosen = ops.matMul(ops.transpose(codes, [0, 2, 1, 3]), book);
  const joined = ops.reshape(ops.transpose(chosen, [0, 2, 1, 3]), [batch, frames, dim]);
  return { codes: hard, vectors: linear(joined, root.at("project_q"), size) };
}
