import { random } from "../random.ts";
import { ranks } from "./special.ts";

/** Pearson's r; NaN where a side is constant or there are fewer than two pairs. */
export function pearson(x: ArrayLike<number>, y: ArrayLike<number>): number {
  checkPairs(x, y);
  const mean = (v: ArrayLike<number>) => Array.from(v).reduce((a, b) => a + b, 0) / v.length;
  const [mx, my] = [mean(x), mean(y)];
  let [xx, yy, xy] = [0, 0, 0];
  for (let i = 0; i < x.length; i++) {
    xx += (x[i] - mx) ** 2;
    yy += (y[i] - my) ** 2;
    xy += (x[i] - mx) * (y[i] - my);
  }
  return clamp(xy / Math.sqrt(xx * yy));
}

/** Spearman's rho: Pearson's r of the ranks, ties sharing their mean rank. */
export const spearman = (x: ArrayLike<number>, y: ArrayLike<number>): number => pearson(ranks(x), ranks(y));

/** Kendall's tau-b: (concordant - discordant) / sqrt(pairs untied in x * pairs untied in y). O(n^2). */
export function kendall(x: ArrayLike<number>, y: ArrayLike<number>): number {
  checkPairs(x, y);
  let [agreement, untiedX, untiedY] = [0, 0, 0];
  for (let i = 0; i < x.length; i++) {
    for (let j = 0; j < i; j++) {
      const dx = Math.sign(x[i] - x[j]);
      const dy = Math.sign(y[i] - y[j]);
      agreement += dx * dy;
      untiedX += Math.abs(dx);
      untiedY += Math.abs(dy);
    }
  }
  return clamp(agreement / Math.sqrt(untiedX * untiedY));
}

export type CorrelationMethod = "pearson" | "spearman" | "kendall";

export interface Correlation {
  value: number;
  /** Two-sided permutation p-value; never below 1 / (permutations + 1) unless `exact`. */
  p: number;
  /** All n! pairings were tried. */
  exact: boolean;
  pairs: number;
}

/**
 * A correlation with its two-sided permutation p-value: the share of pairings of x with shuffled y whose |correlation| is
 * at least as large. All pairings are tried where there are no more than `permutations`; otherwise that many random ones,
 * the observed one counted among them (Phipson & Smyth 2010). For values between pairs of items (languages, layers) use
 * `mantel`, since such pairs are not exchangeable.
 */
export function correlate(
  method: CorrelationMethod,
  x: ArrayLike<number>,
  y: ArrayLike<number>,
  options: { permutations?: number; seed?: number } = {},
): Correlation {
  checkPairs(x, y);
  const statistic = correlation(method);
  const value = statistic(x, y);
  const test = permutationTest(y.length, value, options, (order) =>
    statistic(
      x,
      order.map((i) => y[i]),
    ),
  );
  return { value, ...test, pairs: x.length };
}

/**
 * Mantel's test: the correlation between two symmetric matrices over their lower triangles, with a p-value from permuting
 * the items of one (rows and columns together), since the n(n-1)/2 pairs share items.
 */
export function mantel(
  method: CorrelationMethod,
  a: readonly (readonly number[])[],
  b: readonly (readonly number[])[],
  options: { permutations?: number; seed?: number } = {},
): Correlation {
  const statistic = correlation(method);
  const triangle = (m: readonly (readonly number[])[], order: readonly number[]) =>
    order.flatMap((row, i) => order.slice(0, i).map((column) => m[row][column]));
  const identity = a.map((_, i) => i);
  const x = triangle(a, identity);
  const value = statistic(x, triangle(b, identity));
  const test = permutationTest(a.length, value, options, (order) => statistic(x, triangle(b, order)));
  return { value, ...test, pairs: x.length };
}

const correlation = (method: CorrelationMethod) => ({ pearson, spearman, kendall })[method];

function permutationTest(
  items: number,
  observed: number,
  { permutations = 9999, seed = 0 }: { permutations?: number; seed?: number },
  statistic: (order: number[]) => number,
): { p: number; exact: boolean } {
  if (Number.isNaN(observed)) return { p: Number.NaN, exact: false };
  // Rounding must not make an equal value look smaller.
  const asLarge = (value: number) => Math.abs(value) >= Math.abs(observed) - 1e-12;
  const identity = Array.from({ length: items }, (_, i) => i);
  let all = 1;
  for (let i = 2; i <= items && all <= permutations; i++) all *= i;
  let count = 0;
  if (all <= permutations) {
    for (const order of orders(identity)) if (asLarge(statistic(order))) count++;
    return { p: count / all, exact: true };
  }
  const stream = random(seed, "permutation-test");
  for (let k = 0; k < permutations; k++) if (asLarge(statistic(stream.shuffle(identity)))) count++;
  return { p: (count + 1) / (permutations + 1), exact: false };
}

function* orders(items: number[]): Generator<number[]> {
  if (items.length <= 1) {
    yield items;
    return;
  }
  for (let i = 0; i < items.length; i++)
    for (const rest of orders(items.filter((_, j) => j !== i))) yield [items[i], ...rest];
}

/** Rounding can carry a perfect correlation just past 1. */
const clamp = (r: number) => Math.max(-1, Math.min(1, r));

function checkPairs(x: ArrayLike<number>, y: ArrayLike<number>): void {
  if (x.length !== y.length) throw new RangeError(`${x.length} values in x but ${y.length} in y`);
}
