import * as ops from "../ops/index.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { UpstreamInput } from "./upstream.ts";

/**
 * SpecAugment (Park et al. 2019) on frames [batch, frames, dim]: chosen frames become `vector` (a learned one [dim], or
 * zeros), chosen channels zero.
 */
export function hide(
  x: Tensor,
  { hideFrames, hideChannels }: UpstreamInput,
  vector: Tensor | 0 | undefined,
): Tensor {
  const seen =
    hideFrames === undefined || vector === undefined
      ? x
      : ops.where(ops.reshape(hideFrames, [...hideFrames.shape, 1]), vector, x);
  return hideChannels === undefined ? seen : ops.where(hideChannels, 0, seen);
}
