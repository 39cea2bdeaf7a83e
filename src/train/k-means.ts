import { setImmediate as othersTurn } from "node:timers/promises";
import { UserError } from "../errors.ts";
import { type Random, random } from "../random.ts";

export interface KMeansOptions {
  /** Number of clusters. */
  readonly clusters: number;
  readonly seed: number;
  /** Points of a mini-batch (default 10,000). */
  readonly batch?: number;
  /** Passes over the points at most (default 30). */
  readonly epochs?: number;
  /** Mini-batches without a better smoothed inertia after which it stops (default 100). */
  readonly patience?: number;
  /** Starts, of which the one with the least inertia on a sample is kept (default 5). */
  readonly starts?: number;
  /** After each start and each pass, `total` being all that there may be. Signals are heard in between. */
  readonly onPart?: (done: number, total: number) => void;
}

/** Cluster centres, row by row. */
export interface Centroids {
  /** [clusters, dim] */
  readonly data: Float32Array;
  readonly clusters: number;
  readonly dim: number;
}

/**
 * Mini-batch k-means (Sculley 2010) with k-means++ starts (Arthur and Vassilvitskii 2007), as HuBERT uses it (Hsu et al.
 * 2021, section III-B). A function of points and seed alone.
 *
 * @param points [n, dim], row by row
 * @throws UserError where there are fewer points than clusters
 */
export async function kMeans(points: Float32Array, dim: number, options: KMeansOptions): Promise<Centroids> {
  const { clusters, seed, batch = 10_000, epochs = 30, patience = 100, starts = 5 } = options;
  const count = points.length / dim;
  if (count < clusters) throw new UserError(`${clusters} clusters need as many points, not ${count}`);
  const sampleOf = (key: string, i: number, size: number): Float32Array =>
    size >= count ? points : rows(points, dim, sampled(random(seed, "k-means", key, i), count, size));
  const size = Math.min(count, Math.max(3 * batch, 3 * clusters));
  const judge = sampleOf("judge", 0, size);
  const tell = (done: number): Promise<void> => {
    options.onPart?.(done, starts + epochs);
    return othersTurn();
  };
  let best: { centres: Centroids; inertia: number } | undefined;
  for (let i = 0; i < starts; i++) {
    const centres = plusPlus(sampleOf("start", i, size), dim, clusters, random(seed, "k-means", "++", i));
    const { inertia } = assign(judge, centres);
    if (best === undefined || inertia < best.inertia) best = { centres, inertia };
    await tell(i + 1);
  }
  const centres = best!.centres;
  const weight = new Float64Array(clusters);
  const sums = Float64Array.from(centres.data);
  const perEpoch = Math.max(1, Math.ceil(count / batch));
  // Smoothed over about one epoch, as scikit-learn smooths it.
  const alpha = Math.min(1, (2 * batch) / (count + 1));
  let smooth: number | undefined;
  let [least, since] = [Number.POSITIVE_INFINITY, 0];
  for (let epoch = 0; epoch < epochs; epoch++) {
    const order = random(seed, "k-means", "epoch", epoch).shuffle(Array.from({ length: count }, (_, i) => i));
    for (let b = 0; b < perEpoch; b++) {
      const part = rows(points, dim, order.slice(b * batch, (b + 1) * batch));
      const { labels, inertia } = assign(part, centres);
      move(part, labels, centres, weight, sums);
      const mean = inertia / labels.length;
      smooth = smooth === undefined ? mean : smooth * (1 - alpha) + mean * alpha;
      if (smooth < least) [least, since] = [smooth, 0];
      else since++;
    }
    await tell(starts + epoch + 1);
    if (since >= patience) break;
  }
  return centres;
}

/** Each centre becomes the mean of all points it has been given so far: Sculley's rate 1 / count, one batch at a time. */
function move(
  points: Float32Array,
  labels: Int32Array,
  { data, dim }: Centroids,
  weight: Float64Array,
  means: Float64Array,
): void {
  for (let i = 0; i < labels.length; i++) {
    const c = labels[i];
    const rate = 1 / ++weight[c];
    for (let d = 0; d < dim; d++) means[c * dim + d] += rate * (points[i * dim + d] - means[c * dim + d]);
  }
  data.set(means);
}

/** The nearest centre of each point [n], and the sum of squared distances to them. */
export function assign(
  points: Float32Array,
  { data, clusters, dim }: Centroids,
): { labels: Int32Array; inertia: number } {
  const count = points.length / dim;
  const labels = new Int32Array(count);
  const [centres, doubles] = [Float64Array.from(data), Float64Array.from(points)];
  const [norms, own] = [squaredNorms(centres, dim), squaredNorms(doubles, dim)];
  const dots = new Float64Array(clusters);
  let inertia = 0;
  for (let i = 0; i < count; i++) {
    products(centres, doubles.subarray(i * dim, (i + 1) * dim), dots);
    let [best, at] = [Number.POSITIVE_INFINITY, 0];
    for (let c = 0; c < clusters; c++) {
      const distance = norms[c] - 2 * dots[c];
      if (distance < best) [best, at] = [distance, c];
    }
    labels[i] = at;
    inertia += Math.max(0, best + own[i]);
  }
  return { labels, inertia };
}

/** k-means++ with the greedy trials of scikit-learn: of 2 + ln k candidates a step, the one that leaves least inertia. */
function plusPlus(points: Float32Array, dim: number, clusters: number, chance: Random): Centroids {
  const count = points.length / dim;
  const data = new Float32Array(clusters * dim);
  const trials = 2 + Math.floor(Math.log(clusters));
  const put = (c: number, i: number) => data.set(points.subarray(i * dim, (i + 1) * dim), c * dim);
  const doubles = Float64Array.from(points);
  const norms = squaredNorms(doubles, dim);
  const distancesTo = (i: number): Float64Array => {
    const out = new Float64Array(count);
    products(doubles, doubles.subarray(i * dim, (i + 1) * dim), out);
    // Rounding leaves about 0, above or below, of a point's distance to itself.
    for (let j = 0; j < count; j++) out[j] = Math.max(0, norms[i] + norms[j] - 2 * out[j]);
    return out;
  };
  const first = chance.int(count);
  put(0, first);
  let nearest = distancesTo(first);
  let total = nearest.reduce((a, b) => a + b, 0);
  for (let c = 1; c < clusters; c++) {
    let best: { away: Float64Array; total: number; at: number } | undefined;
    for (let trial = 0; trial < trials; trial++) {
      let left = chance.next() * total;
      let at = 0;
      while (at < count - 1 && left > nearest[at]) left -= nearest[at++];
      const away = distancesTo(at);
      let sum = 0;
      for (let j = 0; j < count; j++) {
        if (nearest[j] < away[j]) away[j] = nearest[j];
        sum += away[j];
      }
      if (best === undefined || sum < best.total) best = { away, total: sum, at };
    }
    put(c, best!.at);
    nearest = best!.away;
    total = best!.total;
  }
  return { data, clusters, dim };
}

/**
 * Dot products of each row of `a` [out.length, dim] with `x` [dim]: nearly all of the time goes into this loop. Four rows at a
 * time, since one sum alone waits for each of its additions, and in doubles, since every load of a float32 is a conversion.
 */
function products(a: Float64Array, x: Float64Array, out: Float64Array): void {
  const [dim, count] = [x.length, out.length];
  let j = 0;
  for (; j + 3 < count; j += 4) {
    const [at0, at1, at2, at3] = [j * dim, (j + 1) * dim, (j + 2) * dim, (j + 3) * dim];
    let [s0, s1, s2, s3] = [0, 0, 0, 0];
    for (let d = 0; d < dim; d++) {
      const value = x[d];
      s0 += a[at0 + d] * value;
      s1 += a[at1 + d] * value;
      s2 += a[at2 + d] * value;
      s3 += a[at3 + d] * value;
    }
    out[j] = s0;
    out[j + 1] = s1;
    out[j + 2] = s2;
    out[j + 3] = s3;
  }
  for (; j < count; j++) {
    let sum = 0;
    for (let d = 0; d < dim; d++) sum += a[j * dim + d] * x[d];
    out[j] = sum;
  }
}

/** Squared norm of each row. */
const squaredNorms = (a: Float64Array, dim: number): Float64Array =>
  Float64Array.from({ length: a.length / dim }, (_, row) => {
    let sum = 0;
    for (let d = row * dim; d < (row + 1) * dim; d++) sum += a[d] * a[d];
    return sum;
  });

function rows(points: Float32Array, dim: number, indices: readonly number[]): Float32Array {
  const out = new Float32Array(indices.length * dim);
  for (const [to, from] of indices.entries())
    out.set(points.subarray(from * dim, (from + 1) * dim), to * dim);
  return out;
}

/** `size` different indices below `count`. */
const sampled = (chance: Random, count: number, size: number): number[] =>
  chance.shuffle(Array.from({ length: count }, (_, i) => i)).slice(0, size);
