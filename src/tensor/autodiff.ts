import { sameShape, showShape } from "./dims.ts";
import { type Tensor, topological, type VjpContext } from "./tensor.ts";

/** The three operations the reverse walk itself needs; `ops/index.ts` hands them in. */
export interface Calculus {
  add(a: Tensor, b: Tensor): Tensor;
  /** Sums `x` over the axes along which `like` was broadcast to it. */
  sumTo(x: Tensor, like: Tensor): Tensor;
  onesLike(x: Tensor): Tensor;
}

export interface Gradients {
  /** Gradient of the loss for each tensor asked for; undefined where the loss does not depend on it. */
  readonly wrt: readonly (Tensor | undefined)[];
  /** Gradient of every tensor that the walk passed: what recomputation hangs its clones on. */
  readonly of: ReadonlyMap<Tensor, Tensor>;
}

/**
 * Reverse-mode differentiation of a scalar. Only nodes between `wrt` and the loss are visited, so a frozen prefix and
 * frozen parameters cost nothing. Broadcasting is handled here, once: an operation's rule may return a gradient of
 * the output's shape, and the walk sums it to the input's.
 * @throws Error where the path runs through an operation without a gradient, with that operation's reason.
 */
export function gradients(loss: Tensor, wrt: readonly Tensor[], calculus: Calculus): Gradients {
  if (loss.shape.length !== 0)
    throw new Error(`gradients: the loss must be a scalar, got ${showShape(loss.shape)}`);
  const order = topological([loss]);
  const needed = new Set<Tensor>(wrt);
  for (const node of order)
    if (!node.op.traits.stop && node.inputs.some((input) => needed.has(input)))
      for (const output of node.outputs) if (output.dtype === "f32") needed.add(output);

  const gradientOf = new Map<Tensor, Tensor>([[loss, calculus.onesLike(loss)]]);
  const accumulate = (input: Tensor, gradient: Tensor) => {
    const fitting = sameShape(gradient.shape, input.shape) ? gradient : calculus.sumTo(gradient, input);
    const sum = gradientOf.get(input);
    gradientOf.set(input, sum === undefined ? fitting : calculus.add(sum, fitting));
  };

  for (const node of order.reverse()) {
    const dys = node.outputs.map((output) => gradientOf.get(output));
    if (dys.every((dy) => dy === undefined)) continue;
    const wanted = node.inputs.map((input) => needed.has(input) && input.dtype === "f32");
    if (!wanted.includes(true)) continue;
    const { vjp, name } = node.op;
    const context: VjpContext = {
      // An operation with several outputs reads `dys` where its first output may be unused.
      dy: dys[0] as Tensor,
      dys,
      inputs: node.inputs,
      outputs: node.outputs,
      attrs: node.attrs,
    };
    if ("nonDifferentiable" in vjp) throw new Error(`${name} has no gradient: ${vjp.nonDifferentiable}`);
    for (const [i, input] of node.inputs.entries()) {
      if (!wanted[i]) continue;
      if ("each" in vjp) {
        accumulate(input, vjp.each(context, i));
        continue;
      }
      const entry = vjp[i];
      if (entry === undefined) throw new Error(`${name}: no gradient rule for input ${i}`);
      if (typeof entry !== "function")
        throw new Error(`${name} has no gradient for input ${i}: ${entry.nonDifferentiable}`);
      accumulate(input, entry(context));
    }
  }
  return { wrt: wrt.map((tensor) => gradientOf.get(tensor)), of: gradientOf };
}
