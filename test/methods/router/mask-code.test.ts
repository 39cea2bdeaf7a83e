import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { packBits } from "../../../src/params/mask.ts";
import { decodeMask, encodeMask, magnitudeOverlap } from "../../../src/params/mask-code.ts";
import { argsortMagnitude, bitsOf, zerosOf } from "../../../src/params/select.ts";
import { random } from "../../../src/random.ts";

/** A feed-forward matrix of a base model. */
const SIZE = 768 * 3072;
const rng = random("mask code");
const weights = Float32Array.from({ length: SIZE }, () => 0.05 * rng.normal());
const zeros = zerosOf(0.1, SIZE);
const order = argsortMagnitude(bitsOf(weights));

/** A mask at 10 % of which `overlap` of the zeros are those of magnitude pruning, all else at random. */
function maskWith(overlap: number): Uint8Array {
  const off = new Uint8Array(SIZE);
  const choose = (from: Uint32Array, wanted: number) => {
    while (wanted > 0) {
      const i = from[rng.int(from.length)];
      if (off[i] === 0) wanted--;
      off[i] = 1;
    }
  };
  const shared = Math.round(overlap * zeros);
  if (overlap === 1) for (const i of order.subarray(0, zeros)) off[i] = 1;
  else choose(order.subarray(0, zeros), shared);
  choose(order.subarray(zeros), zeros - shared);
  return packBits((i) => off[i] === 0, SIZE);
}

/** Entropy in bits of a choice with probability p. */
const entropy = (p: number) => (p <= 0 || p >= 1 ? 0 : -p * Math.log2(p) - (1 - p) * Math.log2(1 - p));
const bitsPerWeight = (overlap: number) => {
  const mask = maskWith(overlap);
  const code = encodeMask(mask, weights, zeros);
  // Not toEqual, which takes seconds for so many bytes.
  expect(Buffer.compare(decodeMask(code, weights, zeros), mask)).toBe(0);
  expect(magnitudeOverlap(mask, weights, zeros)).toBeCloseTo(overlap, 3);
  return (8 * code.length) / SIZE;
};
/** Bytes of the 24 feed-forward matrices of a base model. */
const base = (bits: number) => (bits * 12 * 2 * 768 * 3072) / 8;

describe("the code of a mask", () => {
  it("gives back any mask over any weights", () => {
    const weight = fc.oneof(
      fc.constantFrom(0, -0, 1e-40, 1, -1),
      fc.float({ noNaN: true, noDefaultInfinity: true }),
    );
    fc.assert(
      fc.property(
        fc.array(fc.tuple(weight, fc.boolean()), { minLength: 1, maxLength: 200 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (pairs, share) => {
          const w = Float32Array.from(pairs, ([value]) => value);
          const mask = packBits((i) => pairs[i][1], pairs.length);
          const off = Math.floor(share * pairs.length);
          expect(decodeMask(encodeMask(mask, w, off), w, off)).toEqual(mask);
        },
      ),
    );
  });

  it("costs at 10 % what the bar allows, however the mask was drawn", () => {
    // A random mask: the entropy of 10 %, 3.32 MB at base size.
    expect(base(bitsPerWeight(0.1))).toBeLessThan(3.4e6);
    // Zeros that avoid those of magnitude pruning, which no learning does, cost no more.
    expect(base(bitsPerWeight(0))).toBeLessThan(3.4e6);
    // Errors that are spread evenly over all magnitudes are the worst case of an overlap of 80 %.
    const even = bitsPerWeight(0.8);
    expect(base(even)).toBeLessThan(1.5e6);
    expect(even).toBeLessThan(1.01 * (0.1 * entropy(0.2) + 0.9 * entropy(0.02 / 0.9)));
    expect(bitsPerWeight(1)).toBeLessThan(0.01);
  });

  it("is cheaper where the choice was close", () => {
    // Scores in the order of the weights' magnitudes, shaken: what learning does to order-preserving scores.
    const scores = weights.map((w) => Math.abs(w) + 0.002 * rng.normal());
    const threshold = scores.slice().sort()[zeros];
    const mask = packBits((i) => scores[i] >= threshold, SIZE);
    const overlap = magnitudeOverlap(mask, weights, zeros);
    const size = (8 * encodeMask(mask, weights, zeros).length) / SIZE;
    const even = 0.1 * entropy(1 - overlap) + 0.9 * entropy((0.1 * (1 - overlap)) / 0.9);
    expect(overlap).toBeLessThan(0.9);
    expect(size).toBeLessThan(0.8 * even);
  });

  it("notices damage", () => {
    const w = weights.subarray(0, 1000);
    const code = encodeMask(
      packBits((i) => i % 7 > 0, 1000),
      w,
      143,
    );
    expect(() => decodeMask(code.subarray(0, 100), w, 143)).toThrow(/cut off/);
    expect(() => decodeMask(code.subarray(0, -2), w, 143)).toThrow(/another length/);
    const flipped = code.slice();
    flipped[code.length - 9] ^= 64;
    expect(() => decodeMask(flipped, w, 143)).toThrow(/does not end/);
  });
});
