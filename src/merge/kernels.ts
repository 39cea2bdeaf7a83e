import { hash32, mix32 } from "../random.ts";

/**
 * The arithmetic of merging, on one tensor at a time. Sums are taken in float64 and rounded to float32 once. `out`
 * is a buffer of its own, except that `combine` of two tensors may write over one of them.
 */

/**
 * sum of coefficient * tensor. A term whose coefficient is 0 is not looked at and one of coefficient 1 alone is copied, so
 * that the ends of an interpolation are its models to the last bit. The first term is the base's; those of the tuned models
 * are added in ascending order, so that the order in which they are named does not matter, either.
 */
export function combine(
  out: Float32Array,
  tensors: readonly Float32Array[],
  coefficients: readonly number[],
): void {
  const used = tensors.map((_, i) => i).filter((i) => coefficients[i] !== 0);
  const [first] = used;
  if (first === undefined) out.fill(0);
  else if (used.length === 1) scaled(out, tensors[first], coefficients[first]);
  else if (used.length === 2) {
    const [a, b] = [tensors[first], tensors[used[1]]];
    const [p, q] = [coefficients[first], coefficients[used[1]]];
    for (let i = 0; i < out.length; i++) out[i] = p * a[i] + q * b[i];
  } else {
    const base = coefficients[0];
    const tuned = used.filter((i) => i > 0);
    const addends = new Float64Array(tuned.length);
    for (let i = 0; i < out.length; i++) {
      for (let k = 0; k < tuned.length; k++) addends[k] = coefficients[tuned[k]] * tensors[tuned[k]][i];
      const sum = ascendingSum(addends, addends.length);
      out[i] = base === 0 ? sum : base * tensors[0][i] + sum;
    }
  }
}

function scaled(out: Float32Array, x: Float32Array, factor: number): void {
  if (factor === 1) out.set(x);
  else for (let i = 0; i < out.length; i++) out[i] = factor * x[i];
}

/** The sum of the first `count` numbers, which it sorts: the same whatever their order. */
function ascendingSum(x: Float64Array, count: number): number {
  if (count === 2) return x[0] + x[1];
  for (let i = 1; i < count; i++) {
    const value = x[i];
    let j = i - 1;
    for (; j >= 0 && x[j] > value; j--) x[j + 1] = x[j];
    x[j + 1] = value;
  }
  let sum = x[0];
  for (let i = 1; i < count; i++) sum += x[i];
  return sum;
}

/** Which of a model's entries take part in the merge of one tensor. */
export type Keep =
  /** Those at least this large in magnitude (of the float32 task vector). */
  | { readonly kind: "above"; readonly threshold: number }
  /** Exactly the `count` largest; of equal ones the first. */
  | { readonly kind: "largest"; readonly count: number }
  /** Each with the probability `density`, by its place alone; survivors are divided by it. */
  | { readonly kind: "random"; readonly density: number; readonly key: number };

/** Task vector tuned - base with entries dropped; float64 [size], 0 where dropped. */
export function taskVector(out: Float64Array, base: Float32Array, tuned: Float32Array, keep: Keep): void {
  if (keep.kind === "random") {
    const { density, key } = keep;
    const limit = density * 4294967296;
    for (let i = 0; i < out.length; i++)
      out[i] = mix32(key ^ mix32(i)) < limit ? (tuned[i] - base[i]) / density : 0;
    return;
  }
  const threshold = keep.kind === "above" ? keep.threshold : magnitudeOf(base, tuned, keep.count);
  // Entries at the threshold that may stay; in the reference code all of them.
  let ties = keep.kind === "above" ? Number.POSITIVE_INFINITY : keep.count;
  if (keep.kind === "largest")
    for (let i = 0; i < out.length; i++) if (Math.abs(Math.fround(tuned[i] - base[i])) > threshold) ties--;
  for (let i = 0; i < out.length; i++) {
    const difference = tuned[i] - base[i];
    const size = Math.abs(Math.fround(difference));
    out[i] = size > threshold || (size === threshold && ties-- > 0) ? difference : 0;
  }
}

/** DARE's key for a tensor of a model. */
export const dareKey = (seed: number, model: number, tensor: string): number =>
  hash32(seed, "dare", model, tensor);

/** Magnitude of the `count`-th largest entry of a float32 task vector that is in memory. */
function magnitudeOf(base: Float32Array, tuned: Float32Array, count: number): number {
  const selection = new MagnitudeSelection(count);
  selection.add(base, tuned);
  selection.next();
  selection.add(base, tuned);
  return selection.threshold();
}

/** Differences are formed so many at a time: they stay in the processor's nearest cache. */
const PIECE = 4096;
const FLOAT = new Float32Array(1);
const WORD = new Uint32Array(FLOAT.buffer);

/**
 * Finds the k-th largest magnitude among any number of entries that are shown twice, piece by piece, exactly and in constant
 * memory: the bits of a magnitude order as whole numbers do, so a histogram of their upper 16 bits finds the bin, and a
 * second one, of the lower 15 bits in that bin, the value.
 */
export class MagnitudeSelection {
  private counts = new Float64Array(1 << 16);
  /** Which of the entries in the bin, from its largest on, counted from 1. */
  private rank: number;
  private bin: number | undefined;
  private readonly piece = new Float32Array(PIECE);
  private readonly words = new Uint32Array(this.piece.buffer);

  constructor(k: number) {
    this.rank = k;
  }

  /** Counts tuned - base. The first time all pieces, then `next`, then the same pieces again. */
  add(base: Float32Array, tuned: Float32Array): void {
    const { counts, bin, piece, words } = this;
    for (let start = 0; start < base.length; start += PIECE) {
      const size = Math.min(PIECE, base.length - start);
      for (let i = 0; i < size; i++) piece[i] = tuned[start + i] - base[start + i];
      if (bin === undefined) for (let i = 0; i < size; i++) counts[(words[i] & 0x7fffffff) >>> 15]++;
      else
        for (let i = 0; i < size; i++)
          if ((words[i] & 0x7fffffff) >>> 15 === bin) counts[words[i] & 0x7fff]++;
    }
  }

  next(): void {
    this.bin = this.find();
    this.counts = new Float64Array(1 << 15);
  }

  threshold(): number {
    WORD[0] = (this.bin! << 15) | this.find();
    return FLOAT[0];
  }

  /** The bin of the wanted entry; leaves its rank within it. */
  private find(): number {
    for (let i = this.counts.length - 1; i >= 0; i--) {
      if (this.rank <= this.counts[i]) return i;
      this.rank -= this.counts[i];
    }
    throw new RangeError("there are fewer entries than the one that is looked for");
  }
}

export interface Election {
  readonly elect: "mass" | "count" | "none";
  readonly weights: readonly number[];
  /** The sign of entries whose votes cancel. */
  readonly tie: number;
  /** Divide by the weights of those that agree (TIES), or leave the sum (DARE). */
  readonly normalize: boolean;
}

/**
 * base + scale * the merged task vector. An entry's sign is elected; the weighted entries that have it are added and
 * divided by their weights' sum (TIES' disjoint mean). Where an elected sign is 0 the negative entries are taken, as in
 * the reference code.
 */
export function elected(
  out: Float32Array,
  base: Float32Array,
  vectors: readonly Float64Array[],
  scale: number,
  { elect, weights, tie, normalize }: Election,
): void {
  const models = vectors.length;
  const values = new Float64Array(models);
  const votes = new Float64Array(models);
  const chosen = new Float64Array(models);
  const chosenWeights = new Float64Array(models);
  for (let i = 0; i < out.length; i++) {
    let voters = 0;
    for (let k = 0; k < models; k++) {
      values[k] = weights[k] * vectors[k][i];
      if (values[k] !== 0) voters++;
    }
    if (voters === 0) {
      out[i] = base[i];
      continue;
    }
    const sign = elect === "none" ? 0 : voteOf(values, elect, votes) || tie;
    let count = 0;
    let least = Number.POSITIVE_INFINITY;
    for (let k = 0; k < models; k++) {
      const value = values[k];
      if (value === 0 || (elect !== "none" && (sign > 0 ? value < 0 : value > 0))) continue;
      chosen[count] = normalize ? vectors[k][i] : value;
      chosenWeights[count++] = weights[k];
      least = Math.min(least, vectors[k][i]);
    }
    if (count === 0) {
      out[i] = base[i];
      continue;
    }
    if (normalize) {
      // The mean as its least entry and the mean of what the others have more: of equal entries it is that entry, exactly.
      for (let k = 0; k < count; k++) chosen[k] = chosenWeights[k] * (chosen[k] - least);
      out[i] = base[i] + scale * (least + ascendingSum(chosen, count) / ascendingSum(chosenWeights, count));
    } else out[i] = base[i] + scale * ascendingSum(chosen, count);
  }
}

/** -1, 0 or 1: the sign of the votes for an entry; `scratch` is as long as `values`. */
function voteOf(values: Float64Array, elect: "mass" | "count", scratch: Float64Array): number {
  if (elect === "count") {
    let sum = 0;
    for (let k = 0; k < values.length; k++) sum += Math.sign(values[k]);
    return Math.sign(sum);
  }
  scratch.set(values);
  return Math.sign(ascendingSum(scratch, scratch.length));
}

/** Adds the elected signs of a tensor's entries: what the reference code breaks ties with. */
export function signBalance(
  vectors: readonly Float64Array[],
  weights: readonly number[],
  elect: "mass" | "count",
): number {
  const values = new Float64Array(vectors.length);
  const votes = new Float64Array(vectors.length);
  let balance = 0;
  for (let i = 0; i < vectors[0].length; i++) {
    for (let k = 0; k < values.length; k++) values[k] = weights[k] * vectors[k][i];
    balance += voteOf(values, elect, votes);
  }
  return balance;
}

/** Above this cosine two tensors are as good as parallel, and the arc between them a line (mergekit's threshold). */
const PARALLEL = 0.9995;

/** Spherical interpolation of two tensors as vectors (Shoemake 1985), `t` of the angle between them. */
export function slerp(out: Float32Array, a: Float32Array, b: Float32Array, t: number): void {
  let [dot, aa, bb] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    dot += a[i] * b[i];
    aa += a[i] * a[i];
    bb += b[i] * b[i];
  }
  const lengths = Math.sqrt(aa) * Math.sqrt(bb);
  const cosine = lengths > 0 ? dot / lengths : 1;
  if (Math.abs(cosine) > PARALLEL) {
    combine(out, [a, b], [1 - t, t]);
    return;
  }
  const angle = Math.acos(cosine);
  combine(
    out,
    [a, b],
    [Math.sin(angle - angle * t) / Math.sin(angle), Math.sin(angle * t) / Math.sin(angle)],
  );
}
