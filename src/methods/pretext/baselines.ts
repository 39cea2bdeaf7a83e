import { digamma } from "../../metrics/special.ts";
import { random } from "../../random.ts";
import { Svm } from "../severity/baselines/svm.ts";

/** The selections that the paper compares with (section VI-A): MRMR and recursive feature elimination. */

/**
 * Mutual information of two continuous variables by nearest neighbours (Kraskov et al. 2004, first estimator), in nats, as
 * scikit-learn's `mutual_info_regression` computes it: both are divided by their deviation, and counts are of points nearer
 * than the k-th neighbour in the maximum norm. At least 0.
 */
export function mutualInformation(x: Float64Array, y: Float64Array, neighbours = 3): number {
  const n = x.length;
  const [a, b] = [scaled(x), scaled(y)];
  const [sortedA, sortedB] = [Float64Array.from(a).sort(), Float64Array.from(b).sort()];
  const distances = new Float64Array(n);
  let [sumA, sumB] = [0, 0];
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) distances[j] = Math.max(Math.abs(a[i] - a[j]), Math.abs(b[i] - b[j]));
    // The point itself is the nearest of all.
    const radius = kthSmallest(distances, neighbours);
    sumA += digamma(nearer(sortedA, a[i], radius));
    sumB += digamma(nearer(sortedB, b[i], radius));
  }
  return Math.max(0, digamma(n) + digamma(neighbours) - sumA / n - sumB / n);
}

function scaled(values: Float64Array): Float64Array {
  const n = values.length;
  const mean = values.reduce((s, v) => s + v, 0) / n;
  const deviation = Math.sqrt(values.reduce((s, v) => s + (v - mean) ** 2, 0) / n);
  if (!(deviation > 0)) return values;
  // As there: a trace of noise keeps equal values apart, of 1e-10 times the mean size where that is above 1.
  const scaledValues = values.map((v) => v / deviation);
  const size = Math.max(1, scaledValues.reduce((s, v) => s + Math.abs(v), 0) / n);
  const rng = random(1, "mutual information", n);
  return scaledValues.map((v) => v + 1e-10 * size * rng.normal());
}

function kthSmallest(values: Float64Array, k: number): number {
  const least = new Float64Array(k + 1).fill(Number.POSITIVE_INFINITY);
  for (const value of values) {
    if (value >= least[k]) continue;
    let at = k;
    while (at > 0 && least[at - 1] > value) {
      least[at] = least[at - 1];
      at--;
    }
    least[at] = value;
  }
  return least[k];
}

/**
 * How many of `sorted` are nearer to `centre` than `radius`. One point lies exactly at the radius, so differences are
 * compared and not sums, whose rounding would let it in or not by chance.
 */
function nearer(sorted: Float64Array, centre: number, radius: number): number {
  const first = firstWhere(sorted, (value) => centre - value < radius);
  return firstWhere(sorted, (value) => value - centre >= radius) - first;
}

/** Place of the first element for which a condition holds that holds for all after it. */
function firstWhere(sorted: Float64Array, holds: (value: number) => boolean): number {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (holds(sorted[middle])) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** All subsets of `size` places out of `count`. */
function* subsets(count: number, size: number, from = 0): Generator<number[]> {
  if (size === 0) yield [];
  else
    for (let first = from; first <= count - size; first++)
      for (const rest of subsets(count, size - 1, first + 1)) yield [first, ...rest];
}

export interface Mrmr {
  readonly chosen: readonly number[];
  readonly score: number;
}

/**
 * Maximum relevance, minimum redundancy (eq. 10): of all groups of `size`, the one with the greatest mean of -HSIC minus the
 * mean mutual information of its pairs.
 */
export function mrmr(
  estimates: ArrayLike<number>,
  information: readonly (readonly number[])[],
  size: number,
): Mrmr {
  let best: Mrmr = { chosen: [], score: Number.NEGATIVE_INFINITY };
  for (const chosen of subsets(estimates.length, size)) {
    const relevance = chosen.reduce((sum, i) => sum - estimates[i], 0) / size;
    let [redundancy, pairs] = [0, 0];
    for (const i of chosen)
      for (const j of chosen)
        if (i < j) {
          redundancy += information[i][j];
          pairs++;
        }
    const score = relevance - (pairs > 0 ? redundancy / pairs : 0);
    if (score > best.score) best = { chosen, score };
  }
  return best;
}

/**
 * Recursive feature elimination (Guyon et al. 2002): a linear support vector machine (C = 1, one against one) is trained on the
 * features that are left, the one with the least sum of squared coefficients goes, until `keep` are left.
 *
 * @param rows [units][features]
 * @returns places of the features that are kept, and the order in which the others went
 */
export function recursiveElimination(
  rows: readonly Float64Array[],
  labels: readonly number[],
  classes: number,
  keep: number,
): { chosen: number[]; eliminated: number[] } {
  let left = Array.from(rows[0], (_, i) => i);
  const eliminated: number[] = [];
  while (left.length > keep) {
    const kernel = new Float64Array(rows.length ** 2);
    for (let i = 0; i < rows.length; i++)
      for (let j = 0; j <= i; j++) {
        const value = left.reduce((sum, f) => sum + rows[i][f] * rows[j][f], 0);
        kernel[i * rows.length + j] = kernel[j * rows.length + i] = value;
      }
    const { pairs } = new Svm(kernel, labels, classes, { c: 1, gamma: "precomputed" });
    const importance = left.map((f) =>
      pairs.reduce(
        (sum, { support }) => sum + support.reduce((w, s) => w + s.weight * rows[s.row][f], 0) ** 2,
        0,
      ),
    );
    const least = left[importance.indexOf(Math.min(...importance))];
    eliminated.push(least);
    left = left.filter((f) => f !== least);
  }
  return { chosen: left, eliminated };
}
