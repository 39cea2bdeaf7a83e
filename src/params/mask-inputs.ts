import * as ops from "../ops/index.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Transform } from "./params.ts";

/** The graph input of a parameter's mask. */
export const maskInput = (name: string): string => `${name}.mask`;

/**
 * Masks as graph inputs: each of the named parameters is W where its bool input `NAME.mask` is true and 0 elsewhere, so that one
 * graph and one copy of the weights serve every task, and changing the task is passing other masks. `declare` hears of each input.
 */
export const maskedByInputs =
  (masked: (name: string) => boolean, declare: (input: Tensor) => void): Transform =>
  (raw, { name, shape }) => {
    if (!masked(name)) return raw;
    const mask = ops.input(maskInput(name), shape, "bool");
    declare(mask);
    return ops.where(mask, raw, 0);
  };
