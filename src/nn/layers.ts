import * as ops from "../ops/index.ts";
import { constantInit, type Init, type Params, uniformInit } from "../params/params.ts";
import { type Dim, type Shape, subDim, symbol } from "../tensor/dims.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** What makes a pass a training pass: where randomness comes from. Absent in evaluation. */
export interface Training {
  /** i32 scalar: a hash of (run seed, step). */
  readonly seed: Tensor;
  /** The next random place of the model; the order of calls is the model's, so it is the same in every trace. */
  nextSite(): number;
  /** The batch that all first axes are the front of, in a layer that runs on fewer utterances. */
  readonly batch?: Dim;
}

export function trainingMode(seed: Tensor): Training {
  let site = 0;
  return { seed, nextSite: () => site++ };
}

/** Dropout in training, x in evaluation. */
export function dropout(x: Tensor, rate: number, training: Training | undefined): Tensor {
  if (training === undefined || rate === 0) return x;
  return ops.dropout(x, training.seed, training.nextSite(), rate, training.batch);
}

const sizeOfLast = (x: Tensor): number => x.shape[x.shape.length - 1] as number;

/** y = x W^T + b over the last axis; weight [out, in]. */
export function linear(x: Tensor, p: Params, out: number, init?: Init): Tensor {
  const inner = sizeOfLast(x);
  const bound = uniformInit(1 / Math.sqrt(inner));
  return ops.affine(
    x,
    p.get("weight", [out, inner], init ?? bound),
    p.get("bias", [out], init ? constantInit(0) : bound),
  );
}

export function layerNorm(x: Tensor, p: Params, epsilon: number): Tensor {
  const dim = sizeOfLast(x);
  return ops.layerNorm(
    x,
    p.get("weight", [dim], constantInit(1)),
    p.get("bias", [dim], constantInit(0)),
    epsilon,
  );
}

/** max(x, 0) + a min(x, 0) with one learned slope a (He et al. 2015), PyTorch's start. */
export function prelu(x: Tensor, p: Params): Tensor {
  const slope = p.get("weight", [1], constantInit(0.25));
  return ops.add(ops.relu(x), ops.mul(slope, ops.minimum(x, 0)));
}

/** The activations that Hugging Face's configurations name. */
export const ACTIVATIONS: Readonly<Record<string, (x: Tensor) => Tensor>> = {
  gelu: ops.gelu,
  relu: ops.relu,
  tanh: ops.tanh,
  sigmoid: ops.sigmoid,
  silu: (x) => ops.mul(x, ops.sigmoid(x)),
  swish: (x) => ops.mul(x, ops.sigmoid(x)),
  gelu_new: geluTanh,
  gelu_pytorch_tanh: geluTanh,
  gelu_fast: geluTanh,
  quick_gelu: (x) => ops.mul(x, ops.sigmoid(ops.mul(x, 1.702))),
  linear: (x) => x,
};

/** x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) (Hendrycks and Gimpel 2016). */
function geluTanh(x: Tensor): Tensor {
  const cube = ops.mul(x, ops.mul(x, x));
  const inner = ops.mul(ops.add(x, ops.mul(cube, 0.044715)), Math.sqrt(2 / Math.PI));
  return ops.mul(ops.mul(x, 0.5), ops.add(ops.tanh(inner), 1));
}

/** true for the frames of each utterance that are speech: [batch, frames] from their counts, i32 [batch]. */
export function validFrames(counts: Tensor, frames: Shape[number]): Tensor {
  const [batch] = counts.shape;
  return ops.less(ops.reshape(ops.range(frames), [1, frames]), ops.reshape(counts, [batch, 1]));
}

/** Mean over the valid frames: [batch, frames, dim] -> [batch, dim]. */
export function maskedMean(x: Tensor, valid: Tensor): Tensor {
  const [batch, frames] = valid.shape;
  const weights = ops.cast(valid, "f32");
  const kept = ops.where(ops.reshape(valid, [batch, frames, 1]), x, 0);
  return ops.div(ops.reduceSum(kept, [1]), ops.reduceSum(weights, [1], true));
}

export interface AttentionOptions {
  readonly heads: number;
  /** Of a head; by default heads share the frames' width out among them. */
  readonly width?: number | null;
  readonly dropout: number;
  /** Added to the scores, broadcast to [batch, heads, frames, frames]: large negative numbers hide keys. */
  readonly bias?: Tensor;
  readonly init: Init;
}

/** Multi-head self-attention (Vaswani et al. 2017) with q_proj, k_proj, v_proj and out_proj. */
export function selfAttention(x: Tensor, p: Params, o: AttentionOptions, training?: Training): Tensor {
  const [batch, frames, dim] = x.shape as [Shape[number], Shape[number], number];
  const width = o.width ?? dim / o.heads;
  const inner = width * o.heads;
  const split = (name: string) =>
    ops.transpose(
      ops.reshape(linear(x, p.at(name), inner, o.init), [batch, frames, o.heads, width]),
      [0, 2, 1, 3],
    );
  const [q, k, v] = [split("q_proj"), split("k_proj"), split("v_proj")];
  const raw = ops.matMul(q, k, { transB: true, alpha: 1 / Math.sqrt(width) });
  const scores = o.bias === undefined ? raw : ops.add(raw, o.bias);
  const weights = dropout(ops.softmax(scores), o.dropout, training);
  const heard = ops.transpose(ops.matMul(weights, v), [0, 2, 1, 3]);
  return linear(ops.reshape(heard, [batch, frames, inner]), p.at("out_proj"), dim, o.init);
}

/**
 * Runs `layer` on the first `kept` utterances only and passes the others on: with 0 kept the layer costs nothing,
 * without a branch in the graph (layer drop, Fan et al. 2020). `kept` is an input whose *shape* is the count.
 */
export function maybeSkipped(
  x: Tensor,
  name: string,
  layer: (x: Tensor) => Tensor,
  declare: (input: Tensor) => void,
): Tensor {
  const kept = ops.input(name, [symbol(name)], "bool");
  declare(kept);
  const [batch] = x.shape;
  const [count] = kept.shape;
  const [front, rest] = ops.split(x, 0, [count, subDim(batch, count)]);
  return ops.concat([layer(front), rest], 0);
}
