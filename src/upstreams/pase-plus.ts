import { z } from "zod";
import { linear } from "../nn/layers.ts";
import * as ops from "../ops/index.ts";
import { constantInit, type Params, uniformInit } from "../params/params.ts";
import { floorDiv, mulDim } from "../tensor/dims.ts";
import { region, type Tensor } from "../tensor/tensor.ts";
import { parseConfig, trainingKeys } from "./config.ts";
import { hide } from "./hide.ts";
import type { Upstream } from "./upstream.ts";

const size = z.int().positive();
const rate = z.number().min(0).max(1);
const RATE = 16_000;

/**
 * PASE+ (Ravanelli et al. 2020): band-pass filters with learned edges (SincNet), convolutions, a quasi-recurrent network,
 * and shortcuts from every block to the embedding. Keys and parameter names are those of the authors' code
 * (santi-pdp/pase, `PASE+.cfg`).
 *
 * Batch norm is used with the statistics of the checkpoint, in training too: a batch of utterances gives what each gives
 * alone. Samples beyond a whole frame are left out.
 */
export const pasePlusConfig = z
  .looseObject({
    model_type: z.literal("pase-plus").default("pase-plus"),
    ...trainingKeys,
    final_dropout: rate.default(0),
    layerdrop: z.literal(0, { error: "this model has no layers to leave out; it must be 0" }).default(0),
    mask_time_prob: rate.default(0),
    mask_feature_prob: z
      .literal(0, { error: "channels of this model cannot be hidden; it must be 0" })
      .default(0),
    kwidths: z.array(size).min(1).default([251, 20, 11, 11, 11, 11, 11, 11]),
    strides: z.array(size).default([1, 10, 2, 1, 2, 1, 2, 2]),
    fmaps: z.array(size).default([64, 64, 128, 128, 256, 256, 512, 512]),
    emb_dim: size.default(256),
    rnn_dim: size.default(512),
    rnn_layers: size.default(1),
    denseskips: z.boolean().default(true),
    norm_out: z.boolean().default(true),
  })
  .refine((c) => c.kwidths.length === c.strides.length && c.kwidths.length === c.fmaps.length, {
    path: ["kwidths"],
    error: "kwidths, strides and fmaps must have equally many entries",
  })
  .refine((c) => c.kwidths[0] % 2 === 1 && c.strides[0] === 1, {
    path: ["kwidths"],
    error: "the first kernel, of SincNet's filters, must be odd and its stride 1",
  });
export type PasePlusConfig = z.infer<typeof pasePlusConfig>;

/** Reads a configuration. @throws UserError naming the file and key that do not fit. */
export const parsePasePlusConfig = (json: unknown, where: string): PasePlusConfig =>
  parseConfig<PasePlusConfig>(pasePlusConfig, json, where);

export function pasePlus(config: PasePlusConfig): Upstream {
  const hop = config.strides.reduce((a, b) => a * b, 1);
  return {
    modelType: "pase-plus",
    prefix: "pase_plus",
    settings: config,
    hiddenSize: config.emb_dim,
    layers: 0,
    sampleRate: RATE,
    hop,
    // Convolutions reflect the signal at its ends.
    padSensitive: true,
    frames: (samples) => floorDiv(samples, hop),
    forward(input, p) {
      const { audio } = input;
      const whole = mulDim(floorDiv(audio.shape[1], hop), hop);
      let h = ops.reshape(ops.slice(audio, 1, 0, whole), [audio.shape[0], 1, whole]);
      const skips: Tensor[] = [];
      for (const i of config.kwidths.keys()) {
        h = region(`blocks.${i}`, () => block(h, i, p.at(`blocks.${i}`), config));
        if (config.denseskips && i + 1 < config.kwidths.length)
          skips.push(shortcut(h, p.at(`denseskips.${i}`), config, i));
      }
      let frames = ops.transpose(h, [2, 0, 1]);
      for (let layer = 0; layer < config.rnn_layers; layer++)
        frames = quasiRecurrent(frames, config.rnn_dim, p.at(`rnn.layers.${layer}`));
      const rows = ops.transpose(frames, [1, 2, 0]);
      let y = pointwise(rows, config.emb_dim, p.at("W"), true);
      for (const skip of skips) y = ops.add(y, skip);
      if (config.norm_out) y = batchNorm(y, p.at("norm_out"), false);
      const last = hide(ops.transpose(y, [0, 2, 1]), input, 0);
      return { last, hidden: [last] };
    },
  };
}

/** Convolution, batch norm, rectifier with a learned slope: [batch, channels, samples]. */
function block(x: Tensor, i: number, p: Params, config: PasePlusConfig): Tensor {
  const [kernel, stride, dim] = [config.kwidths[i], config.strides[i], config.fmaps[i]];
  const inside = x.shape[1] as number;
  const after = Math.floor(kernel / 2);
  const before = stride > 1 || kernel % 2 === 0 ? after - 1 : after;
  const padded = kernel > 1 ? reflected(x, before, after) : x;
  const init = uniformInit(1 / Math.sqrt(inside * kernel));
  const y =
    i === 0
      ? ops.conv1d(padded, sincFilters(dim, kernel, p.at("conv")))
      : ops.conv1d(padded, p.at("conv").get("weight", [dim, inside, kernel], init), {
          stride,
          bias: p.at("conv").get("bias", [dim], init),
        });
  const normal = batchNorm(y, p.at("norm"), true);
  const slope = ops.reshape(p.at("act").get("weight", [dim], constantInit(0)), [1, dim, 1]);
  const up = ops.relu(normal);
  return ops.add(up, ops.mul(slope, ops.sub(normal, up)));
}

/** The signal with its mirror image at both ends, the end samples once. */
function reflected(x: Tensor, before: number, after: number): Tensor {
  const parts = [x];
  if (before > 0) parts.unshift(ops.flip(ops.slice(x, 2, 1, before + 1), 2));
  if (after > 0) parts.push(ops.slice(ops.flip(x, 2), 2, 1, after + 1));
  return ops.concat(parts, 2);
}

/**
 * Band-pass filters [filters, 1, kernel] through a Hamming window, from their lower edges and widths in Hz (Ravanelli and
 * Bengio 2018, eq. 4): symmetric, and 1 in the middle.
 */
function sincFilters(filters: number, kernel: number, p: Params): Tensor {
  const half = (kernel - 1) / 2;
  const edges = melEdges(filters);
  const widths = edges.slice(1).map((edge, i) => edge - edges[i]);
  const least = 50;
  const column = (name: string, values: readonly number[]) =>
    ops.abs(p.get(name, [filters, 1], { kind: "values", values }));
  const low = ops.add(column("low_hz_", edges.slice(0, -1)), least);
  const high = ops.minimum(ops.add(ops.add(low, least), column("band_hz_", widths)), RATE / 2);
  const band = ops.sub(high, low);
  const times = Float32Array.from({ length: half }, (_, n) => (2 * Math.PI * (n - half)) / RATE);
  // The authors' window: its first half, sampled at steps a little wider than one.
  const window = Float32Array.from({ length: half }, (_, n) => {
    const place = half > 1 ? (n * (kernel / 2 - 1)) / (half - 1) : 0;
    return 0.54 - 0.46 * Math.cos((2 * Math.PI * place) / kernel);
  });
  const row = (values: Float32Array) => ops.constant([1, half], values);
  const wave = (edge: Tensor) => ops.sin(ops.mul(edge, row(times)));
  const factor = row(times.map((t, n) => window[n] / (t / 2)));
  const left = ops.mul(ops.sub(wave(high), wave(low)), factor);
  const whole = ops.concat([left, ops.mul(band, 2), ops.flip(left, 1)], 1);
  return ops.reshape(ops.div(whole, ops.mul(band, 2)), [filters, 1, kernel]);
}

/** Edges of bands that are equally wide on the mel scale, 30 Hz to 100 Hz below half the sample rate. */
function melEdges(bands: number): number[] {
  const mel = (hz: number) => 2595 * Math.log10(1 + hz / 700);
  const [from, to] = [mel(30), mel(RATE / 2 - 100)];
  return Array.from(
    { length: bands + 1 },
    (_, i) => 700 * (10 ** ((from + ((to - from) * i) / bands) / 2595) - 1),
  );
}

/** By the checkpoint's own mean and variance of each channel, which do not train. */
function batchNorm(x: Tensor, p: Params, affine: boolean): Tensor {
  const channels = x.shape[1] as number;
  const column = (name: string, start: number) =>
    ops.reshape(p.get(name, [channels], constantInit(start)), [1, channels, 1]);
  const deviation = ops.sqrt(ops.add(ops.stopGradient(column("running_var", 1)), 1e-5));
  const normal = ops.div(ops.sub(x, ops.stopGradient(column("running_mean", 0))), deviation);
  return affine ? ops.add(ops.mul(normal, column("weight", 1)), column("bias", 0)) : normal;
}

/** A block's contribution to the embedding: its projection, averaged over the samples of each frame. */
function shortcut(h: Tensor, p: Params, { strides, emb_dim }: PasePlusConfig, i: number): Tensor {
  const perFrame = strides.slice(i + 1).reduce((a, b) => a * b, 1);
  const y = pointwise(h, emb_dim, p, false);
  if (perFrame === 1) return y;
  const [batch, dim, samples] = y.shape;
  const parts = ops.reshape(y, [batch, dim, floorDiv(samples, perFrame), perFrame]);
  return ops.reduceMean(parts, [3]);
}

function pointwise(x: Tensor, dim: number, p: Params, withBias: boolean): Tensor {
  const inside = x.shape[1] as number;
  const init = uniformInit(1 / Math.sqrt(inside));
  const bias = withBias ? p.get("bias", [dim], init) : undefined;
  return ops.conv1d(x, p.get("weight", [dim, inside, 1], init), { bias });
}

/** QRNN with output gate over two frames (Bradbury et al. 2017): [frames, batch, dim] -> [frames, batch, hidden]. */
function quasiRecurrent(x: Tensor, hidden: number, p: Params): Tensor {
  const frames = x.shape[0];
  const earlier = ops.slice(ops.pad(x, 0, 1, 0), 0, 0, frames);
  const gates = linear(ops.concat([x, earlier], 2), p.at("linear"), 3 * hidden);
  const part = (i: number) => ops.slice(gates, 2, i * hidden, (i + 1) * hidden);
  const [candidate, forget, output] = [ops.tanh(part(0)), ops.sigmoid(part(1)), ops.sigmoid(part(2))];
  return ops.mul(output, ops.linearScan(ops.sub(1, forget), ops.mul(forget, candidate)));
}
