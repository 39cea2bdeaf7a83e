import * as ops from "../ops/index.ts";
import { type Params, uniformInit } from "../params/params.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { dropout, type Training } from "./layers.ts";

export interface LstmOptions {
  /** Units of each direction. */
  readonly hidden: number;
  readonly layers: number;
  readonly bidirectional: boolean;
  /** Between layers. */
  readonly dropout: number;
}

/**
 * Stacked LSTM layers under the names of PyTorch's `nn.LSTM`; padding keeps the state, so a backward walk starts from
 * silence.
 * @param x [batch, frames, dim]
 * @param valid bool [batch, frames]; undefined where every frame counts
 * @returns what each layer makes of it, the last one last: [batch, frames, hidden (x 2 where bidirectional)]
 */
export function lstmLayers(
  x: Tensor,
  valid: Tensor | undefined,
  options: LstmOptions,
  p: Params,
  training?: Training,
): Tensor[] {
  const [batch, frames] = x.shape;
  const ones = valid ? ops.cast(valid, "f32") : ops.expand(ops.scalar(1), [batch, frames]);
  const mask = ops.reshape(ops.transpose(ones, [1, 0]), [frames, batch, 1]);
  const outputs: Tensor[] = [];
  let h = ops.transpose(x, [1, 0, 2]);
  for (let layer = 0; layer < options.layers; layer++) {
    if (layer > 0) h = dropout(h, options.dropout, training);
    const below = h;
    const walk = (reverse: boolean) =>
      lstmDirection(below, mask, options.hidden, p, `l${layer}${reverse ? "_reverse" : ""}`, reverse);
    h = options.bidirectional ? ops.concat([walk(false), walk(true)], 2) : walk(false);
    outputs.push(ops.transpose(h, [1, 0, 2]));
  }
  return outputs;
}

function lstmDirection(
  x: Tensor,
  mask: Tensor,
  hidden: number,
  p: Params,
  suffix: string,
  reverse: boolean,
): Tensor {
  const dim = x.shape[2] as number;
  const init = uniformInit(1 / Math.sqrt(hidden));
  const get = (name: string, shape: readonly number[]) => p.get(`${name}_${suffix}`, shape, init);
  const bias = ops.add(get("bias_ih", [4 * hidden]), get("bias_hh", [4 * hidden]));
  const projected = ops.affine(x, get("weight_ih", [4 * hidden, dim]), bias);
  return ops.lstm(projected, get("weight_hh", [4 * hidden, hidden]), mask, reverse);
}

/** What an LSTM layer remembers, both [batch, hidden]. */
export interface LstmState {
  readonly hidden: Tensor;
  readonly cell: Tensor;
}

/** One frame x [batch, dim] through layer `layer` of forward `lstmLayers`, from a state to the next. */
export function lstmStep(x: Tensor, { hidden: h, cell: c }: LstmState, p: Params, layer: number): LstmState {
  const hidden = h.shape[1] as number;
  const init = uniformInit(1 / Math.sqrt(hidden));
  const get = (name: string, shape: readonly number[]) => p.get(`${name}_l${layer}`, shape, init);
  const sums = ops.add(
    ops.affine(x, get("weight_ih", [4 * hidden, x.shape[1] as number]), get("bias_ih", [4 * hidden])),
    ops.affine(h, get("weight_hh", [4 * hidden, hidden]), get("bias_hh", [4 * hidden])),
  );
  const [i, f, g, o] = [0, 1, 2, 3].map((k) => ops.slice(sums, 1, k * hidden, (k + 1) * hidden));
  const cell = ops.add(ops.mul(ops.sigmoid(f), c), ops.mul(ops.sigmoid(i), ops.tanh(g)));
  return { hidden: ops.mul(ops.sigmoid(o), ops.tanh(cell)), cell };
}
