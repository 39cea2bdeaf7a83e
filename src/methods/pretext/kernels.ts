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

type Row = (i: number, out: Float64Array) => void;

/** Lower triangles that are kept between passes; what does not fit is computed again each time. */
export class KernelStore {
  /** In the order of asking; undefined for one that did not fit. In shared memory, so that other threads need not compute them. */
  readonly triangles: (Float32Array | undefined)[] = [];
  private readonly earlier: readonly (Float32Array | undefined)[] | undefined;
  private left: number;

  /**
   * @param bytes default 1 GiB
   * @param earlier those of a store that was asked for the same
   */
  constructor(bytes = 2 ** 30, earlier?: KernelStore["triangles"]) {
    this.left = bytes / Float32Array.BYTES_PER_ELEMENT;
    this.earlier = earlier;
  }

  /** Whether something did not fit. */
  get exceeded(): boolean {
    return this.triangles.includes(undefined);
  }

  /** Rows that are computed once where there is room for them. */
  keep(compute: Row, size: number): Row {
    const triangle =
      this.earlier === undefined ? this.fill(compute, size) : this.earlier[this.triangles.length];
    this.triangles.push(triangle);
    if (triangle === undefined) return compute;
    return (i, out) => {
      const at = (i * (i - 1)) / 2;
      for (let j = 0; j < i; j++) out[j] = triangle[at + j];
    };
  }

  private fill(compute: Row, size: number): Float32Array | undefined {
    const total = (size * (size - 1)) / 2;
    if (total > this.left) return undefined;
    this.left -= total;
    const triangle = new Float32Array(new SharedArrayBuffer(total * Float32Array.BYTES_PER_ELEMENT));
    const row = new Float64Array(size);
    for (let i = 1; i < size; i++) {
      compute(i, row);
      triangle.set(row.subarray(0, i), (i * (i - 1)) / 2);
    }
    return triangle;
  }
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
export function cosineKernel(vectors: UnitVectors, members: Int32Array, store: KernelStore): PairKernel {
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
  return { size, rowSums, row: store.keep(row, size) };
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

/** One candidate over the members of a class: the logarithm of its kernel, whose rows are used as they are computed. */
export interface LogKernel {
  /** Adds weight * log L[i, j] to each values[j], j < i. */
  add(i: number, weight: number, values: Float64Array): void;
  /** Sum over j < i of factors[j] * log L[i, j]. */
  dot(i: number, factors: Float64Array): number;
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
  if (least > Number.NEGATIVE_INFINITY)
    return rowKernel(members.length, (i, out) => {
      for (let j = 0; j < i; j++) out[j] = Math.max(least, -((z[i] - z[j]) ** 2));
    });
  // Cheaper to compute twice than to keep in between.
  return {
    add: (i, weight, out) => {
      const own = z[i];
      for (let j = 0; j < i; j++) {
        const distance = own - z[j];
        out[j] -= weight * distance * distance;
      }
    },
    dot: (i, factors) => {
      const own = z[i];
      let [even, odd] = [0, 0];
      let j = 0;
      for (; j + 2 <= i; j += 2) {
        const [d0, d1] = [own - z[j], own - z[j + 1]];
        even -= factors[j] * d0 * d0;
        odd -= factors[j + 1] * d1 * d1;
      }
      return j < i ? even + odd - factors[j] * (own - z[j]) ** 2 : even + odd;
    },
  };
}

/** A kernel of rows that are dear to compute: the last one is at hand. */
function rowKernel(size: number, compute: Row): LogKernel {
  const row = new Float64Array(size);
  let at = -1;
  const rowOf = (i: number): Float64Array => {
    if (i !== at) compute(i, row);
    at = i;
    return row;
  };
  return {
    add: (i, weight, values) => {
      const log = rowOf(i);
      for (let j = 0; j < i; j++) values[j] += weight * log[j];
    },
    dot: (i, factors) => {
      const log = rowOf(i);
      let sum = 0;
      for (let j = 0; j < i; j++) sum += factors[j] * log[j];
      return sum;
    },
  };
}

/** A vector-valued candidate's kernel (section VIII-B): the cosine of downsampled sequences to a power, clamped from below. */
export function logCosineKernel(
  vectors: UnitVectors,
  members: Int32Array,
  exponent: number,
  store: KernelStore,
): LogKernel {
  const { row } = cosineRows(vectors, members);
  const least = Math.exp(LEAST_LOG);
  const log: Row = (i, out) => {
    row(i, out);
    for (let j = 0; j < i; j++) out[j] = exponent * Math.log(Math.max(least, Math.min(1, out[j])));
  };
  return rowKernel(members.length, store.keep(log, members.length));
}

/** L_lambda = exp(sum over h of lambda_h log L_h), eq. 7. */
export function groupKernel(candidates: readonly LogKernel[], size: number): GroupKernel {
  return {
    size,
    row: (i, weights, values) => {
      values.fill(0, 0, i);
      for (const [h, candidate] of candidates.entries())
        if (weights[h] !== 0) candidate.add(i, weights[h], values);
      for (let j = 0; j < i; j++) values[j] = Math.exp(values[j]);
    },
    slopes: (i, factors, slopes) => {
      for (let h = 0; h < candidates.length; h++) slopes[h] += candidates[h].dot(i, factors);
    },
  };
}
