import type { PairKernel } from "./kernels.ts";

/**
 * The Hilbert-Schmidt independence criterion of each class and its gradient (Gretton et al. 2007; Zaiem et al. 2022, eqs. 5
 * to 7). Nothing here holds an n x n matrix: rows of the kernels are visited one after another, twice.
 */

/** How kernels are centred: by H = I - 11'/n as eq. 5 says, or by I - 11'/n^2 as the authors' released code does. */
export type Centring = "paper" | "reference";

/**
 * "data" divides by HSIC(K, K), the data's own: classes count alike however alike their members sound, and the gradient is
 * large enough to follow. "alignment" divides by sqrt(HSIC(K, K) HSIC(L, L)) (centred kernel alignment, Cortes et al. 2012), which
 * is also free of the labels' kernel: good for comparing candidates, but a group is then never better than its best
 * member, and all weight goes to one. "none" is eq. 5.
 */
export type Normaliser = "none" | "data" | "alignment";

export interface HsicOptions {
  readonly centring: Centring;
  /** What the value is divided by. */
  readonly normalise: Normaliser;
  /** What tr(KHLH) is divided by: n^2 (eq. 5) or (n - 1)^2 (Gretton's). */
  readonly divisor?: "n^2" | "(n-1)^2";
}

/** The kernel of a weighted group of candidates, row by row. */
export interface GroupKernel {
  readonly size: number;
  /** Writes L[i, 0..i) into `values`. */
  row(i: number, weights: Float64Array, values: Float64Array): void;
  /** Adds to each candidate's slope the sum over j < i of factors[j] * (its log-kernel)[i, j]: what factors * L's logarithm moves by its weight. */
  slopes(i: number, factors: Float64Array, slopes: Float64Array): void;
}

export interface HsicResult {
  readonly value: number;
  /** d value / d weight of each candidate. */
  readonly gradient: Float64Array;
}

/** Row sums of a symmetric kernel with unit diagonal, and how much of a mean its centring takes off. */
interface Centre {
  readonly sums: Float64Array;
  /** What makes of a row's sum a times its mean, with a = 1 (paper) or 1/n (reference). */
  readonly share: number;
  /** a^2 times the mean of all. */
  readonly all: number;
}

function centreOf(sums: Float64Array, centring: Centring): Centre {
  const n = sums.length;
  const a = centring === "paper" ? 1 : 1 / n;
  const mean = sums.reduce((x, y) => x + y, 0) / (n * n);
  return { sums, share: a / n, all: a * a * mean };
}

/** Rows to work in: new ones in each call would be hundreds of thousands in a selection, all to be collected. */
let rows: Float64Array[] = [];
function scratch(n: number): Float64Array[] {
  if (!(rows[0]?.length >= n)) rows = [0, 1, 2].map(() => new Float64Array(n));
  return rows;
}

/**
 * HSIC of the data kernel K and the group's kernel L over the members of one class, with its gradient by the weights.
 * tr(K H L H) = sum over i, j of (H K H)[i, j] L[i, j], and (H K H)[i, j] = K[i, j] - r_i - r_j + m for row means r and mean m.
 *
 * @param data K, with its row sums known
 */
export function hsic(
  data: PairKernel,
  group: GroupKernel,
  weights: Float64Array,
  options: HsicOptions,
): HsicResult {
  const n = group.size;
  const candidates = weights.length;
  const gradient = new Float64Array(candidates);
  if (n < 2) return { value: 0, gradient };
  const { centring, normalise } = options;
  const k = centreOf(data.rowSums, centring);
  const [values, kernel, shared] = scratch(n);

  // The alignment needs L's own centre, which takes a pass of its own.
  let l: Centre | undefined;
  if (normalise === "alignment") {
    const sums = new Float64Array(n).fill(1);
    for (let i = 1; i < n; i++) {
      group.row(i, weights, values);
      for (let j = 0; j < i; j++) {
        sums[i] += values[j];
        sums[j] += values[j];
      }
    }
    l = centreOf(sums, centring);
  }

  let [kl, kk, ll] = [0, 0, 0];
  const [dkl, dll] = [new Float64Array(candidates), new Float64Array(candidates)];
  for (let i = 0; i < n; i++) {
    const onDiagonal = 1 - 2 * k.share * k.sums[i] + k.all;
    kl += onDiagonal;
    kk += onDiagonal;
    if (l !== undefined) ll += 1 - 2 * l.share * l.sums[i] + l.all;
    if (i === 0) continue;
    group.row(i, weights, values);
    data.row(i, kernel);
    kk += 2 * centredProducts(kernel, kernel, k, i, shared);
    kl += 2 * centredProducts(kernel, values, k, i, shared);
    // One candidate after another: a loop over them for each pair takes twice as long.
    group.slopes(i, shared, dkl);
    if (l === undefined) continue;
    ll += 2 * centredProducts(values, values, l, i, shared);
    // H L H depends on L too, and H is symmetric: the derivative of tr(HLHL) is 2 tr(HLH dL).
    group.slopes(i, shared, dll);
  }
  if (l === undefined) {
    const over = normalise === "data" ? kk : options.divisor === "(n-1)^2" ? (n - 1) ** 2 : n * n;
    // Members that all sound alike depend on nothing.
    if (!(over > 0)) return { value: 0, gradient };
    for (let h = 0; h < candidates; h++) gradient[h] = (2 * dkl[h]) / over;
    return { value: kl / over, gradient };
  }
  const scale = Math.sqrt(kk * ll);
  if (!(scale > 0)) return { value: 0, gradient };
  for (let h = 0; h < candidates; h++) gradient[h] = (2 * dkl[h]) / scale - (2 * kl * dll[h]) / (scale * ll);
  return { value: kl / scale, gradient };
}

/** Writes (H A H)[i, j] B[i, j] for j < i into `out`, given A's row and centre and B's row; returns their sum. */
function centredProducts(
  a: Float64Array,
  b: Float64Array,
  { sums, share, all }: Centre,
  i: number,
  out: Float64Array,
): number {
  const shift = all - share * sums[i];
  let sum = 0;
  for (let j = 0; j < i; j++) {
    const value = (a[j] - share * sums[j] + shift) * b[j];
    out[j] = value;
    sum += value;
  }
  return sum;
}
