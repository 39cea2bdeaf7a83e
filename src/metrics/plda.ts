import { random } from "../random.ts";
import { cholesky, choleskyInverse, choleskyLogDet, choleskySolve } from "./cholesky.ts";

/**
 * Probabilistic linear discriminant analysis of embeddings (Prince and Elder 2007, in the form with a full residual
 * covariance, Kenny 2010): x = mean + F h + e, where h ~ N(0, I) is the speaker's and e ~ N(0, S) the recording's. Two
 * embeddings are compared by the log likelihood ratio of having one h or two.
 */
export interface PldaOptions {
  /** Dimensions of the speaker's part (default 100, at most the embedding's). */
  readonly rank?: number;
  /** Rounds of expectation maximisation (default 10). */
  readonly rounds?: number;
  readonly seed?: number;
}

type Matrix = Float64Array;

export class Plda {
  readonly mean: Float64Array;
  /** [dim, rank] */
  readonly factors: Matrix;
  /** [dim, dim] */
  readonly residual: Matrix;
  private readonly rank: number;
  /** Of the score e'Qe + t'Qt + 2 e'Pt + constant, halved. */
  private readonly quadratic: Matrix;
  private readonly cross: Matrix;
  private readonly constant: number;

  private constructor(mean: Float64Array, factors: Matrix, residual: Matrix, rank: number) {
    this.mean = mean;
    this.factors = factors;
    this.residual = residual;
    this.rank = rank;
    const dim = mean.length;
    const between = product(factors, transposed(factors, dim, rank), dim, rank, dim);
    const total = between.map((b, i) => b + residual[i]);
    const totalFactor = cholesky(total, dim);
    const inverse = choleskyInverse(totalFactor, dim);
    // The joint covariance [[T, B], [B, T]] is inverted by its Schur complement T - B T^-1 B.
    const solved = product(inverse, between, dim, dim, dim);
    const schur = product(between, solved, dim, dim, dim).map((v, i) => total[i] - v);
    const schurFactor = cholesky(symmetric(schur, dim), dim);
    const schurInverse = choleskyInverse(schurFactor, dim);
    this.quadratic = inverse.map((v, i) => v - schurInverse[i]);
    this.cross = product(solved, schurInverse, dim, dim, dim);
    this.constant = 0.5 * (choleskyLogDet(totalFactor, dim) - choleskyLogDet(schurFactor, dim));
  }

  /**
   * @param embeddings [recordings][dim]
   * @param speakers of each recording
   * @throws RangeError with fewer than two speakers, or where embeddings span too few dimensions for a covariance
   */
  static train(
    embeddings: readonly ArrayLike<number>[],
    speakers: readonly (string | number)[],
    { rank: wanted = 100, rounds = 10, seed = 1 }: PldaOptions = {},
  ): Plda {
    const dim = embeddings[0].length;
    const n = embeddings.length;
    const rank = Math.min(wanted, dim);
    const mean = Float64Array.from({ length: dim }, (_, d) => embeddings.reduce((s, x) => s + x[d], 0) / n);
    const total = new Float64Array(dim * dim);
    const sums = new Map<string | number, { count: number; sum: Float64Array }>();
    for (const [i, x] of embeddings.entries()) {
      const own = sums.get(speakers[i]) ?? { count: 0, sum: new Float64Array(dim) };
      sums.set(speakers[i], own);
      own.count++;
      const centred = Float64Array.from(x, (v, d) => v - mean[d]);
      for (let a = 0; a < dim; a++) {
        own.sum[a] += centred[a];
        for (let b = 0; b < dim; b++) total[a * dim + b] += (centred[a] * centred[b]) / n;
      }
    }
    if (sums.size < 2) throw new RangeError(`${sums.size} speaker: PLDA needs two or more`);
    const rng = random(seed, "plda");
    // A random start: expectation maximisation turns it to where speakers differ.
    let factors: Matrix = Float64Array.from(
      { length: dim * rank },
      (_, i) => 0.3 * Math.sqrt(total[Math.floor(i / rank) * (dim + 1)]) * rng.normal(),
    );
    let residual: Matrix = total;
    for (let round = 0; round < rounds; round++)
      ({ factors, residual } = step([...sums.values()], total, n, factors, residual, dim, rank));
    return new Plda(mean, factors, residual, rank);
  }

  /** ln p(enrolled, tested | one speaker) - ln p(... | two speakers). */
  score(enrolled: ArrayLike<number>, tested: ArrayLike<number>): number {
    const dim = this.mean.length;
    const e = Float64Array.from(enrolled, (v, d) => v - this.mean[d]);
    const t = Float64Array.from(tested, (v, d) => v - this.mean[d]);
    let [own, cross] = [0, 0];
    for (let a = 0; a < dim; a++)
      for (let b = 0; b < dim; b++) {
        const i = a * dim + b;
        own += this.quadratic[i] * (e[a] * e[b] + t[a] * t[b]);
        cross += this.cross[i] * e[a] * t[b];
      }
    return this.constant + 0.5 * own + cross;
  }

  /** The speaker's part of the covariance, F F' [dim, dim]. */
  get between(): Matrix {
    const dim = this.mean.length;
    return product(this.factors, transposed(this.factors, dim, this.rank), dim, this.rank, dim);
  }
}

/** One round of expectation maximisation with a minimum-divergence step. */
function step(
  speakers: readonly { count: number; sum: Float64Array }[],
  total: Matrix,
  recordings: number,
  factors: Matrix,
  residual: Matrix,
  dim: number,
  rank: number,
): { factors: Matrix; residual: Matrix } {
  // S^-1 F, and F' S^-1 F, of which every speaker's precision is made: I + n F' S^-1 F.
  const weighted = choleskySolve(cholesky(residual, dim), dim, factors, rank);
  const information = product(transposed(factors, dim, rank), weighted, rank, dim, rank);
  const moments = new Float64Array(rank * rank);
  const spread = new Float64Array(rank * rank);
  const shared = new Float64Array(dim * rank);
  const inverses = new Map<number, Matrix>();
  for (const { count, sum } of speakers) {
    let inverse = inverses.get(count);
    if (inverse === undefined) {
      const precision = information.map((v, i) => count * v + (i % (rank + 1) === 0 ? 1 : 0));
      inverse = choleskyInverse(cholesky(precision, rank), rank);
      inverses.set(count, inverse);
    }
    const projected = product(transposed(weighted, dim, rank), sum, rank, dim, 1);
    const h = product(inverse, projected, rank, rank, 1);
    for (let a = 0; a < rank; a++)
      for (let b = 0; b < rank; b++) {
        const second = inverse[a * rank + b] + h[a] * h[b];
        moments[a * rank + b] += count * second;
        spread[a * rank + b] += second / speakers.length;
      }
    for (let d = 0; d < dim; d++) for (let a = 0; a < rank; a++) shared[d * rank + a] += sum[d] * h[a];
  }
  const next = transposed(
    choleskySolve(cholesky(moments, rank), rank, transposed(shared, dim, rank), dim),
    rank,
    dim,
  );
  const explained = product(next, transposed(shared, dim, rank), dim, rank, dim);
  return {
    factors: product(next, cholesky(spread, rank), dim, rank, rank),
    residual: symmetric(
      total.map((v, i) => v - explained[i] / recordings),
      dim,
    ),
  };
}

/** a [n, k] times b [k, m]. */
function product(a: Matrix, b: Matrix, n: number, k: number, m: number): Matrix {
  const out = new Float64Array(n * m);
  for (let i = 0; i < n; i++)
    for (let p = 0; p < k; p++) {
      const v = a[i * k + p];
      if (v === 0) continue;
      for (let j = 0; j < m; j++) out[i * m + j] += v * b[p * m + j];
    }
  return out;
}

function transposed(a: Matrix, n: number, m: number): Matrix {
  const out = new Float64Array(n * m);
  for (let i = 0; i < n; i++) for (let j = 0; j < m; j++) out[j * n + i] = a[i * m + j];
  return out;
}

const symmetric = (a: Matrix, n: number): Matrix =>
  a.map((v, i) => (v + a[(i % n) * n + Math.floor(i / n)]) / 2);
