import { logMel } from "../audio/spectra.ts";
import { cholesky, choleskySolve } from "../metrics/cholesky.ts";
import type { Part, Stream } from "./data.ts";

const BANDS = 80;
const PENALTIES = [0.01, 0.1, 1, 10, 100, 1000];

export interface BaselineResult {
  /** Share of right classes in each part that has utterances. */
  readonly accuracy: Partial<Record<Part, number>>;
  readonly penalty: number;
}

/**
 * The simple model that a recipe must beat: ridge regression from mean and standard deviation of the log-mel spectrum to
 * one output per class, the largest of which wins. Features are standardised on the training part; the penalty is
 * the one that does best on the validation part (1 where there is none).
 *
 * @param classOf class of each item, by its index
 */
export async function logMelRidge(
  stream: Stream,
  classOf: (index: number) => number,
  classes: number,
): Promise<BaselineResult> {
  const { train, valid, test } = stream.parts;
  const rows = new Map<number, Float64Array>();
  for (const i of [...train, ...valid, ...test])
    rows.set(i, logMelStatistics(await stream.loader.load(i), stream.spec.sampleRate));
  standardise(
    rows,
    train.map((i) => rows.get(i)!),
  );

  const { gram, cross } = normalEquations(
    train.map((i) => rows.get(i)!),
    train.map(classOf),
    classes,
  );
  const accuracyOf = (weights: Float64Array[], part: readonly number[]) =>
    part.filter((i) => argmax(weights.map((w) => dot(w, rows.get(i)!))) === classOf(i)).length / part.length;
  let best: { penalty: number; weights: Float64Array[]; score: number } | undefined;
  for (const penalty of valid.length > 0 ? PENALTIES : [1]) {
    const weights = solveRidge(gram, cross, penalty);
    const score = valid.length > 0 ? accuracyOf(weights, valid) : 0;
    if (best === undefined || score > best.score) best = { penalty, weights, score };
  }
  const { penalty, weights } = best!;
  const accuracy: Partial<Record<Part, number>> = {};
  for (const part of ["train", "valid", "test"] as const)
    if (stream.parts[part].length > 0) accuracy[part] = accuracyOf(weights, stream.parts[part]);
  return { accuracy, penalty };
}

/** Mean and standard deviation over frames of each band, and a constant: [2 bands + 1]. */
function logMelStatistics(samples: Float32Array, sampleRate: number): Float64Array {
  const { data, frames, dim } = logMel(samples, sampleRate, { bands: BANDS });
  const out = new Float64Array(2 * dim + 1);
  for (let t = 0; t < frames; t++)
    for (let b = 0; b < dim; b++) {
      out[b] += data[t * dim + b] / frames;
      out[dim + b] += data[t * dim + b] ** 2 / frames;
    }
  for (let b = 0; b < dim; b++) out[dim + b] = Math.sqrt(Math.max(0, out[dim + b] - out[b] ** 2));
  out[2 * dim] = 1;
  return out;
}

/** Zero mean and unit variance of every feature but the constant, as measured on `reference`. */
function standardise(rows: ReadonlyMap<number, Float64Array>, reference: readonly Float64Array[]): void {
  for (let j = 0; j < 2 * BANDS; j++) {
    const values = reference.map((row) => row[j]);
    const mean = values.reduce((a, b) => a + b, 0) / values.length;
    const variance = values.reduce((a, b) => a + (b - mean) ** 2, 0) / values.length;
    for (const row of rows.values()) row[j] = (row[j] - mean) / Math.sqrt(variance + 1e-12);
  }
}

/** X'X [n, n] and X'y [classes][n], y being 1 for an utterance's class and 0 for others. */
function normalEquations(rows: readonly Float64Array[], labels: readonly number[], classes: number) {
  const n = rows[0].length;
  const gram = new Float64Array(n * n);
  const cross = Array.from({ length: classes }, () => new Float64Array(n));
  for (const [i, row] of rows.entries())
    for (let a = 0; a < n; a++) {
      for (let b = 0; b <= a; b++) gram[a * n + b] += row[a] * row[b];
      cross[labels[i]][a] += row[a];
    }
  return { gram, cross };
}

/** Solves (X'X + penalty I) w = X'y for each class by Cholesky's decomposition; the constant is not penalised. */
function solveRidge(gram: Float64Array, cross: readonly Float64Array[], penalty: number): Float64Array[] {
  const n = cross[0].length;
  const a = gram.slice();
  for (let i = 0; i < n; i++) a[i * n + i] += i < n - 1 ? penalty : 1e-9;
  const l = cholesky(a, n);
  return cross.map((y) => choleskySolve(l, n, y));
}

const dot = (a: Float64Array, b: Float64Array): number => a.reduce((sum, x, i) => sum + x * b[i], 0);
const argmax = (values: readonly number[]): number => values.indexOf(Math.max(...values));
