import * as ops from "../ops/index.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** Sum of the given losses: L = sum_i weight_i loss_i, the weights being scalars in the graph. */
export function weightedSum(terms: readonly { weight: Tensor; loss: Tensor }[]): Tensor {
  return terms.map(({ weight, loss }) => ops.mul(weight, loss)).reduce((a, b) => ops.add(a, b));
}

/** Mean over the batch of a per-utterance loss [batch]. */
export const batchMean = (losses: Tensor): Tensor => ops.reduceMean(losses, [0]);

export interface CtcOptions {
  readonly blank: number;
  readonly zeroInfinity: boolean;
  /** "sum" over the batch, or "mean": each utterance divided by its labels (at least 1), then averaged (PyTorch). */
  readonly reduction: "sum" | "mean";
}

/** CTC over a batch; shapes as in ops/ctc.ts. */
export function ctc(logits: Tensor, labels: Tensor, frames: Tensor, targets: Tensor, o: CtcOptions): Tensor {
  const losses = ops.ctcLoss(logits, labels, frames, targets, o);
  if (o.reduction === "sum") return ops.reduceSum(losses, [0]);
  return batchMean(ops.div(losses, ops.maximum(ops.cast(targets, "f32"), 1)));
}

/** -ln softmax(logits)[label], per row: logits [batch, classes], labels i32 [batch] -> [batch]. */
export function crossEntropy(logits: Tensor, labels: Tensor): Tensor {
  const [batch, classes] = logits.shape;
  const chosen = ops.cast(ops.equal(ops.reshape(labels, [batch, 1]), ops.range(classes)), "f32");
  return ops.neg(ops.reduceSum(ops.mul(ops.logSoftmax(logits), chosen), [1]));
}

/** Mean of |x - y| (L1) or (x - y)^2 (MSE) over all elements. */
export function l1(x: Tensor, y: Tensor): Tensor {
  return ops.reduceMean(
    ops.abs(ops.sub(x, y)),
    x.shape.map((_, i) => i),
  );
}
export function mse(x: Tensor, y: Tensor): Tensor {
  const d = ops.sub(x, y);
  return ops.reduceMean(
    ops.mul(d, d),
    x.shape.map((_, i) => i),
  );
}
