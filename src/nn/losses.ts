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

/** Rows of unit length. */
const unit = (x: Tensor): Tensor =>
  ops.div(x, ops.sqrt(ops.add(ops.reduceSum(ops.mul(x, x), [1], true), 1e-12)));

/**
 * Additive-margin softmax (Wang et al. 2018): cross-entropy over scaled cosines, the right one less a margin.
 * @param x [batch, dim]
 * @param directions one row for each class [classes, dim]
 * @param labels i32 [batch]
 * @returns [batch]
 */
export function additiveMargin(
  x: Tensor,
  directions: Tensor,
  labels: Tensor,
  { scale, margin }: { scale: number; margin: number },
): Tensor {
  const cosines = ops.matMul(unit(x), unit(directions), { transB: true });
  const [batch, classes] = cosines.shape;
  const right = ops.cast(ops.equal(ops.reshape(labels, [batch, 1]), ops.range(classes)), "f32");
  return crossEntropy(ops.mul(ops.sub(cosines, ops.mul(right, margin)), scale), labels);
}

/** -y ln sigmoid(x) - (1 - y) ln(1 - sigmoid(x)) of each element, without overflow. */
export const binaryCrossEntropy = (x: Tensor, y: Tensor): Tensor =>
  ops.add(ops.sub(ops.maximum(x, 0), ops.mul(x, y)), ops.log(ops.add(1, ops.exp(ops.neg(ops.abs(x))))));

/**
 * Binary cross-entropy under the best naming of the speakers (Fujita et al. 2019), summed over valid frames and averaged
 * over speakers: logits and labels f32 [batch, frames, speakers], valid bool [batch, frames] -> [batch].
 */
export function permutationInvariant(logits: Tensor, labels: Tensor, valid: Tensor): Tensor {
  const [batch, frames, speakers] = logits.shape as [
    Tensor["shape"][number],
    Tensor["shape"][number],
    number,
  ];
  const mask = ops.reshape(valid, [batch, frames, 1]);
  const column = (i: number) => ops.slice(labels, 2, i, i + 1);
  const losses = permutations(speakers).map((order) => {
    const renamed = ops.concat(order.map(column), 2);
    const each = ops.where(mask, binaryCrossEntropy(logits, renamed), 0);
    return ops.reduceSum(ops.mul(each, 1 / speakers), [1, 2]);
  });
  return losses.reduce((a, b) => ops.minimum(a, b));
}

/** Every order of 0 to n - 1. */
export const permutations = (n: number): number[][] =>
  n === 0
    ? [[]]
    : permutations(n - 1).flatMap((order) =>
        Array.from({ length: n }, (_, at) => [...order.slice(0, at), n - 1, ...order.slice(at)]),
      );
