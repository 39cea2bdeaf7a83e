import { random } from "../random.ts";
import { argsortMagnitude, bitsOf, rankedMagnitude, TopScores } from "./select.ts";

/**
 * How mask scores start (Fu et al. 2022, section 3.3, and the released code):
 * - `random`: uniform in +-1/sqrt(fan_in), Kaiming's rule with a = sqrt 5;
 * - `order-preserving`: the same numbers dealt so that their magnitudes rank as the weights' do, each with its own sign: the first
 *   mask is that of magnitude pruning, and scores lie densely enough for gradients to change their order;
 * - `magnitude`: the weights themselves over `scale`;
 * - `magnitude-mask`: 1 for weights that magnitude pruning keeps and 0 for others (whose gradient is 0, so they stay off).
 */
export type MaskInit = "order-preserving" | "random" | "magnitude" | "magnitude-mask";

export interface ScoreStart {
  readonly init: MaskInit;
  readonly scale: number;
  readonly seed: number;
}

/** The starting scores of one matrix [out, in]: a function of (seed, name) and the weights. Not for `magnitude-mask`, which ranks arrays together. */
export function startScores(
  name: string,
  shape: readonly number[],
  weights: Float32Array,
  out: Float32Array,
  { init, scale, seed }: ScoreStart,
): void {
  if (init === "magnitude") for (let i = 0; i < out.length; i++) out[i] = weights[i] / scale;
  if (init === "magnitude" || init === "magnitude-mask") return;
  const bound = 1 / Math.sqrt(shape[shape.length - 1]);
  const rng = random(seed, "scores", name);
  for (let i = 0; i < out.length; i++) out[i] = bound * (2 * rng.next() - 1);
  if (init === "random") return;
  const drawn = out.slice();
  const byScore = argsortMagnitude(bitsOf(drawn));
  const byWeight = argsortMagnitude(bitsOf(weights));
  for (let i = 0; i < out.length; i++) out[byWeight[i]] = drawn[byScore[i]];
}

/** Scores 0 for the `zeros` weights of smallest magnitude over all arrays, 1 for the others. */
export function magnitudeMask(
  weights: readonly Float32Array[],
  outs: readonly Float32Array[],
  zeros: number,
): void {
  const ones = weights.map(({ length }) => new Float32Array(length).fill(1));
  const arrays = weights.map((w, i) => ({
    scores: bitsOf(w),
    weights: bitsOf(ones[i]),
    effective: bitsOf(outs[i]),
  }));
  new TopScores(arrays, zeros).apply();
}

/** The smallest magnitude that magnitude pruning keeps of arrays ranked together. */
export function keptMagnitude(weights: readonly Float32Array[], zeros: number): number {
  const total = weights.reduce((sum, { length }) => sum + length, 0);
  if (zeros >= total) return Number.POSITIVE_INFINITY;
  const { bits } = rankedMagnitude(weights.map(bitsOf), zeros);
  return new Float32Array(Int32Array.of(bits).buffer)[0];
}

/** Bits of a mask, eight weights a byte, the first in the lowest bit: 1 where `effective` is the weight and not an imposed 0. */
export function packBits(kept: (place: number) => boolean, length: number): Uint8Array {
  const bytes = new Uint8Array(Math.ceil(length / 8));
  for (let i = 0; i < length; i++) if (kept(i)) bytes[i >> 3] |= 1 << (i & 7);
  return bytes;
}

/** Writes weights where the bit is 1 and 0 elsewhere. */
export function applyBits(bits: Uint8Array, weights: Float32Array, effective: Float32Array): void {
  const [from, to] = [bitsOf(weights), bitsOf(effective)];
  const whole = from.length & ~7;
  for (let i = 0, b = 0; i < whole; i += 8, b++) {
    const byte = bits[b];
    to[i] = from[i] & -(byte & 1);
    to[i + 1] = from[i + 1] & -((byte >> 1) & 1);
    to[i + 2] = from[i + 2] & -((byte >> 2) & 1);
    to[i + 3] = from[i + 3] & -((byte >> 3) & 1);
    to[i + 4] = from[i + 4] & -((byte >> 4) & 1);
    to[i + 5] = from[i + 5] & -((byte >> 5) & 1);
    to[i + 6] = from[i + 6] & -((byte >> 6) & 1);
    to[i + 7] = from[i + 7] & -(byte >> 7);
  }
  for (let i = whole; i < from.length; i++) to[i] = from[i] & -((bits[i >> 3] >> (i & 7)) & 1);
}
