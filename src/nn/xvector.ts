import * as ops from "../ops/index.ts";
import { type Params, uniformInit } from "../params/params.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { validFrames } from "./layers.ts";

/** A layer that sees `context` frames, `dilation` apart. */
export interface TdnnLayer {
  readonly width: number;
  readonly context: number;
  readonly dilation: number;
}

/** The x-vector's frame-level layers (Snyder et al. 2018) in s3prl's widths. */
export const xvectorLayers = (width: number, last: number): TdnnLayer[] => [
  { width, context: 5, dilation: 1 },
  { width, context: 3, dilation: 2 },
  { width, context: 3, dilation: 3 },
  { width, context: 1, dilation: 1 },
  { width: last, context: 1, dilation: 1 },
];

/** Frames that a stack of layers takes from the ends. */
export const lostFrames = (layers: readonly TdnnLayer[]): number =>
  layers.reduce((sum, { context, dilation }) => sum + dilation * (context - 1), 0);

/**
 * Time-delay layers (Peddinti et al. 2015), each followed by a rectifier, without padding.
 * @param x [batch, frames, dim]
 * @returns [batch, frames - lostFrames(layers), width of the last]
 */
export function tdnn(x: Tensor, layers: readonly TdnnLayer[], p: Params): Tensor {
  let h = ops.transpose(x, [0, 2, 1]);
  for (const [i, { width, context, dilation }] of layers.entries()) {
    const q = p.at(`${i}.kernel`);
    const inner = h.shape[1] as number;
    const init = uniformInit(1 / Math.sqrt(inner * context));
    const weight = q.get("weight", [width, inner, context], init);
    h = ops.relu(ops.conv1d(h, weight, { dilation, bias: q.get("bias", [width], init) }));
  }
  return ops.transpose(h, [0, 2, 1]);
}

/** Keeps the slope of the root finite where a channel does not move; its own gradient is 0 there. */
const STILL = 1e-12;

/**
 * Mean and standard deviation (unbiased) over the valid frames, side by side: [batch, frames, dim] -> [batch, 2 dim].
 * @param counts i32 [batch], at least 1; a single frame has no deviation
 */
export function statisticsPooling(x: Tensor, counts: Tensor): Tensor {
  const [batch, frames, dim] = x.shape;
  const valid = ops.reshape(validFrames(counts, frames), [batch, frames, 1]);
  const count = ops.reshape(ops.cast(counts, "f32"), [batch, 1]);
  const mean = ops.div(ops.reduceSum(ops.where(valid, x, 0), [1]), count);
  const centred = ops.where(valid, ops.sub(x, ops.reshape(mean, [batch, 1, dim])), 0);
  const squares = ops.reduceSum(ops.mul(centred, centred), [1]);
  const deviation = ops.sqrt(ops.add(ops.div(squares, ops.maximum(ops.sub(count, 1), 1)), STILL));
  return ops.concat([mean, deviation], 1);
}
