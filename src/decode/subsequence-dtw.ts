/** Query by example: where in a document a spoken query fits best (SUPERB's set-up, after Rodriguez-Fuentes et al. 2014). */

export interface Match {
  /** Mean distance along the path, per query frame; smaller is better. */
  distance: number;
  /** First and last document frame of the match, both inclusive. */
  start: number;
  end: number;
}

/**
 * Dynamic time warping of all `queryFrames` rows to any stretch of the `documentFrames` columns of `distances` (row-major).
 * Each query frame takes one step that advances the document by 0, 1 or 2 frames, all steps weighing the same: the pattern
 * called asymmetric (Sakoe and Chiba 1978), open at both ends. O(documentFrames) memory.
 */
export function subsequenceDtw(
  distances: ArrayLike<number>,
  queryFrames: number,
  documentFrames: number,
): Match {
  if (distances.length !== queryFrames * documentFrames || distances.length === 0)
    throw new RangeError(`${distances.length} distances are not ${queryFrames} x ${documentFrames} frames`);
  let cost = new Float64Array(documentFrames);
  let start = new Int32Array(documentFrames);
  for (let j = 0; j < documentFrames; j++) {
    cost[j] = distances[j];
    start[j] = j;
  }
  for (let i = 1; i < queryFrames; i++) {
    const nextCost = new Float64Array(documentFrames);
    const nextStart = new Int32Array(documentFrames);
    for (let j = 0; j < documentFrames; j++) {
      let from = j;
      if (j >= 1 && cost[j - 1] < cost[from]) from = j - 1;
      if (j >= 2 && cost[j - 2] < cost[from]) from = j - 2;
      nextCost[j] = cost[from] + distances[i * documentFrames + j];
      nextStart[j] = start[from];
    }
    cost = nextCost;
    start = nextStart;
  }
  const end = cost.reduce((best, value, j) => (value < cost[best] ? j : best), 0);
  return { distance: cost[end] / queryFrames, start: start[end], end };
}

/**
 * Distances between frames of two feature sequences, row-major [frames, dim]: exp(1 - cosine) - 1, each query frame's row
 * then scaled to 0..1, so that frames which fit anything or nothing (silence, noise) do not decide.
 */
export function queryDistances(
  query: ArrayLike<number>,
  document: ArrayLike<number>,
  dim: number,
): Float64Array {
  const unit = (features: ArrayLike<number>) => {
    const out = Float64Array.from(features);
    for (let at = 0; at < out.length; at += dim) {
      let squares = 0;
      for (let d = 0; d < dim; d++) squares += out[at + d] ** 2;
      const scale = 1 / Math.max(Math.sqrt(squares), 1e-12);
      for (let d = 0; d < dim; d++) out[at + d] *= scale;
    }
    return out;
  };
  const [q, doc] = [unit(query), unit(document)];
  const [rows, columns] = [q.length / dim, doc.length / dim];
  const cosines = new Float64Array(rows * columns);
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < columns; j++)
      for (let d = 0; d < dim; d++) cosines[i * columns + j] += q[i * dim + d] * doc[j * dim + d];
  return scaledDistances(cosines, rows, columns);
}

/** The same from cosines [rows, columns] that were computed elsewhere. */
export function scaledDistances(cosines: ArrayLike<number>, rows: number, columns: number): Float64Array {
  const out = new Float64Array(rows * columns);
  for (let i = 0; i < rows; i++) {
    const row = out.subarray(i * columns, (i + 1) * columns);
    let [low, high] = [Infinity, -Infinity];
    for (let j = 0; j < columns; j++) {
      row[j] = Math.exp(1 - cosines[i * columns + j]) - 1;
      low = Math.min(low, row[j]);
      high = Math.max(high, row[j]);
    }
    const range = Math.max(high - low, 1e-9);
    for (let j = 0; j < columns; j++) row[j] = (row[j] - low) / range;
  }
  return out;
}
