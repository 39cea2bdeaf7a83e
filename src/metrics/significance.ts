import { random } from "../random.ts";
import { erfc, normalCdf, normalQuantile, quantile, ranks } from "./special.ts";

/** A statistic of a multiset of units, given by their indices. */
export type Statistic = (units: readonly number[]) => number;

/** Statistic: sum of numerators over sum of denominators (an error rate from per-utterance edits and lengths). */
export function ratioOf(numerators: ArrayLike<number>, denominators: ArrayLike<number>): Statistic {
  return (units) => {
    let [above, below] = [0, 0];
    for (const i of units) {
      above += numerators[i];
      below += denominators[i];
    }
    return above / below;
  };
}

/** Statistic: mean of per-unit values (accuracy from hits of 0 and 1). */
export const meanOf =
  (values: ArrayLike<number>): Statistic =>
  (units) =>
    units.reduce((sum, i) => sum + values[i], 0) / units.length;

export interface BootstrapOptions {
  /** One name per unit: whole clusters (speakers) are drawn, since utterances of a speaker are not independent. */
  clusters?: readonly (string | number)[];
  /** Coverage, default 0.95. */
  level?: number;
  /** Default 2000. */
  resamples?: number;
  /** `bca` corrects bias and skewness (Efron 1987) at the price of one evaluation per unit or cluster; default percentile. */
  method?: "percentile" | "bca";
  seed?: number;
}

export interface Interval {
  estimate: number;
  low: number;
  high: number;
  level: number;
  /** How many units or clusters were drawn from; an interval from fewer than ten deserves little trust. */
  drawn: number;
  by: "unit" | "cluster";
}

/**
 * Bootstrap confidence interval of a statistic of `units` units. Resamples on which the statistic is not finite (a class
 * that was not drawn, say) are left out. With fewer than two units or clusters the bounds are NaN.
 */
export function bootstrapInterval(
  units: number,
  statistic: Statistic,
  options: BootstrapOptions = {},
): Interval {
  const { level = 0.95, method = "percentile" } = options;
  const groups = groupUnits(units, options.clusters);
  const estimate = statistic(groups.flat());
  const result: Interval = {
    estimate,
    low: Number.NaN,
    high: Number.NaN,
    level,
    drawn: groups.length,
    by: options.clusters ? "cluster" : "unit",
  };
  if (groups.length < 2) return result;
  const values = resampled(groups, statistic, options).sort();
  if (values.length === 0) return result;
  let bounds = [(1 - level) / 2, (1 + level) / 2];
  if (method === "bca") {
    const jackknife = groups.map((_, leave) => statistic(groups.filter((_, i) => i !== leave).flat()));
    bounds = bcaLevels(values, estimate, jackknife, bounds);
  }
  [result.low, result.high] = bounds.map((p) => quantile(values, p));
  return result;
}

/**
 * Levels at which to read the bootstrap distribution so that the interval is bias-corrected and accelerated
 * (Efron & Tibshirani 1993, eqs. 14.9 to 14.15). Values equal to the estimate count half.
 */
export function bcaLevels(
  values: ArrayLike<number>,
  estimate: number,
  jackknife: readonly number[],
  levels: readonly number[],
): number[] {
  let below = 0;
  for (let i = 0; i < values.length; i++)
    below += values[i] < estimate ? 1 : values[i] === estimate ? 0.5 : 0;
  const share = below / values.length;
  const mean = jackknife.reduce((a, b) => a + b, 0) / jackknife.length;
  const cubes = jackknife.reduce((sum, v) => sum + (mean - v) ** 3, 0);
  const squares = jackknife.reduce((sum, v) => sum + (mean - v) ** 2, 0);
  // A constant statistic has no spread to correct, and an estimate outside its resamples no finite bias.
  if (share === 0 || share === 1 || !(squares > 0)) return [...levels];
  const bias = normalQuantile(share);
  const acceleration = cubes / (6 * squares ** 1.5);
  return levels.map((p) => {
    const z = bias + normalQuantile(p);
    return normalCdf(bias + z / (1 - acceleration * z));
  });
}

export interface PairedResult extends Interval {
  /** Two-sided p-value of "no difference". */
  p: number;
}

/**
 * Paired bootstrap of a difference between two systems on the same units (statistic of a minus statistic of b on the same
 * resample): percentile interval, and as p twice the smaller share of resampled differences on either side of 0.
 */
export function pairedBootstrap(
  units: number,
  a: Statistic,
  b: Statistic,
  options: BootstrapOptions = {},
): PairedResult {
  const difference: Statistic = (indices) => a(indices) - b(indices);
  const interval = bootstrapInterval(units, difference, options);
  const groups = groupUnits(units, options.clusters);
  const values = groups.length < 2 ? [] : resampled(groups, difference, options);
  let [below, above] = [0, 0];
  for (const value of values) {
    below += value < 0 ? 1 : value === 0 ? 0.5 : 0;
    above += value > 0 ? 1 : value === 0 ? 0.5 : 0;
  }
  // One count is added to each side, so that no finite number of resamples claims p = 0.
  const p = Math.min(1, (2 * (Math.min(below, above) + 1)) / (values.length + 1));
  return { ...interval, p: values.length === 0 ? Number.NaN : p };
}

/**
 * McNemar's test of two classifiers on the same items, from the items only one of them got right. Exact binomial up to
 * 1000 of these, beyond that chi-square with continuity correction (Edwards 1948).
 */
export function mcNemar(
  onlyA: number,
  onlyB: number,
): { p: number; statistic: number; method: "exact" | "chi-square" } {
  const n = onlyA + onlyB;
  const smaller = Math.min(onlyA, onlyB);
  if (n > 1000) {
    const statistic = Math.max(0, Math.abs(onlyA - onlyB) - 1) ** 2 / n;
    return { p: erfc(Math.sqrt(statistic / 2)), statistic, method: "chi-square" };
  }
  let logTerm = -n * Math.LN2;
  let tail = 0;
  for (let k = 0; k <= smaller; k++) {
    tail += Math.exp(logTerm);
    logTerm += Math.log((n - k) / (k + 1));
  }
  return { p: Math.min(1, 2 * tail), statistic: smaller, method: "exact" };
}

/**
 * Wilcoxon's signed-rank test of paired values, two-sided; zero differences are dropped. Exact up to 50 differences, with
 * ties too (the distribution over all signs of the mid-ranks); normal approximation with tie correction beyond.
 * `statistic` is the smaller of the two rank sums.
 */
export function wilcoxon(
  a: ArrayLike<number>,
  b: ArrayLike<number>,
): { p: number; statistic: number; pairs: number; method: "exact" | "normal" } {
  if (a.length !== b.length) throw new RangeError(`${a.length} values in a but ${b.length} in b`);
  const differences = Array.from(a, (value, i) => value - b[i]).filter((d) => d !== 0);
  const n = differences.length;
  const rank = ranks(differences.map(Math.abs));
  const positive = rank.reduce((sum, r, i) => sum + (differences[i] > 0 ? r : 0), 0);
  const total = (n * (n + 1)) / 2;
  const statistic = Math.min(positive, total - positive);
  if (n === 0) return { p: 1, statistic: 0, pairs: 0, method: "exact" };
  if (n <= 50) {
    // Mid-ranks are multiples of a half: count sign patterns by twice their rank sum.
    const ways = new Float64Array(2 * total + 1);
    ways[0] = 1;
    for (const r of rank) for (let sum = 2 * total; sum >= 2 * r; sum--) ways[sum] += ways[sum - 2 * r];
    let tail = 0;
    for (let sum = 0; sum <= 2 * statistic; sum++) tail += ways[sum];
    return { p: Math.min(1, (2 * tail) / 2 ** n), statistic, pairs: n, method: "exact" };
  }
  // Var = sum of squared mid-ranks / 4, which contains the usual tie correction.
  const deviation = Math.sqrt(rank.reduce((sum, r) => sum + r * r, 0) / 4);
  const z = (statistic - total / 2) / deviation;
  return { p: Math.min(1, erfc(-z / Math.SQRT2)), statistic, pairs: n, method: "normal" };
}

function groupUnits(units: number, clusters?: readonly (string | number)[]): number[][] {
  if (!clusters) return Array.from({ length: units }, (_, i) => [i]);
  if (clusters.length !== units) throw new RangeError(`${units} units but ${clusters.length} cluster names`);
  const groups = new Map<string | number, number[]>();
  clusters.forEach((name, i) => {
    const group = groups.get(name);
    if (group) group.push(i);
    else groups.set(name, [i]);
  });
  return [...groups.values()];
}

function resampled(groups: number[][], statistic: Statistic, options: BootstrapOptions): Float64Array {
  const { resamples = 2000, seed = 0 } = options;
  const stream = random(seed, "bootstrap");
  const values: number[] = [];
  for (let k = 0; k < resamples; k++) {
    const units: number[] = [];
    for (let g = 0; g < groups.length; g++) for (const i of groups[stream.int(groups.length)]) units.push(i);
    const value = statistic(units);
    if (Number.isFinite(value)) values.push(value);
  }
  return Float64Array.from(values);
}
