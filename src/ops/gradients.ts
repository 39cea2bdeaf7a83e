import { type Calculus, type Gradients, gradients as reverse } from "../tensor/autodiff.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { add } from "./elementwise.ts";
import { expand } from "./movement.ts";
import { sumTo } from "./reduce.ts";
import { scalar } from "./source.ts";

const calculus: Calculus = {
  add,
  sumTo: (x, like) => sumTo(x, like.shape),
  onesLike: (x) => expand(scalar(1), x.shape),
};

/** Gradients of a scalar loss (tensor/autodiff.ts). */
export const gradients = (loss: Tensor, wrt: readonly Tensor[]): Gradients => reverse(loss, wrt, calculus);
