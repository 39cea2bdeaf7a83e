import { z } from "zod";
import { convolutionBlocks, denseLayers } from "../nn/crdnn.ts";
import { validFrames } from "../nn/layers.ts";
import { lstmLayers } from "../nn/recurrent.ts";
import * as ops from "../ops/index.ts";
import type { Tensor } from "../tensor/tensor.ts";
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
 * Both are built of SpeechBrain's CRDNN (nn/crdnn.ts), without pooling of frames.
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
      const blocks = {
        channels: config.cnn_channels,
        kernel: config.cnn_kernel_size,
        frequencyPooling: config.frequency_pooling,
        dropout: config.dropout,
      };
      const shown = hide(normalised(bands, valid, config), input, 0);
      const heard = convolutionBlocks(shown, valid, blocks, p, training);
      const lstm = { hidden: rnn_neurons, layers: rnn_layers, bidirectional: true, dropout: config.dropout };
      const hidden = lstmLayers(heard, valid, lstm, p.at("rnn"), training);
      const last = denseLayers(hidden[rnn_layers - 1], dnn_neurons, config.dropout, p.at("dnn"), training);
      return { last, hidden };
    },
  };
}

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
