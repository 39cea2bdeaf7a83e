/** Calibration of class probabilities: temperature scaling (Guo et al. 2017) and its measures. */

/** Probabilities of one item: softmax(logits / temperature). */
export function softmax(logits: ArrayLike<number>, temperature = 1): Float64Array {
  let max = -Infinity;
  for (let k = 0; k < logits.length; k++) max = Math.max(max, logits[k]);
  const out = Float64Array.from(logits, (v) => Math.exp((v - max) / temperature));
  const sum = out.reduce((a, b) => a + b, 0);
  return out.map((v) => v / sum);
}

/** Mean negative log likelihood (nats) of the true classes. */
export function negativeLogLikelihood(
  logits: readonly ArrayLike<number>[],
  truth: readonly number[],
  temperature = 1,
): number {
  return (
    logits.reduce((sum, row, i) => sum + itemLoss(row, truth[i], 1 / temperature).loss, 0) / truth.length
  );
}

/**
 * The temperature that minimises the negative log likelihood of held-out items. The loss is convex in 1/T, so its
 * derivative is bisected over T in [0.01, 100]; where every item is right (or noise rules) the minimum lies at an end.
 */
export function fitTemperature(logits: readonly ArrayLike<number>[], truth: readonly number[]): number {
  if (logits.length !== truth.length)
    throw new RangeError(`${logits.length} logits but ${truth.length} labels`);
  if (truth.length === 0) return 1;
  const slope = (beta: number) =>
    logits.reduce((sum, row, i) => sum + itemLoss(row, truth[i], beta).slope, 0);
  let [low, high] = [Math.log(0.01), Math.log(100)];
  for (let i = 0; i < 60; i++) {
    const middle = (low + high) / 2;
    if (slope(Math.exp(middle)) > 0) high = middle;
    else low = middle;
  }
  return Math.exp(-(low + high) / 2);
}

/** Loss of one item at inverse temperature beta, and its derivative: mean logit minus true logit. */
function itemLoss(logits: ArrayLike<number>, truth: number, beta: number): { loss: number; slope: number } {
  let max = -Infinity;
  for (let k = 0; k < logits.length; k++) max = Math.max(max, logits[k]);
  let [sum, mean] = [0, 0];
  for (let k = 0; k < logits.length; k++) {
    const weight = Math.exp(beta * (logits[k] - max));
    sum += weight;
    mean += weight * logits[k];
  }
  return { loss: Math.log(sum) + beta * (max - logits[truth]), slope: mean / sum - logits[truth] };
}

export interface ReliabilityBin {
  /** Confidence range [low, high). */
  low: number;
  high: number;
  items: number;
  confidence: number;
  accuracy: number;
}

export interface Calibration {
  /** Expected calibration error: item-weighted mean of |accuracy - confidence| over bins. */
  expectedError: number;
  maximumError: number;
  /** Mean squared distance between the probabilities and the one-hot truth. */
  brier: number;
  bins: ReliabilityBin[];
}

/** Calibration of the top class over `binCount` equally wide bins of confidence. */
export function calibration(
  probabilities: readonly ArrayLike<number>[],
  truth: readonly number[],
  binCount = 15,
): Calibration {
  const bins = Array.from({ length: binCount }, (_, i) => ({
    low: i / binCount,
    high: (i + 1) / binCount,
    items: 0,
    confidence: 0,
    accuracy: 0,
  }));
  let brier = 0;
  probabilities.forEach((row, i) => {
    const p = Array.from(row);
    const confidence = Math.max(...p);
    const bin = bins[Math.min(binCount - 1, Math.floor(confidence * binCount))];
    bin.items++;
    bin.confidence += confidence;
    bin.accuracy += p.indexOf(confidence) === truth[i] ? 1 : 0;
    p.forEach((v, k) => {
      brier += (v - (k === truth[i] ? 1 : 0)) ** 2;
    });
  });
  let [expectedError, maximumError] = [0, 0];
  for (const bin of bins) {
    if (bin.items === 0) continue;
    const gap = Math.abs(bin.accuracy - bin.confidence) / bin.items;
    expectedError += (gap * bin.items) / truth.length;
    maximumError = Math.max(maximumError, gap);
    bin.confidence /= bin.items;
    bin.accuracy /= bin.items;
  }
  return { expectedError, maximumError, brier: brier / truth.length, bins };
}
