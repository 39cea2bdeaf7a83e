import { z } from "zod";
import { dropout, linear, validFrames } from "../nn/layers.ts";
import * as ops from "../ops/index.ts";
import { addDim, type Dim, floorDiv } from "../tensor/dims.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { encoderKeys, parseConfig, positionKeys, trainingKeys } from "./config.ts";
import { convolutionalPositions, encoder } from "./encoder.ts";
import { fbank, fbankFrames, fbankHop, normaliseUtterances } from "./fbank.ts";
import { hide } from "./hide.ts";
import type { Upstream } from "./upstream.ts";

/**
 * DeCoAR 2.0 (Ling and Liu 2020): a transformer over log mel features, pre-trained to reconstruct slices of them through a
 * quantiser. As s3prl reads its released checkpoint: 80 of Kaldi's bands through a Hamming window, zero mean and unit
 * variance over each utterance, every second frame, wav2vec 2.0's encoder with post-norm layers. It wants audio in
 * [-1, 1] that is not normalised.
 */
export const decoar2Config = z.looseObject({
  model_type: z.literal("decoar2").default("decoar2"),
  ...trainingKeys,
  ...encoderKeys,
  ...positionKeys,
  feat_proj_dropout: z.number().min(0).max(1).default(0.1),
  layerdrop: z.number().min(0).max(1).default(0.05),
  activation_dropout: z.number().min(0).max(1).default(0),
  do_stable_layer_norm: z.literal(false).default(false),
  num_mel_bins: z.int().positive().max(128).default(80),
  /** Filterbank frames (10 ms) to one of the model's: every second one as published, 4 for small models. */
  frame_stride: z.int().positive().default(2),
});
export type Decoar2Config = z.infer<typeof decoar2Config>;

/** Reads a configuration in Hugging Face's form. @throws UserError naming the file and key that do not fit. */
export const parseDecoar2Config = (json: unknown, where: string): Decoar2Config =>
  parseConfig(decoar2Config, json, where);

const strided = (frames: Dim, stride: number): Dim => floorDiv(addDim(frames, stride - 1), stride);

export function decoar2(config: Decoar2Config): Upstream {
  return {
    modelType: "decoar2",
    prefix: "decoar2",
    settings: config,
    hiddenSize: config.hidden_size,
    layers: config.num_hidden_layers,
    sampleRate: 16_000,
    hop: config.frame_stride * fbankHop,
    padSensitive: false,
    frames: (samples) => strided(fbankFrames(samples), config.frame_stride),
    forward(input, p) {
      const features = decoar2Features(input.audio, input.frames, config.num_mel_bins, config.frame_stride);
      const projected = linear(features, p.at("feature_projection.projection"), config.hidden_size);
      const dropped = dropout(projected, config.feat_proj_dropout, input.training);
      return encoder(hide(dropped, input, 0), p.at("encoder"), config, input, {
        positions: (x, q) => convolutionalPositions(x, q, config),
      });
    },
  };
}

/**
 * Normalised log mel features, every `stride`-th frame: [batch, samples] -> [batch, frames, bands]. Of a padded utterance with
 * `counts` frames, i32 [batch], the statistics cover stride (counts - 1) + 1 of the full rate: whether more were there is not
 * known.
 */
export function decoar2Features(
  audio: Tensor,
  counts: Tensor | undefined,
  bands: number,
  stride = 2,
): Tensor {
  const all = fbank(audio, bands, "hamming");
  const frames = all.shape[1];
  const valid = counts && validFrames(ops.sub(ops.mul(counts, stride), stride - 1), frames);
  return ops.slice(normaliseUtterances(all, valid), 1, 0, frames, stride);
}
