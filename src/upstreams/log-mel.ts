import { z } from "zod";
import { validFrames } from "../nn/layers.ts";
import * as ops from "../ops/index.ts";
import { parseConfig, trainingKeys } from "./config.ts";
import { deltas, fbank, fbankFrames, fbankHop, normaliseUtterances } from "./fbank.ts";
import { hide } from "./hide.ts";
import type { Upstream } from "./upstream.ts";

/**
 * The upstream that learns nothing, against which the others are measured: SUPERB's FBANK (Yang et al. 2021) as s3prl
 * makes it, 80 log mel bands with their first and second slopes, zero mean and unit variance over each utterance.
 */
export const logMelConfig = z.looseObject({
  model_type: z.literal("log-mel").default("log-mel"),
  ...trainingKeys,
  final_dropout: z.number().min(0).max(1).default(0),
  layerdrop: z.number().min(0).max(1).default(0),
  mask_time_prob: z.number().min(0).max(1).default(0),
  num_mel_bins: z.int().positive().max(128).default(80),
  /** How often slopes are taken: 2 gives three times as many channels. */
  deltas: z.int().min(0).max(2).default(2),
  normalize: z.boolean().default(true),
});
export type LogMelConfig = z.infer<typeof logMelConfig>;

/** Reads a configuration in Hugging Face's form. @throws UserError naming the file and key that do not fit. */
export const parseLogMelConfig = (json: unknown, where: string): LogMelConfig =>
  parseConfig(logMelConfig, json, where);

export function logMel(config: LogMelConfig): Upstream {
  return {
    modelType: "log-mel",
    prefix: "log_mel",
    settings: config,
    hiddenSize: config.num_mel_bins * (config.deltas + 1),
    layers: 0,
    sampleRate: 16_000,
    hop: fbankHop,
    padSensitive: false,
    frames: fbankFrames,
    forward(input) {
      const streams = [fbank(input.audio, config.num_mel_bins, "povey")];
      const [batch, frames] = streams[0].shape;
      const valid = input.frames && validFrames(input.frames, frames);
      for (let order = 1; order <= config.deltas; order++) streams.push(deltas(streams[order - 1], valid));
      const joined = ops.concat(streams, 2);
      const only = valid ? ops.where(ops.reshape(valid, [batch, frames, 1]), joined, 0) : joined;
      const features = hide(config.normalize ? normaliseUtterances(joined, valid) : only, input, 0);
      return { last: features, hidden: [features] };
    },
  };
}
