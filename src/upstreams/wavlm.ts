import { z } from "zod";
import { linear } from "../nn/layers.ts";
import * as ops from "../ops/index.ts";
import { constantInit, normalInit, type Params } from "../params/params.ts";
import { addDim, type Dim, mulDim } from "../tensor/dims.ts";
import { region, type Tensor } from "../tensor/tensor.ts";
import { audioTransformer } from "./audio-transformer.ts";
import { encoderKeys, extractorKeys, parseConfig, positionKeys, trainingKeys } from "./config.ts";
import { convolutionalPositions, type EncoderParts } from "./encoder.ts";
import type { Upstream } from "./upstream.ts";

/**
 * WavLM (Chen et al. 2022): wav2vec 2.0's network whose attention scores have a term for the distance between two frames
 * (one table, in the first layer, for all layers), weighted by a gate that each frame computes for itself (section III-A).
 */
export const wavlmConfig = z
  .looseObject({
    model_type: z.literal("wavlm").default("wavlm"),
    ...trainingKeys,
    ...encoderKeys,
    ...extractorKeys,
    ...positionKeys,
    ctc_loss_reduction: z.enum(["sum", "mean"]).default("mean"),
    num_buckets: z.int().min(4).default(320),
    max_bucket_distance: z.int().positive().max(100_000).default(800),
  })
  .refine((c) => c.max_bucket_distance > c.num_buckets >> 2, {
    path: ["max_bucket_distance"],
    error: "it must be more than a quarter of num_buckets, up to where each distance has a bucket of its own",
  });
export type WavLMConfig = z.infer<typeof wavlmConfig>;

/** Reads a Hugging Face configuration. @throws UserError naming the file and key that do not fit. */
export const parseWavLMConfig = (json: unknown, where: string): WavLMConfig =>
  parseConfig(wavlmConfig, json, where);

export function wavlm(config: WavLMConfig): Upstream {
  return audioTransformer(config, {
    modelType: "wavlm",
    prefix: "wavlm",
    parts: (p, features) => gatedRelativePositions(p, features.shape[1], config),
  });
}

function gatedRelativePositions(p: Params, frames: Dim, config: WavLMConfig): EncoderParts {
  const distances = region("encoder.position_bias", () =>
    positionBias(p.at("encoder.layers.0.attention"), frames, config),
  );
  return {
    positions: (x, q) => convolutionalPositions(x, q, config),
    scores: (x, q) => ops.mul(gate(x, q, config), distances),
  };
}

/** How much each frame of each head heeds distances: a (b c - 1) + 2, a and b being its sigmoids; [batch, heads, frames, 1]. */
function gate(x: Tensor, p: Params, { num_attention_heads: heads, initializer_range }: WavLMConfig): Tensor {
  const [batch, frames, dim] = x.shape as [Dim, Dim, number];
  const parts = ops.transpose(ops.reshape(x, [batch, frames, heads, dim / heads]), [0, 2, 1, 3]);
  const eight = linear(parts, p.at("gru_rel_pos_linear"), 8, normalInit(initializer_range));
  // The checkpoints have four projections for each of the two gates, of which only the sum counts.
  const two = ops.sigmoid(ops.reduceSum(ops.reshape(eight, [batch, heads, frames, 2, 4]), [4]));
  const [a, b] = [ops.slice(two, 3, 0, 1), ops.slice(two, 3, 1, 2)];
  const scale = p.get("gru_rel_pos_const", [1, heads, 1, 1], constantInit(1));
  return ops.add(ops.mul(a, ops.sub(ops.mul(b, scale), 1)), 2);
}

/** The learned score of each distance between frames: [heads, frames (query), frames (key)]. */
function positionBias(p: Params, frames: Dim, config: WavLMConfig): Tensor {
  const { num_buckets, num_attention_heads: heads } = config;
  const table = p.at("rel_attn_embed").get("weight", [num_buckets, heads], normalInit(1));
  // Every distance that occurs, key minus query: 1 - frames ... frames - 1.
  const count = addDim(mulDim(frames, 2), -1);
  const last = ops.slice(ops.range(frames), 0, addDim(frames, -1), frames);
  const distance = ops.reshape(ops.sub(ops.range(count), last), [count, 1]);
  const { from, below } = bucketIntervals(config);
  const inside = ops.where(
    ops.less(distance, from),
    0,
    ops.where(ops.less(distance, below), 1, ops.scalar(0)),
  );
  const scores = ops.matMul(table, inside, { transA: true, transB: true });
  return byDistance(scores, frames);
}

/**
 * [heads, 2 frames - 1] by distance -> [heads, frames, frames] by query and key. Copies of the row, each with one element
 * more, read on as rows of the old width: each row comes to lie one place further right than the one before.
 */
function byDistance(scores: Tensor, frames: Dim): Tensor {
  const heads = scores.shape[0];
  const count = scores.shape[1];
  const rows = ops.expand(ops.reshape(ops.pad(scores, 1, 0, 1), [heads, 1, mulDim(frames, 2)]), [
    heads,
    frames,
    mulDim(frames, 2),
  ]);
  const flat = ops.reshape(rows, [heads, mulDim(mulDim(frames, 2), frames)]);
  const shifted = ops.reshape(ops.slice(flat, 1, 0, mulDim(count, frames)), [heads, frames, count]);
  return ops.slice(shifted, 2, addDim(frames, -1), count);
}

const BEYOND = 2 ** 31 - 1;

/**
 * The distances from <= d < below that each bucket holds, i32 [buckets] each: the first half of the buckets for keys at or
 * before the query, the other for keys after it. In each half, half of the buckets hold one distance, the others grow
 * geometrically up to max_bucket_distance (Raffel et al. 2020). A bucket that no distance falls into is empty.
 */
function bucketIntervals({ num_buckets, max_bucket_distance }: WavLMConfig): { from: Tensor; below: Tensor } {
  const half = num_buckets >> 1;
  const from = new Int32Array(num_buckets).fill(BEYOND);
  const below = new Int32Array(num_buckets).fill(BEYOND);
  const sizes = Array.from({ length: max_bucket_distance + 1 }, (_, n) =>
    bucketOf(n, half, max_bucket_distance),
  );
  for (let bucket = 0; bucket < half; bucket++) {
    const first = sizes.indexOf(bucket);
    if (first < 0) continue;
    const next = bucket === half - 1 ? BEYOND : sizes.lastIndexOf(bucket) + 1;
    [from[bucket], below[bucket]] = [next === BEYOND ? -BEYOND : 1 - next, 1 - first];
    // The query itself is not after itself.
    if (next > 1) [from[half + bucket], below[half + bucket]] = [Math.max(1, first), next];
  }
  return { from: bounds(from), below: bounds(below) };
}

const bounds = (values: Int32Array): Tensor => ops.constant([values.length], values, "i32");

/** In float32 as PyTorch computes it: where a boundary is a whole number, rounding decides on which side it lies. */
function bucketOf(distance: number, buckets: number, most: number): number {
  const exact = buckets >> 1;
  if (distance < exact) return distance;
  const ratio = Math.fround(Math.log(Math.fround(distance / exact)));
  const share = Math.fround(ratio / Math.fround(Math.log(most / exact)));
  return Math.min(buckets - 1, Math.trunc(Math.fround(exact + Math.fround(share * (buckets - exact)))));
}
