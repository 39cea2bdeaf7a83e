import { z } from "zod";
import { ACTIVATIONS, dropout, linear, type Training } from "../nn/layers.ts";
import * as ops from "../ops/index.ts";
import { constantInit, normalInit, type Params, uniformInit } from "../params/params.ts";
import { type Dim, mulDim } from "../tensor/dims.ts";
import { region, type Tensor } from "../tensor/tensor.ts";
import { parseConfig, trainingKeys } from "./config.ts";
import { extractorFrames } from "./extractor.ts";
import { hide } from "./hide.ts";
import type { Upstream } from "./upstream.ts";

const size = z.int().positive();
const rate = z.number().min(0).max(1);

/**
 * vq-wav2vec (Baevski et al. 2020a): convolutions over raw audio, a code for each frame (Gumbel softmax over `vq_groups`
 * codebooks), and causal convolutions over the codes' vectors. With `vq_type` "none" it is wav2vec (Schneider et al.
 * 2019). Parameters keep fairseq's names, and keys its settings' (transformers has no such model).
 *
 * Codes are chosen without noise, in training too; gradients pass the choice as if it were a softmax.
 */
export const vqWav2VecConfig = z
  .looseObject({
    model_type: z.literal("vq-wav2vec").default("vq-wav2vec"),
    ...trainingKeys,
    final_dropout: rate.default(0),
    layerdrop: z.literal(0, { error: "this model has no layers to leave out; it must be 0" }).default(0),
    mask_time_prob: rate.default(0),
    mask_feature_prob: z
      .literal(0, { error: "channels of this model cannot be hidden; it must be 0" })
      .default(0),
    conv_dim: z.array(size).min(1).default(Array(8).fill(512)),
    conv_kernel: z.array(size).default([10, 8, 4, 4, 4, 1, 1, 1]),
    conv_stride: z.array(size).default([5, 4, 2, 2, 2, 1, 1, 1]),
    skip_connections_feat: z.boolean().default(false),
    log_compression: z.boolean().default(true),
    aggregator_dim: z.array(size).min(1).default(Array(12).fill(512)),
    aggregator_kernel: z.array(size).default([2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]),
    aggregator_bias: z.boolean().default(true),
    aggregator_zero_pad: z.boolean().default(false),
    skip_connections_agg: z.boolean().default(true),
    residual_scale: z.number().positive().default(0.5),
    activation: z.enum(["relu", "gelu"]).default("relu"),
    affine_norm: z.boolean().default(true),
    dropout: rate.default(0),
    dropout_features: rate.default(0),
    dropout_agg: rate.default(0),
    vq_type: z
      .enum(["gumbel", "none"], { error: "it must be gumbel or none; the k-means quantiser is not built" })
      .default("gumbel"),
    vq_vars: size.default(320),
    vq_groups: size.default(2),
    /** Width of a frame's code vectors together; 0 for that of the last convolution. */
    vq_dim: z.int().min(0).default(0),
    vq_depth: size.default(1),
    combine_groups: z.boolean().default(false),
  })
  .refine((c) => new Set([c.conv_dim.length, c.conv_kernel.length, c.conv_stride.length]).size === 1, {
    path: ["conv_kernel"],
    error: "conv_dim, conv_kernel and conv_stride must have equally many entries",
  })
  .refine((c) => c.aggregator_dim.length === c.aggregator_kernel.length, {
    path: ["aggregator_kernel"],
    error: "it must have as many entries as aggregator_dim",
  })
  .refine((c) => codeWidth(c) % c.vq_groups === 0, {
    path: ["vq_groups"],
    error: "the width of the code vectors must be a multiple of it",
  });
export type VqWav2VecConfig = z.infer<typeof vqWav2VecConfig>;

/** Reads a configuration. @throws UserError naming the file and key that do not fit. */
export const parseVqWav2VecConfig = (json: unknown, where: string): VqWav2VecConfig =>
  parseConfig<VqWav2VecConfig>(vqWav2VecConfig, json, where);

const codeWidth = (c: { vq_dim: number; conv_dim: number[] }): number =>
  c.vq_dim > 0 ? c.vq_dim : c.conv_dim[c.conv_dim.length - 1];

/** Hidden states are what the aggregator is given and what each of its layers makes of it, those as wide as the last. */
export function vqWav2Vec(config: VqWav2VecConfig): Upstream {
  const { aggregator_dim, conv_stride } = config;
  const width = aggregator_dim[aggregator_dim.length - 1];
  const given = config.vq_type === "none" ? config.conv_dim[config.conv_dim.length - 1] : codeWidth(config);
  const asWide = [given, ...aggregator_dim].filter((dim) => dim === width).length;
  return {
    modelType: "vq-wav2vec",
    prefix: "vq_wav2vec",
    settings: config,
    hiddenSize: width,
    layers: asWide - 1,
    sampleRate: 16_000,
    hop: conv_stride.reduce((a, b) => a * b, 1),
    // Every norm is over all frames of an utterance, padding included.
    padSensitive: true,
    frames: (samples) => extractorFrames(samples, config),
    forward(input, p) {
      const { training } = input;
      const features = extract(input.audio, p.at("feature_extractor"), config);
      const frames = ops.transpose(features, [0, 2, 1]);
      const coded = config.vq_type === "none" ? frames : quantise(frames, p.at("vector_quantizer"), config);
      let h = dropout(hide(coded, input, 0), config.dropout_features, training);
      const states = [h];
      for (const i of aggregator_dim.keys()) {
        h = aggregate(h, i, p.at("feature_aggregator"), config, training);
        states.push(h);
      }
      const last = dropout(h, config.dropout_agg, training);
      return { last, hidden: states.filter(({ shape }) => shape[2] === width) };
    },
  };
}

/** [batch, samples] -> [batch, channels, frames] */
function extract(audio: Tensor, p: Params, config: VqWav2VecConfig): Tensor {
  let x = ops.reshape(audio, [audio.shape[0], 1, audio.shape[1]]);
  for (const [i, dim] of config.conv_dim.entries())
    x = region(`feature_extractor.${i}`, () => {
      const q = p.at(`conv_layers.${i}`);
      const [inside, kernel, stride] = [x.shape[1] as number, config.conv_kernel[i], config.conv_stride[i]];
      const weight = q.get("0.weight", [dim, inside, kernel], uniformInit(1 / Math.sqrt(inside * kernel)));
      const y = normalised(ops.conv1d(x, weight, { stride }), q.at("2"), config);
      if (!config.skip_connections_feat || dim !== inside) return y;
      const skip = ops.slice(ops.slice(x, 2, 0, mulDim(y.shape[2], stride), stride), 2, 0, y.shape[2]);
      return ops.mul(ops.add(y, skip), Math.sqrt(config.residual_scale));
    });
  return config.log_compression ? ops.log(ops.add(ops.abs(x), 1)) : x;
}

/** Zero mean and unit variance over all channels and frames of an utterance, a scale for each channel, the activation. */
function normalised(x: Tensor, p: Params, { activation, affine_norm }: VqWav2VecConfig): Tensor {
  const [batch, channels, frames] = x.shape as [Dim, number, Dim];
  const [one, zero] = [ops.constant([1], [1]), ops.constant([1], [0])];
  const flat = ops.reshape(x, [batch, 1, mulDim(frames, channels)]);
  let y = ops.reshape(ops.instanceNorm(flat, one, zero, 1e-5), x.shape);
  if (affine_norm) {
    const column = (name: string, start: number) =>
      ops.reshape(p.get(name, [channels], constantInit(start)), [1, channels, 1]);
    y = ops.add(ops.mul(y, column("weight", 1)), column("bias", 0));
  }
  return ACTIVATIONS[activation](y);
}

/** The vectors of the most probable code of each group: [batch, frames, dim] -> [batch, frames, code width]. */
function quantise(x: Tensor, p: Params, config: VqWav2VecConfig): Tensor {
  const { vq_vars: vars, vq_groups: groups, vq_depth: depth, combine_groups: shared } = config;
  const [batch, frames, dim] = x.shape as [Dim, Dim, number];
  const each = codeWidth(config) / groups;
  let h = x;
  for (let i = 0; i + 1 < depth; i++)
    h = ACTIVATIONS[config.activation](linear(h, p.at(`weight_proj.${i}.0`), 2 * dim));
  const last = depth === 1 ? "weight_proj" : `weight_proj.${depth - 1}`;
  const logits = linear(h, p.at(last), groups * vars, depth === 1 ? normalInit(1) : undefined);
  const scores = ops.reshape(logits, [batch, frames, groups, vars]);
  const best = ops.cast(ops.equal(scores, ops.reduceMax(scores, [3], true)), "f32");
  const chosen = ops.straightThrough(best, ops.softmax(scores));
  const table = p.get("vars", [1, (shared ? 1 : groups) * vars, each], uniformInit(1));
  return ops.concat(
    Array.from({ length: groups }, (_, g) => {
      const from = shared ? 0 : g * vars;
      const codes = ops.reshape(ops.slice(table, 1, from, from + vars), [vars, each]);
      return ops.matMul(ops.reshape(ops.slice(chosen, 2, g, g + 1), [batch, frames, vars]), codes);
    }),
    2,
  );
}

/** One causal convolution of the aggregator: [batch, frames, dim] in and out. */
function aggregate(
  h: Tensor,
  layer: number,
  p: Params,
  config: VqWav2VecConfig,
  training: Training | undefined,
): Tensor {
  return region(`feature_aggregator.${layer}`, () => {
    const x = ops.transpose(h, [0, 2, 1]);
    const [batch, inside] = x.shape as [Dim, number, Dim];
    const [dim, kernel] = [config.aggregator_dim[layer], config.aggregator_kernel[layer]];
    const q = p.at(`conv_layers.${layer}`);
    const init = uniformInit(1 / Math.sqrt(inside * kernel));
    const weight = q.get("1.weight", [dim, inside, kernel], init);
    const bias = config.aggregator_bias ? q.get("1.bias", [dim], init) : undefined;
    // The first frame stands in for what was before it, or nothing does.
    const repeated = ops.expand(ops.slice(x, 2, 0, 1), [batch, inside, kernel - 1]);
    const convolved =
      config.aggregator_zero_pad || kernel === 1
        ? ops.conv1d(x, weight, { before: kernel - 1, bias })
        : ops.conv1d(ops.concat([repeated, x], 2), weight, { bias });
    const y = normalised(dropout(convolved, config.dropout, training), q.at("3"), config);
    if (!config.skip_connections_agg) return ops.transpose(y, [0, 2, 1]);
    const fit = uniformInit(1 / Math.sqrt(inside));
    const skip =
      inside === dim ? x : ops.conv1d(x, p.get(`residual_proj.${layer}.weight`, [dim, inside, 1], fit));
    const sum = ops.mul(ops.add(y, skip), Math.sqrt(config.residual_scale));
    return ops.transpose(sum, [0, 2, 1]);
  });
}
