import type { GroupKernel } from "./hsic.ts";

/** A symmetric kernel with unit diagonal over the members of a class, below the diagonal. */
export interface PairKernel {
  readonly size: number;
  /** Sum of each row, the diagonal included. */
  readonly rowSums: Float64Array;
  /** Writes K[i, 0..i) into `out`. */
  row(i: number, out: Float64Array): void;
}

/** Vectors of unit length, [size, dim]: the kernel of two is their dot product, the cosine of eq. 1. */
export interface UnitVectors {
  readonly data: Float32Array;
  readonly dim: number;
}

/** Elements that kernels may keep between passes; what does not fit is computed again each time. */
export class KernelBudget {
  private left: number;
  /** Whether something did not fit. */
  exceeded = false;

  /** @param bytes default 1 GiB */
  constructor(bytes = 2 ** 30) {
    this.left = bytes / Float32Array.BYTES_PER_ELEMENT;
  }

  take(elements: number): boolean {
    if (elements > this.left) {
      this.exceeded = true;
      return false;
    }
    this.left -= elements;
    return true;
  }
}

type Row = (i: number, out: Float64Array) => void;

/** Rows of a lower triangle, kept after one computation where the budget allows. */
function kept(compute: Row, size: number, budget: KernelBudget): Row {
  const total = (size * (size - 1)) / 2;
  if (!budget.take(total)) return compute;
  const triangle = new Float32Array(total);
  const row = new Float64Array(size);
  for (let i = 1; i < size; i++) {
    compute(i, row);
    triangle.set(row.subarray(0, i), (i * (i - 1)) / 2);
  }
  return (i, out) => {
    const at = (i * (i - 1)) / 2;
    for (let j = 0; j < i; j++) out[j] = triangle[at + j];
  };
}

function cosineRows({ data, dim }: UnitVectors, members: Int32Array): { rows: Float32Array[]; row: Row } {
  const rows = Array.from(members, (m) => data.subarray(m * dim, (m + 1) * dim));
  const row: Row = (i, out) => {
    const own = rows[i];
    for (let j = 0; j < i; j++) out[j] = dot(own, rows[j], dim);
  };
  return { rows, row };
}

/** The cosine kernel of eqs. 1 and 3 over the class's members. */
export function cosineKernel(vectors: UnitVectors, members: Int32Array, budget: KernelBudget): PairKernel {
  const { dim } = vectors;
  const { rows, row } = cosineRows(vectors, members);
  // The sum of a row's cosines is the cosine with the sum of all: no pass over pairs.
  const sum = new Float64Array(dim);
  for (const vector of rows) for (let d = 0; d < dim; d++) sum[d] += vector[d];
  const rowSums = Float64Array.from(rows, (vector) => {
    let all = 0;
    for (let d = 0; d < dim; d++) all += vector[d] * sum[d];
    return all - dot(vector, vector, dim) + 1;
  });
  const size = members.length;
  return { size, rowSums, row: kept(row, size, budget) };
}

/** Four sums at a time: a single one would wait for itself. */
function dot(a: Float32Array, b: Float32Array, dim: number): number {
  let [s0, s1, s2, s3] = [0, 0, 0, 0];
  let d = 0;
  for (; d + 4 <= dim; d += 4) {
    s0 += a[d] * b[d];
    s1 += a[d + 1] * b[d + 1];
    s2 += a[d + 2] * b[d + 2];
    s3 += a[d + 3] * b[d + 3];
  }
  for (; d < dim; d++) s0 += a[d] * b[d];
  return s0 + s1 + (s2 + s3);
}

/** One candidate over the members of a class: the logarithm of its kernel. */
export interface LogKernel {
  /** Writes log L[i, 0..i) into `out`. */
  row(i: number, out: Float64Array): void;
}

/** Least logarithm of a kernel: the authors clamp so, and a cosine need not be positive. */
export const LEAST_LOG = -10;

/** The radial basis kernel of eq. 4 over mean labels: log L = -(z_i - z_j)^2 / (2 sigma^2). */
export function radialKernel(
  values: Float64Array,
  members: Int32Array,
  twiceVariance: number,
  least = Number.NEGATIVE_INFINITY,
): LogKernel {
  // In units of the bandwidth, which spares a division for each pair.
  const scale = 1 / Math.sqrt(twiceVariance);
  const z = Float64Array.from(members, (m) => scale * values[m]);
  return {
    row: (i, out) => {
      const own = z[i];
      for (let j = 0; j < i; j++) {
        const distance = own - z[j];
        out[j] = Math.max(least, -distance * distance);
      }
    },
  };
}

/** A vector-valued candidate's kernel (section VIII-B): the cosine of downsampled sequences to a power, clamped from below. */
export function logCosineKernel(
  vectors: UnitVectors,
  members: Int32Array,
  exponent: number,
  budget: KernelBudget,
): LogKernel {
  const { row } = cosineRows(vectors, members);
  const least = Math.exp(LEAST_LOG);
  const log: Row = (i, out) => {
    row(i, out);
    for (let j = 0; j < i; j++) out[j] = exponent * Math.log(Math.max(least, Math.min(1, out[j])));
  };
  return { row: kept(log, members.length, budget) };
}

/** L_lambda = exp(sum over h of lambda_h log L_h), eq. 7. */
export function groupKernel(candidates: readonly LogKernel[], size: number): GroupKernel {
  const scratch = candidates.map(() => new Float64Array(size));
  return {
    size,
    row: (i, weights, values, logs = scratch) => {
      values.fill(0, 0, i);
      for (let h = 0; h < candidates.length; h++) {
        const weight = weights[h];
        candidates[h].row(i, logs[h]);
        if (weight === 0) continue;
        const log = logs[h];
        for (let j = 0; j < i; j++) values[j] += weight * log[j];
      }
      for (let j = 0; j < i; j++) values[j] = Math.exp(values[j]);
    },
  };
}
