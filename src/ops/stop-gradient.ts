import { defineOp } from "../tensor/define.ts";
import type { Tensor } from "../tensor/tensor.ts";

const stopGradientOp = defineOp({
  name: "stopGradient",
  doc: "x itself, which no gradient passes.",
  infer: ([{ shape, dtype }]) => [{ shape, dtype }],
  emit: (e, [x]) => [e.node("Identity", [x])],
  vjp: { nonDifferentiable: "to stop the gradient is what it is for" },
  traits: { cheap: true, stop: true },
  reference: ([x]) => [x],
  samples: [{ inputs: [{ shape: [2, 3] }], attrs: {} }],
});

/** x, held fixed while differentiating. */
export const stopGradient = (x: Tensor): Tensor => stopGradientOp([x], {})[0];
