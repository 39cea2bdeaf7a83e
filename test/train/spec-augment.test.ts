import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Random, random } from "../../src/random.ts";
import { spanMask } from "../../src/train/spec-augment.ts";

const rows = (mask: Uint8Array, positions: number) =>
  Array.from({ length: mask.length / positions }, (_, i) =>
    mask.subarray(i * positions, (i + 1) * positions),
  );
const sum = (values: ArrayLike<number>) => Array.from(values).reduce((a, b) => a + b, 0);
/** A stream whose first number, the batch's chance rounding, is given. */
function rounding(first: number): Random {
  const chance = random(1, "rest");
  const given = [first];
  return { ...chance, next: () => given.pop() ?? chance.next() };
}

describe("SpecAugment", () => {
  it("rounds the number of spans as transformers does", () => {
    // Spans of length 1 do not overlap, so their number is what is hidden: int(prob * size + rounding), at least minMasks.
    const count = (size: number, prob: number, minMasks: number, first: number) =>
      sum(spanMask([size], 100, { prob, length: 1, minMasks }, rounding(first)));
    expect(count(30, 0.05, 0, 0.4)).toBe(1);
    expect(count(30, 0.05, 0, 0.6)).toBe(2);
    expect(count(30, 0.05, 3, 0.6)).toBe(3);
    expect(count(2, 0.05, 3, 0.6)).toBe(2);
    expect(count(30, 1, 0, 0.9)).toBe(30);
    // Three spans of 40 do not fit into 100 positions: two are drawn. A row shorter than a span hides nothing.
    const long = { prob: 0, length: 40, minMasks: 3 };
    expect(sum(spanMask([100], 100, long, rounding(0)))).toBeLessThanOrEqual(80);
    expect(sum(spanMask([39], 100, long, rounding(0)))).toBe(0);
  });

  it("hides spans of the right length within the valid positions", () => {
    const options = fc.record({
      prob: fc.double({ min: 0, max: 1, noNaN: true }),
      length: fc.integer({ min: 1, max: 12 }),
      minMasks: fc.integer({ min: 1, max: 3 }),
    });
    const sizes = fc.array(fc.nat(60), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(options, sizes, fc.nat(), (mask, valid, step) => {
        for (const [i, row] of rows(spanMask(valid, 60, mask, random(1, step)), 60).entries()) {
          expect(sum(row.subarray(valid[i]))).toBe(0);
          for (const run of row.join("").matchAll(/1+/g))
            expect(run[0].length).toBeGreaterThanOrEqual(mask.length);
          expect(sum(row) > 0).toBe(valid[i] >= mask.length);
        }
      }),
    );
  });

  it("covers the share it should on average", () => {
    const mask = { prob: 0.065, length: 10, minMasks: 0 };
    const times = 4000;
    const counts = new Float64Array(200);
    for (let step = 0; step < times; step++)
      for (const [i, hidden] of spanMask([200], 200, mask, random(3, step)).entries()) counts[i] += hidden;
    // 1.3 spans on average: one, or in 3 of 10 cases two. A middle position lies in 10 of the 191 possible spans.
    const middle = sum(counts.subarray(20, 180)) / 160 / times;
    const expected = 0.7 * (10 / 191) + 0.3 * (1 - (1 - 10 / 191) * (1 - 10 / 190));
    expect(Math.abs(middle - expected)).toBeLessThan(0.05 * expected);
    // The first position lies in one of them only.
    expect(counts[0] / times).toBeLessThan(0.02);
  });

  it("is a function of its stream", () => {
    const mask = { prob: 0.5, length: 3, minMasks: 1 };
    const draw = (step: number) => spanMask([40, 30], 50, mask, random(1, step, "time"));
    expect(draw(7)).toEqual(draw(7));
    expect(draw(8)).not.toEqual(draw(7));
  });
});
