import { z } from "zod";
import { UserError } from "../errors.ts";
import {
  ACTIVATIONS,
  type AttentionOptions,
  dropout,
  layerNorm,
  linear,
  maybeSkipped,
  selfAttention,
  type Training,
  validFrames,
} from "../nn/layers.ts";
import * as ops from "../ops/index.ts";
import { constantInit, type Init, normalInit, type Params, uniformInit } from "../params/params.ts";
import type { Dim } from "../tensor/dims.ts";
import { region, type Tensor } from "../tensor/tensor.ts";
import type { Upstream, UpstreamInput, UpstreamOutput } from "./upstream.ts";

/**
 * wav2vec 2.0 (Baevski et al. 2020): a convolutional extractor over raw audio and a transformer with a convolutional
 * position embedding. Both families: group norm and post-norm ("base"), layer norm and pre-norm ("large", XLS-R).
 * Keys, defaults and parameter names are Hugging Face's.
 */

const rate = z.number().min(0).max(1);
export const wav2vec2Config = z.looseObject({
  model_type: z.string().default("wav2vec2"),
  hidden_size: z.int().positive().default(768),
  num_hidden_layers: z.int().positive().default(12),
  num_attention_heads: z.int().positive().default(12),
  intermediate_size: z.int().positive().default(3072),
  hidden_act: z.string().default("gelu"),
  hidden_dropout: rate.default(0.1),
  activation_dropout: rate.default(0.1),
  attention_dropout: rate.default(0.1),
  feat_proj_dropout: rate.default(0),
  final_dropout: rate.default(0.1),
  layerdrop: rate.default(0.1),
  initializer_range: z.number().positive().default(0.02),
  layer_norm_eps: z.number().positive().default(1e-5),
  feat_extract_norm: z.enum(["group", "layer"]).default("group"),
  feat_extract_activation: z.string().default("gelu"),
  conv_dim: z.array(z.int().positive()).default([512, 512, 512, 512, 512, 512, 512]),
  conv_stride: z.array(z.int().positive()).default([5, 2, 2, 2, 2, 2, 2]),
  conv_kernel: z.array(z.int().positive()).default([10, 3, 3, 3, 3, 2, 2]),
  conv_bias: z.boolean().default(false),
  num_conv_pos_embeddings: z.int().positive().default(128),
  num_conv_pos_embedding_groups: z.int().positive().default(16),
  do_stable_layer_norm: z.boolean().default(false),
  apply_spec_augment: z.boolean().default(true),
  mask_time_prob: rate.default(0.05),
  mask_time_length: z.int().positive().default(10),
  mask_time_min_masks: z.int().min(0).default(2),
  mask_feature_prob: rate.default(0),
  mask_feature_length: z.int().positive().default(10),
  mask_feature_min_masks: z.int().min(0).default(0),
  ctc_loss_reduction: z.enum(["sum", "mean"]).default("sum"),
  ctc_zero_infinity: z.boolean().default(false),
  pad_token_id: z.int().min(0).nullable().default(0),
  vocab_size: z.int().positive().default(32),
  add_adapter: z.boolean().default(false),
});
export type Wav2Vec2Config = z.infer<typeof wav2vec2Config>;

/** Reads a Hugging Face configuration. @throws UserError naming the file and key that do not fit. */
export function parseWav2Vec2Config(json: unknown, where: string): Wav2Vec2Config {
  const parsed = wav2vec2Config.safeParse(json);
  if (!parsed.success) {
    const { path, message } = parsed.error.issues[0];
    throw new UserError(
      `${where}: ${path.length > 0 ? `"${path.join(".")}"` : "the configuration"} is not usable: ${message}`,
    );
  }
  const c = parsed.data;
  const fault = (what: string): never => {
    throw new UserError(`${where}: ${what}`);
  };
  const layers = c.conv_dim.length;
  if (c.conv_stride.length !== layers || c.conv_kernel.length !== layers)
    fault(
      `conv_dim, conv_stride and conv_kernel must have equally many entries, not ${layers}, ${c.conv_stride.length} and ${c.conv_kernel.length}`,
    );
  if (c.hidden_size % c.num_attention_heads !== 0)
    fault(`hidden_size ${c.hidden_size} is not a multiple of num_attention_heads ${c.num_attention_heads}`);
  if (c.hidden_size % c.num_conv_pos_embedding_groups !== 0)
    fault(
      `hidden_size ${c.hidden_size} is not a multiple of num_conv_pos_embedding_groups ${c.num_conv_pos_embedding_groups}`,
    );
  for (const key of ["hidden_act", "feat_extract_activation"] as const)
    if (!(c[key] in ACTIVATIONS))
      fault(`${key} "${c[key]}" is not one of ${Object.keys(ACTIVATIONS).join(", ")}`);
  if (c.add_adapter) fault("add_adapter is not supported: its extra convolutions change the frame rate");
  return c;
}

/** A score that hides a key: what transformers adds, the lowest finite float. */
const HIDDEN = -3.4028234663852886e38;

export function wav2vec2(config: Wav2Vec2Config): Upstream {
  return {
    modelType: "wav2vec2",
    prefix: "wav2vec2",
    hiddenSize: config.hidden_size,
    layers: config.num_hidden_layers,
    sampleRate: 16_000,
    hop: config.conv_stride.reduce((a, b) => a * b, 1),
    padSensitive: config.feat_extract_norm === "group",
    frames: (samples) => extractorFrames(samples, config),
    forward: (input, p) => forward(input, p, config),
  };
}

/** Frames that the extractor leaves of `samples` samples. */
export function extractorFrames(samples: Dim, { conv_kernel, conv_stride }: Wav2Vec2Config): Dim {
  return conv_kernel.reduce<Dim>(
    (size, kernel, i) =>
      ops.convFrames(size, kernel, { stride: conv_stride[i], before: 0, after: 0, dilation: 1, groups: 1 }),
    samples,
  );
}

function forward(input: UpstreamInput, p: Params, config: Wav2Vec2Config): UpstreamOutput {
  const { training } = input;
  const features = featureExtractor(input.audio, p.at("feature_extractor"), config);
  const projected = featureProjection(features, p.at("feature_projection"), config, training);
  const hidden = hide(projected, p, input, config);
  const valid = input.frames && validFrames(input.frames, hidden.shape[1]);
  return encoder(hidden, valid, p.at("encoder"), config, input);
}

/** [batch, samples] -> [batch, frames, conv_dim]. */
export function featureExtractor(audio: Tensor, p: Params, config: Wav2Vec2Config): Tensor {
  const activation = ACTIVATIONS[config.feat_extract_activation];
  let x = ops.reshape(audio, [audio.shape[0], 1, audio.shape[1]]);
  for (const [i, dim] of config.conv_dim.entries())
    x = region(`feature_extractor.${i}`, () => {
      const q = p.at(`conv_layers.${i}`);
      const [channels, kernel] = [x.shape[1] as number, config.conv_kernel[i]];
      const fan = channels * kernel;
      const weight = q.at("conv").get("weight", [dim, channels, kernel], normalInit(Math.sqrt(2 / fan)));
      const bias = config.conv_bias
        ? q.at("conv").get("bias", [dim], uniformInit(1 / Math.sqrt(fan)))
        : undefined;
      return activation(
        normalise(ops.conv1d(x, weight, { stride: config.conv_stride[i], bias }), i, q, config),
      );
    });
  return ops.transpose(x, [0, 2, 1]);
}

/** Group norm after the first convolution only ("group"), or layer norm over channels after each ("layer"). */
function normalise(x: Tensor, layer: number, p: Params, { feat_extract_norm }: Wav2Vec2Config): Tensor {
  if (feat_extract_norm === "layer") {
    // PyTorch's default epsilon: the configuration's layer_norm_eps does not reach the extractor.
    return ops.transpose(layerNorm(ops.transpose(x, [0, 2, 1]), p.at("layer_norm"), 1e-5), [0, 2, 1]);
  }
  if (layer > 0) return x;
  const dim = x.shape[1] as number;
  const q = p.at("layer_norm");
  return ops.instanceNorm(
    x,
    q.get("weight", [dim], constantInit(1)),
    q.get("bias", [dim], constantInit(0)),
    1e-5,
  );
}

function featureProjection(x: Tensor, p: Params, config: Wav2Vec2Config, training?: Training): Tensor {
  const normal = layerNorm(x, p.at("layer_norm"), config.layer_norm_eps);
  return dropout(linear(normal, p.at("projection"), config.hidden_size), config.feat_proj_dropout, training);
}

/** SpecAugment: chosen frames become a learned vector, chosen channels zero. */
function hide(
  x: Tensor,
  p: Params,
  { hideFrames, hideChannels }: UpstreamInput,
  config: Wav2Vec2Config,
): Tensor {
  let out = x;
  // The vector is part of the checkpoint whenever the configuration masks at all, used in this pass or not.
  if (config.mask_time_prob > 0 || config.mask_feature_prob > 0) {
    const vector = p.get("masked_spec_embed", [config.hidden_size], uniformInit(1));
    if (hideFrames !== undefined)
      out = ops.where(ops.reshape(hideFrames, [...hideFrames.shape, 1]), vector, out);
  }
  return hideChannels === undefined ? out : ops.where(hideChannels, 0, out);
}

function encoder(
  x: Tensor,
  valid: Tensor | undefined,
  p: Params,
  config: Wav2Vec2Config,
  input: UpstreamInput,
): UpstreamOutput {
  const { training } = input;
  const [batch, frames] = x.shape;
  const speech = valid === undefined ? x : ops.where(ops.reshape(valid, [batch, frames, 1]), x, 0);
  const bias = valid && ops.where(ops.reshape(valid, [batch, 1, 1, frames]), ops.scalar(0), HIDDEN);
  const placed = region("encoder.pos_conv_embed", () =>
    ops.add(speech, positions(speech, p.at("pos_conv_embed"), config)),
  );
  const stable = config.do_stable_layer_norm;
  const norm = (h: Tensor) => layerNorm(h, p.at("layer_norm"), config.layer_norm_eps);
  let h = dropout(stable ? placed : norm(placed), config.hidden_dropout, training);
  const hidden = [h];
  // A dropped layer runs on fewer utterances: those at the front.
  const biasFor = (states: Tensor) => bias && ops.slice(bias, 0, 0, states.shape[0]);
  for (let i = 0; i < config.num_hidden_layers; i++) {
    const layer = (states: Tensor) =>
      region(`encoder.layers.${i}`, () =>
        encoderLayer(states, p.at(`layers.${i}`), config, biasFor(states), training),
      );
    h =
      training !== undefined && config.layerdrop > 0 && input.declare !== undefined
        ? maybeSkipped(h, `keep.layers.${i}`, layer, input.declare)
        : layer(h);
    hidden.push(h);
  }
  return { last: stable ? norm(h) : h, hidden };
}

/** Relative positions by a wide grouped convolution whose weight is a direction and a length (Salimans and Kingma 2016). */
function positions(x: Tensor, p: Params, config: Wav2Vec2Config): Tensor {
  const { hidden_size: dim, num_conv_pos_embeddings: kernel, num_conv_pos_embedding_groups: groups } = config;
  const q = p.at("conv");
  const parts = q.at("parametrizations.weight");
  const direction = parts.get(
    "original1",
    [dim, dim / groups, kernel],
    normalInit(2 * Math.sqrt(1 / (kernel * dim))),
  );
  const size = parts.get("original0", [1, 1, kernel], { kind: "norm", of: "original1", axis: 2 });
  const norm = ops.sqrt(ops.reduceSum(ops.mul(direction, direction), [0, 1], true));
  const weight = ops.mul(direction, ops.div(size, norm));
  const pad = Math.floor(kernel / 2);
  const y = ops.conv1d(ops.transpose(x, [0, 2, 1]), weight, {
    before: pad,
    // An even kernel would leave a frame too many.
    after: kernel % 2 === 0 ? pad - 1 : pad,
    groups,
    bias: q.get("bias", [dim], constantInit(0)),
  });
  return ops.transpose(ACTIVATIONS[config.feat_extract_activation](y), [0, 2, 1]);
}

function encoderLayer(
  x: Tensor,
  p: Params,
  config: Wav2Vec2Config,
  bias: Tensor | undefined,
  training?: Training,
): Tensor {
  const { hidden_dropout, layer_norm_eps: eps } = config;
  const init = normalInit(config.initializer_range);
  const options: AttentionOptions = {
    heads: config.num_attention_heads,
    dropout: config.attention_dropout,
    bias,
    init,
  };
  const attend = (h: Tensor) =>
    dropout(selfAttention(h, p.at("attention"), options, training), hidden_dropout, training);
  const feed = (h: Tensor) => feedForward(h, p.at("feed_forward"), config, init, training);
  const [first, second] = [
    (h: Tensor) => layerNorm(h, p.at("layer_norm"), eps),
    (h: Tensor) => layerNorm(h, p.at("final_layer_norm"), eps),
  ];
  if (config.do_stable_layer_norm) {
    const h = ops.add(x, attend(first(x)));
    return ops.add(h, feed(second(h)));
  }
  const h = first(ops.add(x, attend(x)));
  return second(ops.add(h, feed(h)));
}

function feedForward(x: Tensor, p: Params, config: Wav2Vec2Config, init: Init, training?: Training): Tensor {
  const inner = ACTIVATIONS[config.hidden_act](
    linear(x, p.at("intermediate_dense"), config.intermediate_size, init),
  );
  const dropped = dropout(inner, config.activation_dropout, training);
  return dropout(
    linear(dropped, p.at("output_dense"), config.hidden_size, init),
    config.hidden_dropout,
    training,
  );
}
