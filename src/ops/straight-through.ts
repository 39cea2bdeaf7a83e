import { defineOp } from "../tensor/define.ts";
import { sameShape, showShape } from "../tensor/dims.ts";
import type { Tensor } from "../tensor/tensor.ts";

const straightThroughOp = defineOp<Record<string, never>>({
  name: "straightThrough",
  doc: "y = hard, with the gradient of soft.",
  infer: ([hard, soft]) => {
    if (!sameShape(hard.shape, soft.shape))
      throw new Error(
        `straightThrough: hard ${showShape(hard.shape)} and soft ${showShape(soft.shape)} must have one shape`,
      );
    return [hard];
  },
  emit: (e, [hard]) => [e.node("Identity", [hard])],
  vjp: [{ nonDifferentiable: "its steps have no slope: soft stands in for it" }, ({ dy }) => dy],
  traits: { surrogate: true, cheap: true },
  reference: ([hard]) => [hard],
  samples: [{ inputs: [{ shape: [2, 3] }, { shape: [2, 3] }], attrs: {} }],
});

/** The value of `hard` with the gradient of `soft` (the straight-through estimator, Bengio et al. 2013). */
export const straightThrough = (hard: Tensor, soft: Tensor): Tensor => straightThroughOp([hard, soft], {})[0];
