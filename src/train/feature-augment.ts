import * as ops from "../ops/index.ts";
import type { Random } from "../random.ts";
import { f32, type Value } from "../runtime/program.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** SpecAugment over hidden features as s3prl applies it (its default for ASR and slot filling); 0 turns a part off. */
export interface SpecAugment {
  /** Frames that a point of time moves at most. */
  readonly timeWarp: number;
  readonly timeMasks: number;
  /** Frames that a mask covers at most, exclusive. */
  readonly timeWidth: number;
  readonly channelMasks: number;
  readonly channelWidth: number;
}

/** Bicubic interpolation's sharpness in PyTorch (Keys 1981 has -0.5). */
const SHARPNESS = -0.75;

const cubic = (x: number): number => {
  const d = Math.abs(x);
  if (d <= 1) return ((SHARPNESS + 2) * d - (SHARPNESS + 3)) * d * d + 1;
  return d < 2 ? (((d - 5) * d + 8) * d - 4) * SHARPNESS : 0;
};

/** Rows [to, from] that stretch `from` frames to `to` by bicubic interpolation, places aligned by their edges. */
export function stretch(from: number, to: number): Float32Array {
  const out = new Float32Array(to * from);
  for (let t = 0; t < to; t++) {
    const place = ((t + 0.5) * from) / to - 0.5;
    const left = Math.floor(place);
    for (let tap = left - 1; tap <= left + 2; tap++)
      out[t * from + Math.min(from - 1, Math.max(0, tap))] += cubic(place - tap);
  }
  return out;
}

/**
 * The matrix [width, width] that warps the first `frames` frames: a point in the middle moves, both sides stretch. Too
 * short utterances stay as they are. Being linear in time it also commutes with the sum over layers.
 */
export function timeWarp(frames: number, width: number, window: number, chance: Random): Float32Array {
  const out = new Float32Array(width * width);
  if (window === 0 || frames - window <= window) {
    for (let t = 0; t < frames; t++) out[t * width + t] = 1;
    return out;
  }
  const center = window + chance.int(frames - 2 * window);
  const warped = center - window + chance.int(2 * window) + 1;
  const put = (matrix: Float32Array, from: number, to: number, at: [row: number, column: number]) => {
    for (let t = 0; t < to; t++)
      out.set(matrix.subarray(t * from, (t + 1) * from), (at[0] + t) * width + at[1]);
  };
  put(stretch(center, warped), center, warped, [0, 0]);
  put(stretch(frames - center, frames - warped), frames - center, frames - warped, [warped, center]);
  return out;
}

/** Factors [rows, size], 0 where masked: so many masks a row, each of a width below `limit`, from anywhere. */
export function masks(
  rows: number,
  size: number,
  count: number,
  limit: number,
  chance: Random,
): Float32Array {
  const out = new Float32Array(rows * size).fill(1);
  if (count === 0 || limit === 0) return out;
  const widths = Array.from({ length: rows * count }, () => chance.int(limit));
  // One bound for the whole batch, by its widest mask, as s3prl has it.
  const places = Math.max(1, size - Math.max(...widths));
  for (const [i, width] of widths.entries()) {
    const row = Math.floor(i / count);
    const start = chance.int(places);
    out.fill(0, row * size + start, row * size + Math.min(size, start + width));
  }
  return out;
}

/** Features [batch, frames, dim] warped and masked by the graph inputs `warp`, `keep.channels` and `keep.frames`. */
export function augmentFeatures(
  x: Tensor,
  { timeWarp: window }: SpecAugment,
  declare: (input: Tensor) => Tensor,
): Tensor {
  const [batch, frames, dim] = x.shape;
  const warped = window > 0 ? ops.matMul(declare(ops.input("warp", [batch, frames, frames])), x) : x;
  const kept = ops.mul(warped, declare(ops.input("keep.channels", [batch, 1, dim])));
  return ops.mul(kept, declare(ops.input("keep.frames", [batch, frames, 1])));
}

/**
 * Those inputs, drawn anew.
 * @param frames valid frames of each utterance; `width` frames are in the batch
 */
export function augmentFeeds(
  { timeWarp: window, channelMasks, channelWidth, timeMasks, timeWidth }: SpecAugment,
  frames: readonly number[],
  width: number,
  dim: number,
  chance: Random,
): Record<string, Value> {
  const batch = frames.length;
  const feeds: Record<string, Value> = {};
  if (window > 0) {
    const warp = new Float32Array(batch * width * width);
    for (const [row, count] of frames.entries())
      warp.set(timeWarp(count, width, window, chance), row * width * width);
    feeds.warp = f32([batch, width, width], warp);
  }
  feeds["keep.channels"] = f32([batch, 1, dim], masks(batch, dim, channelMasks, channelWidth, chance));
  feeds["keep.frames"] = f32([batch, width, 1], masks(batch, width, timeMasks, timeWidth, chance));
  return feeds;
}
