import { type Calculus, type Gradients, gradients as reverse } from "../tensor/autodiff.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { add } from "./elementwise.ts";
import { expand } from "./movement.ts";
import { sumTo } from "./reduce.ts";
import { scalar } from "./source.ts";

export * from "./conv.ts";
export * from "./conv2d.ts";
export * from "./ctc.ts";
export * from "./elementwise.ts";
export * from "./matmul.ts";
export * from "./movement.ts";
export * from "./norm.ts";
export * from "./random.ts";
export * from "./recurrent.ts";
export * from "./reduce.ts";
export * from "./scan.ts";
export * from "./sin.ts";
export * from "./source.ts";
export * from "./sparsemax.ts";
export * from "./stop-gradient.ts";
export * from "./straight-through.ts";

const calculus: Calculus = {
  add,
  sumTo: (x, like) => sumTo(x, like.shape),
  onesLike: (x) => expand(scalar(1), x.shape),
};

/** Gradients of a scalar loss (tensor/autodiff.ts). */
export const gradients = (loss: Tensor, wrt: readonly Tensor[]): Gradients => reverse(loss, wrt, calculus);
