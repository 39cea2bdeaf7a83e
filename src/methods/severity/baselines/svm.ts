/**
 * Support vector machine with a radial basis kernel, exp(-gamma |a - b|^2): C-SVC, one against one, solved by sequential minimal
 * optimisation with second-order working sets (R.-E. Fan, P.-H. Chen, C.-J. Lin, JMLR 6, 2005), which is what libsvm and
 * with it scikit-learn's SVC do; without their shrinking, which changes the time and not the solution.
 */

export type Rows = readonly Float64Array[];

export interface SvmOptions {
  /** Price of a margin violation. */
  c: number;
  /** Inverse width of the kernel; "precomputed" where the matrices given are the kernel itself instead of distances. */
  gamma: number | "precomputed";
  /** How far the optimality conditions may be violated (libsvm's default 1e-3). */
  tolerance?: number;
}

/** One decision function: sign > 0 says `positive`. */
interface Pair {
  positive: number;
  negative: number;
  /** Training rows and y alpha of those that support. */
  support: { row: number; weight: number }[];
  rho: number;
}

/** |a_i - b_j|^2 of all pairs, row-major [a, b]: shared by all gammas and Cs of a search. */
export function squaredDistances(a: Rows, b: Rows): Float64Array {
  const out = new Float64Array(a.length * b.length);
  for (let i = 0; i < a.length; i++)
    for (let j = 0; j < b.length; j++) {
      const [x, y] = [a[i], b[j]];
      let sum = 0;
      for (let k = 0; k < x.length; k++) sum += (x[k] - y[k]) ** 2;
      out[i * b.length + j] = sum;
    }
  return out;
}

/** A trained machine. Rows are given by their squared distances to the training rows, [rows, training rows]. */
export class Svm {
  readonly pairs: readonly Pair[];
  private readonly gamma: number | "precomputed";
  private readonly rows: number;
  private readonly classes: number;

  /**
   * @param distances squared distances between training rows [n, n]
   * @param labels class of each row, 0 to classes - 1; classes without rows are never called
   */
  constructor(distances: Float64Array, labels: readonly number[], classes: number, options: SvmOptions) {
    this.gamma = options.gamma;
    this.rows = labels.length;
    this.classes = classes;
    const kernel = kernelOf(distances, options.gamma);
    const members = Array.from({ length: classes }, (_, k) => labels.flatMap((l, i) => (l === k ? [i] : [])));
    const pairs: Pair[] = [];
    for (let a = 0; a < classes; a++)
      for (let b = a + 1; b < classes; b++) {
        if (members[a].length === 0 || members[b].length === 0) continue;
        const rows = [...members[a], ...members[b]];
        const { alpha, rho } = solve(kernel, labels.length, rows, members[a].length, options);
        const support = rows.flatMap((row, i) =>
          alpha[i] > 0 ? [{ row, weight: i < members[a].length ? alpha[i] : -alpha[i] }] : [],
        );
        pairs.push({ positive: a, negative: b, support, rho });
      }
    this.pairs = pairs;
  }

  /** Decision values of each row, in the order of `pairs`: [rows][pairs]. */
  decisions(distances: Float64Array): Float64Array[] {
    const kernel = kernelOf(distances, this.gamma);
    return Array.from({ length: distances.length / this.rows }, (_, i) =>
      Float64Array.from(this.pairs, ({ support, rho }) =>
        support.reduce((sum, { row, weight }) => sum + weight * kernel[i * this.rows + row], -rho),
      ),
    );
  }

  /** The class with the most votes of the pairs, the first among equals. */
  predict(distances: Float64Array): number[] {
    return this.decisions(distances).map((values) => {
      const votes = new Float64Array(this.classes);
      for (const [p, { positive, negative }] of this.pairs.entries())
        votes[values[p] > 0 ? positive : negative]++;
      return votes.indexOf(Math.max(...votes));
    });
  }
}

const kernelOf = (distances: Float64Array, gamma: number | "precomputed"): Float64Array =>
  gamma === "precomputed" ? distances : distances.map((d) => Math.exp(-gamma * d));

/** libsvm's own bound on the second derivative along a working set. */
const TAU = 1e-12;
/** A machine whose C is far too large creeps; what it has by then is as good as its answer gets. */
const MOST_STEPS = 1_000_000;

/** min 1/2 a'Qa - e'a with 0 <= a <= C and y'a = 0; the first `positives` of `rows` have y = 1, the others -1. */
function solve(
  kernel: Float64Array,
  n: number,
  rows: readonly number[],
  positives: number,
  { c, tolerance = 1e-3 }: SvmOptions,
): { alpha: Float64Array; rho: number } {
  const size = rows.length;
  const y = Float64Array.from(rows, (_, i) => (i < positives ? 1 : -1));
  const k = new Float64Array(size * size);
  for (let i = 0; i < size; i++)
    for (let j = 0; j < size; j++) k[i * size + j] = kernel[rows[i] * n + rows[j]];
  const alpha = new Float64Array(size);
  const gradient = new Float64Array(size).fill(-1);
  const up = (t: number) => (y[t] > 0 ? alpha[t] < c : alpha[t] > 0);
  const low = (t: number) => (y[t] > 0 ? alpha[t] > 0 : alpha[t] < c);
  for (let step = 0; step < MOST_STEPS; step++) {
    let [i, most] = [-1, Number.NEGATIVE_INFINITY];
    for (let t = 0; t < size; t++)
      if (up(t) && -y[t] * gradient[t] >= most) {
        most = -y[t] * gradient[t];
        i = t;
      }
    let [j, least, gain] = [-1, Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
    for (let t = 0; t < size; t++) {
      if (!low(t)) continue;
      const value = -y[t] * gradient[t];
      least = Math.min(least, value);
      const rise = most - value;
      if (rise <= 0 || i < 0) continue;
      const bend = Math.max(TAU, k[i * size + i] + k[t * size + t] - 2 * k[i * size + t]);
      if (-(rise * rise) / bend <= gain) {
        gain = -(rise * rise) / bend;
        j = t;
      }
    }
    if (j < 0 || most - least < tolerance) break;
    // The two move so that y'a stays: by delta along y_i and against it along y_j, as far as the box lets them.
    const bend = Math.max(TAU, k[i * size + i] + k[j * size + j] - 2 * k[i * size + j]);
    const roomI = y[i] > 0 ? c - alpha[i] : alpha[i];
    const roomJ = y[j] > 0 ? alpha[j] : c - alpha[j];
    const free = (-y[i] * gradient[i] + y[j] * gradient[j]) / bend;
    const delta = Math.min(free, roomI, roomJ);
    // At an edge the value is the edge's own, so that rounding never leaves it beside.
    alpha[i] = delta === roomI ? (y[i] > 0 ? c : 0) : alpha[i] + y[i] * delta;
    alpha[j] = delta === roomJ ? (y[j] > 0 ? 0 : c) : alpha[j] - y[j] * delta;
    for (let t = 0; t < size; t++) gradient[t] += y[t] * delta * (k[i * size + t] - k[j * size + t]);
  }
  return { alpha, rho: threshold(alpha, gradient, y, c) };
}

/** The mean over free vectors, or the middle of what the bounded ones allow. */
function threshold(alpha: Float64Array, gradient: Float64Array, y: Float64Array, c: number): number {
  let [free, sum, above, below] = [0, 0, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (let t = 0; t < alpha.length; t++) {
    const value = y[t] * gradient[t];
    if (alpha[t] > 0 && alpha[t] < c) {
      free++;
      sum += value;
    } else if (alpha[t] === 0 ? y[t] > 0 : y[t] < 0) above = Math.min(above, value);
    else below = Math.max(below, value);
  }
  return free > 0 ? sum / free : (above + below) / 2;
}
