import * as ops from "../ops/index.ts";
import { symbol } from "../tensor/dims.ts";
import type { Graph } from "../tensor/graph.ts";
import type { Tensor } from "../tensor/tensor.ts";

/**
 * One step of an optimiser as a graph of its own, over a piece of any length of the flat buffers. Being separate from
 * forward and backward, it works in place and needs no second compilation for gradient accumulation. Outputs may be
 * written over their inputs: each is produced by one elementwise node, after which the old value is not read.
 */
export type OptimiserSpec =
  | { readonly name: "adam" | "adamw"; readonly betas: readonly [number, number]; readonly eps: number }
  | { readonly name: "sgd"; readonly momentum: number; readonly nesterov: boolean };

/** Buffers, as long as the parameters, that an optimiser keeps between steps. */
export const stateNames = (spec: OptimiserSpec): readonly string[] =>
  spec.name === "sgd" ? (spec.momentum > 0 ? ["momentum"] : []) : ["mean", "square"];

/**
 * The numbers that change from step to step, fed as scalars.
 * @param step 1 at the first update of these parameters
 */
export function stepScalars(
  spec: OptimiserSpec,
  lr: number,
  weightDecay: number,
  step: number,
): Record<string, number> {
  if (spec.name === "sgd") return { lr, decay: weightDecay };
  const [b1, b2] = spec.betas;
  // PyTorch's form: w -= lr / (1 - b1^t) m / (sqrt(v) / sqrt(1 - b2^t) + eps).
  return {
    size: lr / (1 - b1 ** step),
    root: 1 / Math.sqrt(1 - b2 ** step),
    decay: spec.name === "adamw" ? 1 - lr * weightDecay : weightDecay,
  };
}

/** Inputs `weight`, `gradient`, the states, `scale` (what clipping leaves) and the scalars; outputs `new.*`. */
export function optimiserGraph(spec: OptimiserSpec): Graph {
  const n = symbol("n");
  const inputs: { name: string; tensor: Tensor }[] = [];
  const declare = (name: string, shape: Tensor["shape"]) => {
    const tensor = ops.input(name, shape);
    inputs.push({ name, tensor });
    return tensor;
  };
  const weight = declare("weight", [n]);
  const raw = declare("gradient", [n]);
  const scaled = ops.mul(raw, declare("scale", []));
  const state = Object.fromEntries(stateNames(spec).map((name) => [name, declare(name, [n])]));
  const scalars = Object.fromEntries(
    Object.keys(stepScalars(spec, 1, 0, 1)).map((name) => [name, declare(name, [])]),
  );
  const updated =
    spec.name === "sgd"
      ? sgd(spec, weight, scaled, state, scalars)
      : adam(spec, weight, scaled, state, scalars);
  return {
    inputs,
    outputs: Object.entries(updated).map(([name, tensor]) => ({ name: `new.${name}`, tensor })),
    late: new Set(),
  };
}

type Named = Record<string, Tensor>;

/** Adam (Kingma and Ba 2015), with decay as L2 or decoupled (AdamW, Loshchilov and Hutter 2019). */
function adam(
  { name, betas: [b1, b2], eps }: Extract<OptimiserSpec, { betas: unknown }>,
  weight: Tensor,
  gradient: Tensor,
  { mean, square }: Named,
  { size, root, decay }: Named,
): Named {
  const g = name === "adamw" ? gradient : ops.add(gradient, ops.mul(weight, decay));
  const m = ops.add(ops.mul(mean, b1), ops.mul(g, 1 - b1));
  const v = ops.add(ops.mul(square, b2), ops.mul(ops.mul(g, g), 1 - b2));
  const move = ops.div(ops.mul(m, size), ops.add(ops.mul(ops.sqrt(v), root), eps));
  const kept = name === "adamw" ? ops.mul(weight, decay) : weight;
  return { mean: m, square: v, weight: ops.sub(kept, move) };
}

/** Stochastic gradient descent with PyTorch's momentum: the first step takes the gradient as it is. */
function sgd(
  { momentum, nesterov }: Extract<OptimiserSpec, { name: "sgd" }>,
  weight: Tensor,
  gradient: Tensor,
  state: Named,
  { lr, decay }: Named,
): Named {
  const g = ops.add(gradient, ops.mul(weight, decay));
  if (momentum === 0) return { weight: ops.sub(weight, ops.mul(g, lr)) };
  // The buffer starts at zero, so momentum * 0 + g is PyTorch's first step too.
  const buffer = ops.add(ops.mul(state.momentum, momentum), g);
  const move = nesterov ? ops.add(g, ops.mul(buffer, momentum)) : buffer;
  return { momentum: buffer, weight: ops.sub(weight, ops.mul(move, lr)) };
}

/** Inputs `gradient` [n]; output `squares`, their sum: what clipping by global norm adds up. */
export function squaresGraph(): Graph {
  const gradient = ops.input("gradient", [symbol("n")]);
  return {
    inputs: [{ name: "gradient", tensor: gradient }],
    outputs: [{ name: "squares", tensor: ops.reduceSum(ops.mul(gradient, gradient), [0]) }],
    late: new Set(),
  };
}
