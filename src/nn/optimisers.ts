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
  | { readonly name: "adadelta"; readonly rho: number; readonly eps: number }
  | { readonly name: "sgd"; readonly momentum: number; readonly nesterov: boolean };

/** Buffers, as long as the parameters, that an optimiser keeps between steps. */
export function stateNames(spec: OptimiserSpec): readonly string[] {
  if (spec.name === "sgd") return spec.momentum > 0 ? ["momentum"] : [];
  return spec.name === "adadelta" ? ["square", "moved"] : ["mean", "square"];
}

/**
 * The numbers that change from step to step, fed as scalars; every product of scalars is taken here, so that the graph
 * passes over the buffers as seldom as it can.
 * @param scale what clipping and accumulation leave of the gradient
 * @param step 1 at the first update of these parameters
 */
export function stepScalars(
  spec: OptimiserSpec,
  { lr, weightDecay, scale, step }: { lr: number; weightDecay: number; scale: number; step: number },
): Record<string, number> {
  if (spec.name === "sgd" || spec.name === "adadelta") return { lr, scale, decay: weightDecay };
  const [b1, b2] = spec.betas;
  // PyTorch's w -= lr / (1 - b1^t) m / (sqrt(v) / sqrt(1 - b2^t) + eps), both sides of the division times sqrt(1 - b2^t).
  const root = Math.sqrt(1 - b2 ** step);
  const size = (lr / (1 - b1 ** step)) * root;
  const eps = spec.eps * root;
  if (spec.name === "adamw" || weightDecay === 0)
    return {
      size,
      eps,
      scale1: scale * (1 - b1),
      scale2: scale * scale * (1 - b2),
      keep: 1 - lr * weightDecay,
    };
  return { size, eps, scale, decay: weightDecay };
}

/** Whether Adam adds the decay to the gradient (L2), which costs passes that plain Adam and AdamW do not need. */
const isL2 = (spec: OptimiserSpec, weightDecay: number) => spec.name === "adam" && weightDecay !== 0;

/** Names the graph that a weight decay needs: settings with equal variants share a compiled graph. */
export const optimiserVariant = (spec: OptimiserSpec, weightDecay: number): "l2" | "decay" | "plain" =>
  isL2(spec, weightDecay) ? "l2" : weightDecay !== 0 ? "decay" : "plain";

/**
 * The update of several pieces at once: for piece i the inputs `weight.i`, `gradient.i` and `<state>.i`, once for all
 * the scalars of `stepScalars`; outputs `new.<name>.i`. One run over many pieces spares the cost of calling the
 * runtime, and each piece's temporaries still stay in the cache.
 */
export function optimiserGraph(
  spec: OptimiserSpec,
  variant: "l2" | "decay" | "plain",
  pieces: number,
): Graph {
  const inputs: { name: string; tensor: Tensor }[] = [];
  const declare = (name: string, shape: Tensor["shape"]) => {
    const tensor = ops.input(name, shape);
    inputs.push({ name, tensor });
    return tensor;
  };
  const setting = { lr: 1, scale: 1, step: 1, weightDecay: variant === "plain" ? 0 : 1 };
  const scalars = Object.fromEntries(
    Object.keys(stepScalars(spec, setting)).map((name) => [name, declare(name, [])]),
  );
  const outputs: { name: string; tensor: Tensor }[] = [];
  for (let i = 0; i < pieces; i++) {
    const n = [symbol(`n${i}`)];
    const weight = declare(`weight.${i}`, n);
    const gradient = declare(`gradient.${i}`, n);
    const state = Object.fromEntries(stateNames(spec).map((name) => [name, declare(`${name}.${i}`, n)]));
    const updated =
      spec.name === "sgd"
        ? sgd(spec, weight, gradient, state, scalars)
        : spec.name === "adadelta"
          ? adadelta(spec, weight, gradient, state, scalars)
          : adam(spec, variant, weight, gradient, state, scalars);
    for (const [name, tensor] of Object.entries(updated)) outputs.push({ name: `new.${name}.${i}`, tensor });
  }
  return { inputs, outputs, late: [] };
}

type Named = Record<string, Tensor>;

/** Adam (Kingma and Ba 2015), with decay as L2 or decoupled (AdamW, Loshchilov and Hutter 2019). */
function adam(
  { betas: [b1, b2] }: Extract<OptimiserSpec, { betas: unknown }>,
  variant: "l2" | "decay" | "plain",
  weight: Tensor,
  gradient: Tensor,
  { mean, square }: Named,
  { size, eps, scale, scale1, scale2, decay, keep }: Named,
): Named {
  const g = variant === "l2" ? ops.add(ops.mul(gradient, scale), ops.mul(weight, decay)) : gradient;
  const [k1, k2] = variant === "l2" ? [1 - b1, 1 - b2] : [scale1, scale2];
  const m = ops.add(ops.mul(mean, b1), ops.mul(g, k1));
  const v = ops.add(ops.mul(square, b2), ops.mul(ops.mul(g, g), k2));
  const move = ops.mul(ops.div(m, ops.add(ops.sqrt(v), eps)), size);
  const kept = variant === "decay" ? ops.mul(weight, keep) : weight;
  return { mean: m, square: v, weight: ops.sub(kept, move) };
}

/** Adadelta (Zeiler 2012): each step as long as the steps before, by the gradients' own measure. */
function adadelta(
  { rho, eps }: Extract<OptimiserSpec, { name: "adadelta" }>,
  weight: Tensor,
  gradient: Tensor,
  { square, moved }: Named,
  { lr, scale, decay }: Named,
): Named {
  const g = ops.add(ops.mul(gradient, scale), ops.mul(weight, decay));
  const v = ops.add(ops.mul(square, rho), ops.mul(ops.mul(g, g), 1 - rho));
  const move = ops.mul(ops.sqrt(ops.div(ops.add(moved, eps), ops.add(v, eps))), g);
  const m = ops.add(ops.mul(moved, rho), ops.mul(ops.mul(move, move), 1 - rho));
  return { square: v, moved: m, weight: ops.sub(weight, ops.mul(move, lr)) };
}

/** Stochastic gradient descent with PyTorch's momentum: the first step takes the gradient as it is. */
function sgd(
  { momentum, nesterov }: Extract<OptimiserSpec, { name: "sgd" }>,
  weight: Tensor,
  gradient: Tensor,
  state: Named,
  { lr, scale, decay }: Named,
): Named {
  const g = ops.add(ops.mul(gradient, scale), ops.mul(weight, decay));
  if (momentum === 0) return { weight: ops.sub(weight, ops.mul(g, lr)) };
  // The buffer starts at zero, so momentum * 0 + g is PyTorch's first step too.
  const buffer = ops.add(ops.mul(state.momentum, momentum), g);
  const move = nesterov ? ops.add(g, ops.mul(buffer, momentum)) : buffer;
  return { momentum: buffer, weight: ops.sub(weight, ops.mul(move, lr)) };
}

/** Inputs `gradient.i`; outputs `squares.i`, their sums: what clipping by global norm adds up. */
export function squaresGraph(pieces: number): Graph {
  const gradients = Array.from({ length: pieces }, (_, i) => ops.input(`gradient.${i}`, [symbol(`n${i}`)]));
  return {
    inputs: gradients.map((tensor, i) => ({ name: `gradient.${i}`, tensor })),
    outputs: gradients.map((g, i) => ({ name: `squares.${i}`, tensor: ops.reduceSum(ops.mul(g, g), [0]) })),
    late: [],
  };
}
