import { z } from "zod";
import { dropout, layerNorm, linear, type Training, validFrames } from "../nn/layers.ts";
import { lstmLayers } from "../nn/recurrent.ts";
import * as ops from "../ops/index.ts";
import { normalInit, type Params, uniformInit } from "../params/params.ts";
import { product } from "../tensor/dims.ts";
import { region, type Tensor } from "../tensor/tensor.ts";
import { parseConfig, trainingKeys } from "./config.ts";
import { fbank, fbankFrames, fbankHop, normaliseUtterances } from "./fbank.ts";
import { hide } from "./hide.ts";
import type { Upstream } from "./upstream.ts";

const size = z.int().positive();

/**
 * The encoder with which Zaiem et al. 2022 compare pretext tasks ("PASE-like", appendix A): blocks of two-dimensional
 * convolutions over a log mel spectrogram, bidirectional LSTMs, and a small multi-layer perceptron. `variant` "paper" is
 * the encoder of the text, "released" that of the authors' settings; each key may be given on its own as well.
 *
 * Both are built of SpeechBrain's CRDNN. Two things are other here, so that an utterance becomes the same alone and in a
 * padded batch: convolutions see zeros past the edges (there reflections), and the perceptron has layer norm (there batch
 * norm).
 */
const keys = {
  model_type: z.literal("pase").default("pase"),
  ...trainingKeys,
  final_dropout: z.number().min(0).max(1).default(0),
  layerdrop: z.literal(0, { error: "this encoder has no layers to leave out; it must be 0" }).default(0),
  mask_time_prob: z.number().min(0).max(1).default(0),
  mask_feature_prob: z
    .literal(0, { error: "channels of this encoder cannot be hidden; it must be 0" })
    .default(0),
  num_mel_bins: size.max(128).default(80),
  /** Zero mean and unit variance of each band: over the `utterance`, by `feature_mean` and `feature_std`, or not at all. */
  normalize: z.enum(["utterance", "global", "none"]).default("utterance"),
  feature_mean: z.array(z.number()).optional(),
  feature_std: z.array(z.number().positive()).optional(),
  /** Two convolutions each. */
  cnn_channels: z.array(size).min(1).default([128, 200, 256]),
  cnn_kernel_size: size
    .refine((n) => n % 2 === 1, { error: "it must be odd, so that every frame stays in its place" })
    .default(3),
  /** Neighbouring bands of which the largest goes on, after each block. Frames are never pooled. */
  frequency_pooling: size.default(2),
  rnn_neurons: size.default(256),
  dropout: z.number().min(0).max(1).default(0.15),
};
const VARIANTS = {
  paper: { rnn_layers: 5, dnn_neurons: [256, 256] },
  released: { rnn_layers: 6, dnn_neurons: [512, 512] },
} as const;

export const paseConfig = z
  .looseObject({
    ...keys,
    variant: z.enum(["paper", "released"]).default("paper"),
    rnn_layers: size.optional(),
    dnn_neurons: z.array(size).min(1).optional(),
  })
  .transform((c) => ({
    ...c,
    rnn_layers: c.rnn_layers ?? VARIANTS[c.variant].rnn_layers,
    dnn_neurons: c.dnn_neurons ?? [...VARIANTS[c.variant].dnn_neurons],
  }))
  .refine((c) => c.num_mel_bins >= c.frequency_pooling ** c.cnn_channels.length, {
    path: ["frequency_pooling"],
    error: "no band is left after the last block",
  })
  .refine(
    (c) =>
      c.normalize !== "global" ||
      [c.feature_mean, c.feature_std].every((values) => values?.length === c.num_mel_bins),
    { path: ["normalize"], error: "`global` wants feature_mean and feature_std, a number for each band" },
  );
export type PaseConfig = z.output<typeof paseConfig>;

/** Reads a configuration in Hugging Face's form. @throws UserError naming the file and key that do not fit. */
export const parsePaseConfig = (json: unknown, where: string): PaseConfig =>
  parseConfig<PaseConfig>(paseConfig, json, where);

/** Hidden states are those of the LSTM layers, 2 `rnn_neurons` wide; `last` is the perceptron's, as wide as its last layer. */
export function pase(config: PaseConfig): Upstream {
  const { rnn_layers, rnn_neurons, dnn_neurons } = config;
  return {
    modelType: "pase",
    prefix: "pase",
    settings: config,
    hiddenSize: dnn_neurons[dnn_neurons.length - 1],
    layers: rnn_layers - 1,
    sampleRate: 16_000,
    hop: fbankHop,
    padSensitive: false,
    frames: fbankFrames,
    forward(input, p) {
      const { training } = input;
      const bands = fbank(input.audio, config.num_mel_bins, "povey");
      const valid = input.frames && validFrames(input.frames, bands.shape[1]);
      const heard = convolutions(
        hide(normalised(bands, valid, config), input, 0),
        valid,
        p,
        config,
        training,
      );
      const lstm = { hidden: rnn_neurons, layers: rnn_layers, bidirectional: true, dropout: config.dropout };
      const hidden = lstmLayers(heard, valid, lstm, p.at("rnn"), training);
      let last = hidden[rnn_layers - 1];
      for (const [i, neurons] of dnn_neurons.entries()) {
        const q = p.at(`dnn.${i}`);
        const rectified = leakyRelu(layerNorm(linear(last, q.at("linear"), neurons), q.at("norm"), 1e-5));
        last = dropout(rectified, config.dropout, training);
      }
      return { last, hidden };
    },
  };
}

const leakyRelu = (x: Tensor): Tensor => ops.maximum(x, ops.mul(x, 0.01));

/** The spectrogram [batch, frames, bands] as the network takes it: padding is zero. */
function normalised(x: Tensor, valid: Tensor | undefined, config: PaseConfig): Tensor {
  if (config.normalize === "utterance") return normaliseUtterances(x, valid);
  const [batch, frames, bands] = x.shape;
  const row = (values: readonly number[]) => ops.constant([bands as number], values);
  const y =
    config.normalize === "global"
      ? ops.div(ops.sub(x, row(config.feature_mean!)), row(config.feature_std!))
      : x;
  return valid ? ops.where(ops.reshape(valid, [batch, frames, 1]), y, 0) : y;
}

/** Blocks of convolution, layer norm over channels and bands, rectifier, twice, and the largest of neighbouring bands. */
function convolutions(
  x: Tensor,
  valid: Tensor | undefined,
  p: Params,
  config: PaseConfig,
  training: Training | undefined,
): Tensor {
  const [batch, frames, bands] = x.shape;
  const mask = valid && ops.reshape(valid, [batch, frames, 1, 1]);
  // [batch, frames, channels, bands] between blocks: what layer norm and the LSTM want.
  let h = ops.reshape(x, [batch, frames, 1, bands]);
  for (const [block, channels] of config.cnn_channels.entries()) {
    for (const half of [1, 2])
      h = region(`cnn.${block}.${half}`, () => {
        const q = p.at(`cnn.${block}`);
        const inside = mask ? ops.where(mask, h, 0) : h;
        return leakyRelu(
          joinedNorm(convolve(inside, channels, q.at(`conv_${half}`), config), q.at(`norm_${half}`)),
        );
      });
    h = dropout(pooled(h, config.frequency_pooling), config.dropout, training);
  }
  return ops.reshape(h, [batch, frames, product(h.shape.slice(2))]);
}

function convolve(h: Tensor, channels: number, p: Params, { cnn_kernel_size: kernel }: PaseConfig): Tensor {
  const inside = h.shape[2] as number;
  const fan = inside * kernel ** 2;
  const weight = p.get("weight", [channels, inside, kernel, kernel], normalInit(Math.sqrt(2 / fan)));
  const bias = p.get("bias", [channels], uniformInit(1 / Math.sqrt(fan)));
  const picture = ops.conv2d(ops.transpose(h, [0, 2, 1, 3]), weight, { same: true, bias });
  return ops.transpose(picture, [0, 2, 1, 3]);
}

function joinedNorm(h: Tensor, p: Params): Tensor {
  const [batch, frames, ...rest] = h.shape;
  return ops.reshape(layerNorm(ops.reshape(h, [batch, frames, product(rest)]), p, 1e-5), h.shape);
}

/** The largest of each `by` neighbouring bands; bands left over at the top are dropped. */
function pooled(h: Tensor, by: number): Tensor {
  const whole = Math.floor((h.shape[3] as number) / by) * by;
  return Array.from({ length: by }, (_, i) => ops.slice(h, 3, i, whole, by)).reduce((a, b) =>
    ops.maximum(a, b),
  );
}
