import * as ops from "../ops/index.ts";
import { constantInit, type Params } from "../params/params.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { layerNorm, linear } from "./layers.ts";

/**
 * The adapter of Bapna and Firat (2019) as Le et al. (2021) use it for speech: x + up(ReLU(down(norm(x)))), behind a whole
 * layer. Parameters go by the names that transformers gives them (`Wav2Vec2AttnAdapterLayer`). `up` starts at 0: the model
 * starts as it was. x [batch, frames, dim].
 */
export function serialAdapter(x: Tensor, p: Params, width: number): Tensor {
  const inner = ops.relu(linear(layerNorm(x, p.at("norm"), 1e-5), p.at("linear_1"), width));
  return ops.add(x, upProjection(inner, p, x));
}

/** The adapter of Houlsby et al. (2019), between a block's output and its residual sum: y + up(GELU(down(y))). */
export function houlsbyAdapter(y: Tensor, p: Params, width: number): Tensor {
  return ops.add(y, upProjection(ops.gelu(linear(y, p.at("linear_1"), width)), p, y));
}

const upProjection = (inner: Tensor, p: Params, like: Tensor): Tensor =>
  linear(inner, p.at("linear_2"), like.shape[2] as number, constantInit(0));

/** Whether a parameter belongs to an adapter of either kind. */
export const isBottleneck = (name: string): boolean =>
  /\.(adapter_layer|attention_adapter|feed_forward_adapter)\./.test(name);
