/**
 * Which entries of score arrays rank lowest by magnitude, exactly and without sorting. Magnitudes are compared as the bits of
 * their floats without the sign, whose order as integers is that of the numbers. Among equal magnitudes the entry that comes
 * first (arrays in their order, then by index) counts as the smaller, so the choice is unique.
 */

const MAGNITUDE = 0x7fffffff;
/** Histograms over 11, 10 and 10 bits: each fits the first-level cache. */
const SHIFTS = [20, 10, 0] as const;

/** The same memory as integers. */
export const bitsOf = (x: Float32Array): Int32Array => new Int32Array(x.buffer, x.byteOffset, x.length);

/**
 * How many entries a sparsity switches off: floor((1 - keep) n) with keep = 1 - sparsity, in double precision, as the
 * released code of S3-Router rounds (so 10 % of 100 entries are 9).
 */
export const zerosOf = (sparsity: number, entries: number): number =>
  Math.floor((1 - (1 - sparsity)) * entries);

/** The `rank`-th smallest magnitude (0 is the smallest) and how many are below it. */
export interface Ranked {
  /** Bits of the magnitude. */
  readonly bits: number;
  readonly below: number;
}

/** Radix selection: three passes over the arrays, each of which fixes some more bits of the answer. */
export function rankedMagnitude(arrays: readonly Int32Array[], rank: number): Ranked {
  let [prefix, below] = [0, 0];
  for (const [level, shift] of SHIFTS.entries()) {
    const buckets = new Int32Array(level === 0 ? 2048 : 1024);
    const mask = buckets.length - 1;
    const high = level === 0 ? 31 : SHIFTS[level - 1];
    for (const bits of arrays) {
      if (level === 0) for (let i = 0; i < bits.length; i++) buckets[(bits[i] & MAGNITUDE) >> shift]++;
      else
        for (let i = 0; i < bits.length; i++) {
          const b = bits[i] & MAGNITUDE;
          if (b >> high === prefix) buckets[(b >> shift) & mask]++;
        }
    }
    let bucket = 0;
    while (below + buckets[bucket] <= rank) below += buckets[bucket++];
    prefix = level === 0 ? bucket : (prefix << 10) | bucket;
  }
  return { bits: prefix, below };
}

/** One array of scores with what it switches on and off, all of one length, as integers over the floats' bits. */
export interface MaskedArray {
  readonly scores: Int32Array;
  /** What is kept where the scores say so. */
  readonly weights: Int32Array;
  /** The result: the weight where it is kept, 0 elsewhere. */
  readonly effective: Int32Array;
}

/** Candidates that a pass may leave open; a window that catches more is useless. */
const OPEN = 1 << 16;

/**
 * Keeps the weights whose scores rank highest, for arrays ranked together. Scores move little between two steps, so the last
 * threshold says of almost every entry on which side it is: one pass settles these and lists the few near the threshold, which
 * are then ranked. Where the threshold has left its window it is found anew.
 */
export class TopScores {
  readonly zeros: number;
  private readonly arrays: readonly MaskedArray[];
  private readonly places = new Int32Array(OPEN);
  private readonly owners: Uint16Array | undefined;
  private threshold = -1;
  /** Half width of the window, in units of the float's last place. */
  private reach = 0;
  /** Whether the last window caught more than the list holds. */
  private crowded = false;
  /** How often the threshold had to be found by whole passes. */
  searches = 0;

  constructor(arrays: readonly MaskedArray[], zeros: number) {
    this.arrays = arrays;
    this.zeros = zeros;
    if (arrays.length > 1) this.owners = new Uint16Array(OPEN);
  }

  /** Writes every array's effective weights. */
  apply(): void {
    if (this.zeros === 0) {
      for (const { weights, effective } of this.arrays) effective.set(weights);
      return;
    }
    if (this.threshold >= 0 && this.within(this.threshold - this.reach, this.threshold + this.reach + 1))
      return;
    this.searches++;
    const { bits } = rankedMagnitude(
      this.arrays.map(({ scores }) => scores),
      this.zeros - 1,
    );
    // Where more scores than fit the list equal the threshold (a binary start), they are told apart by place.
    if (!this.within(bits, bits + 1)) this.tied(bits);
    this.threshold = bits;
    this.reach = this.crowded ? this.reach >> 2 : 1 << 13;
    this.crowded = false;
  }

  /** Settles everything if the last zero's magnitude lies in [low, high). */
  private within(low: number, high: number): boolean {
    const { places, owners, arrays } = this;
    let [open, below] = [0, 0];
    for (let a = 0; a < arrays.length; a++) {
      const { scores, weights, effective } = arrays[a];
      const first = open;
      const settled = settle(scores, weights, effective, low, high, places, open);
      if (settled === undefined) {
        this.crowded = true;
        return false;
      }
      open = settled.open;
      below += settled.below;
      owners?.fill(a, first, open);
    }
    const wanted = this.zeros - below;
    if (wanted < 1 || wanted > open) return false;
    const magnitude = (i: number) => arrays[owners?.[i] ?? 0].scores[places[i]] & MAGNITUDE;
    // Array sort is stable, so equal magnitudes stay in the order of their places.
    const order = Array.from({ length: open }, (_, i) => i).sort((a, b) => magnitude(a) - magnitude(b));
    for (const [rank, i] of order.entries()) {
      const { weights, effective } = arrays[owners?.[i] ?? 0];
      effective[places[i]] = rank < wanted ? 0 : weights[places[i]];
    }
    const threshold = magnitude(order[wanted - 1]);
    if (this.threshold >= 0)
      this.reach = Math.min(1 << 20, Math.max(1 << 11, 4 * Math.abs(threshold - this.threshold)));
    this.threshold = threshold;
    return true;
  }

  private tied(bits: number): void {
    let left = this.zeros;
    for (const { scores } of this.arrays)
      for (let i = 0; i < scores.length; i++) if ((scores[i] & MAGNITUDE) < bits) left--;
    for (const { scores, weights, effective } of this.arrays)
      for (let i = 0; i < scores.length; i++) {
        const b = scores[i] & MAGNITUDE;
        effective[i] = b < bits || (b === bits && left-- > 0) ? 0 : weights[i];
      }
  }
}

/** One pass: 0 below `low`, the weight from `high` on; what lies between is listed in `places` from `open` on. */
function settle(
  scores: Int32Array,
  weights: Int32Array,
  effective: Int32Array,
  low: number,
  high: number,
  places: Int32Array,
  open: number,
): { open: number; below: number } | undefined {
  const { length } = scores;
  let below = 0;
  // Four at a time: almost never is any of them near the threshold.
  const whole = length & ~3;
  for (let i = 0; i < whole; i += 4) {
    const a = scores[i] & MAGNITUDE;
    const b = scores[i + 1] & MAGNITUDE;
    const c = scores[i + 2] & MAGNITUDE;
    const d = scores[i + 3] & MAGNITUDE;
    // All ones where the score is below the window.
    const [offA, offB, offC, offD] = [(a - low) >> 31, (b - low) >> 31, (c - low) >> 31, (d - low) >> 31];
    below = (below - offA - offB - offC - offD) | 0;
    effective[i] = weights[i] & ~offA;
    effective[i + 1] = weights[i + 1] & ~offB;
    effective[i + 2] = weights[i + 2] & ~offC;
    effective[i + 3] = weights[i + 3] & ~offD;
    const near = ((a - high) & ~offA) | ((b - high) & ~offB) | ((c - high) & ~offC) | ((d - high) & ~offD);
    if (near >= 0) continue;
    for (let k = i; k < i + 4; k++) {
      const magnitude = scores[k] & MAGNITUDE;
      if (magnitude < low || magnitude >= high) continue;
      if (open === OPEN) return undefined;
      places[open++] = k;
    }
  }
  for (let i = whole; i < length; i++) {
    const magnitude = scores[i] & MAGNITUDE;
    effective[i] = magnitude < low ? 0 : weights[i];
    if (magnitude < low) below++;
    else if (magnitude < high) {
      if (open === OPEN) return undefined;
      places[open++] = i;
    }
  }
  return { open, below };
}

/** Places of `bits` in ascending order of magnitude, equal ones in the order of their places: two counting sorts over 16 bits. */
export function argsortMagnitude(bits: Int32Array): Uint32Array {
  let from = new Uint32Array(bits.length);
  for (let i = 0; i < from.length; i++) from[i] = i;
  let to = new Uint32Array(bits.length);
  for (const shift of [0, 16]) {
    const next = new Uint32Array(65_537);
    for (let i = 0; i < bits.length; i++) next[(((bits[i] & MAGNITUDE) >> shift) & 0xffff) + 1]++;
    for (let k = 1; k < next.length; k++) next[k] += next[k - 1];
    for (const i of from) to[next[((bits[i] & MAGNITUDE) >> shift) & 0xffff]++] = i;
    [from, to] = [to, from];
  }
  return from;
}

/** Turns gradients of the effective weights into those of the scores, in place: sign(s) W dL/dW_eff, nothing where s is 0. */
export function scoreGradients(scores: Float32Array, weights: Float32Array, gradients: Float32Array): void {
  const [signs, out] = [bitsOf(scores), bitsOf(gradients)];
  for (let i = 0; i < gradients.length; i++) {
    const s = signs[i];
    gradients[i] *= weights[i];
    if ((s & MAGNITUDE) === 0) out[i] = 0;
    else out[i] ^= s & ~MAGNITUDE;
  }
}
