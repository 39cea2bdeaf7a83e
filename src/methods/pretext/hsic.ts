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
  /** Writes L[i, 0..i) into `values` and, where asked for, the candidates' log-kernels into `logs` [candidates][i]. */
  row(i: number, weights: Float64Array, values: Float64Array, logs: Float64Array[] | undefined): void;
}

export interface HsicResult {
  readonly value: number;
  /** d value / d weight of each candidate. */
  readonly gradient: Float64Array;
}

/** Row sums of a symmetric kernel with unit diagonal, and how much of a mean its centring takes off. */
interface Centre {
  /** a times the mean of each row, with a = 1 (paper) or 1/n (reference). */
  readonly rows: Float64Array;
  /** a^2 times the mean of all. */
  readonly all: number;
}

function centreOf(sums: Float64Array, centring: Centring): Centre {
  const n = sums.length;
  const a = centring === "paper" ? 1 : 1 / n;
  const mean = sums.reduce((x, y) => x + y, 0) / (n * n);
  return { rows: sums.map((sum) => (a * sum) / n), all: a * a * mean };
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
  const values = new Float64Array(n);
  const kernel = new Float64Array(n);
  const logs = Array.from({ length: candidates }, () => new Float64Array(n));

  // The alignment needs L's own centre, which takes a pass of its own.
  let l: Centre | undefined;
  if (normalise === "alignment") {
    const sums = new Float64Array(n).fill(1);
    for (let i = 1; i < n; i++) {
      group.row(i, weights, values, undefined);
      for (let j = 0; j < i; j++) {
        sums[i] += values[j];
        sums[j] += values[j];
      }
    }
    l = centreOf(sums, centring);
  }

  let [kl, kk, ll] = [0, 0, 0];
  const [dkl, dll] = [new Float64Array(candidates), new Float64Array(candidates)];
  const shared = new Float64Array(n);
  for (let i = 0; i < n; i++) {
    const onDiagonal = 1 - 2 * k.rows[i] + k.all;
    kl += onDiagonal;
    kk += onDiagonal;
    if (l !== undefined) ll += 1 - 2 * l.rows[i] + l.all;
    if (i === 0) continue;
    group.row(i, weights, values, logs);
    data.row(i, kernel);
    kk += 2 * centredProducts(kernel, kernel, k, i, shared);
    kl += 2 * centredProducts(kernel, values, k, i, shared);
    // One candidate after another: a loop over them for each pair takes twice as long.
    for (let h = 0; h < candidates; h++) dkl[h] += 2 * dot(shared, logs[h], i);
    if (l === undefined) continue;
    ll += 2 * centredProducts(values, values, l, i, shared);
    // H L H depends on L too, and H is symmetric: the derivative of tr(HLHL) is 2 tr(HLH dL).
    for (let h = 0; h < candidates; h++) dll[h] += 4 * dot(shared, logs[h], i);
  }
  if (l === undefined) {
    const over = normalise === "data" ? kk : options.divisor === "(n-1)^2" ? (n - 1) ** 2 : n * n;
    // Members that all sound alike depend on nothing.
    if (!(over > 0)) return { value: 0, gradient };
    for (let h = 0; h < candidates; h++) gradient[h] = dkl[h] / over;
    return { value: kl / over, gradient };
  }
  const scale = Math.sqrt(kk * ll);
  if (!(scale > 0)) return { value: 0, gradient };
  for (let h = 0; h < candidates; h++) gradient[h] = dkl[h] / scale - (0.5 * kl * dll[h]) / (scale * ll);
  return { value: kl / scale, gradient };
}

/** Writes (H A H)[i, j] B[i, j] for j < i into `out`, given A's row and centre and B's row; returns their sum. */
function centredProducts(
  a: Float64Array,
  b: Float64Array,
  { rows, all }: Centre,
  i: number,
  out: Float64Array,
): number {
  const shift = all - rows[i];
  let sum = 0;
  for (let j = 0; j < i; j++) {
    const value = (a[j] - rows[j] + shift) * b[j];
    out[j] = value;
    sum += value;
  }
  return sum;
}

function dot(a: Float64Array, b: Float64Array, size: number): number {
  let sum = 0;
  for (let j = 0; j < size; j++) sum += a[j] * b[j];
  return sum;
}
