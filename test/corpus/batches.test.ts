import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { lengthBuckets, paddingShare } from "../../src/corpus/batches.ts";
import { random } from "../../src/random.ts";

const durations = fc.array(fc.integer({ min: 1000, max: 160000 }), { maxLength: 200 });
const options = fc.record({
  batchSize: fc.integer({ min: 1, max: 16 }),
  maxSamples: fc.integer({ min: 160000, max: 2000000 }),
  seed: fc.nat(1000),
  epoch: fc.nat(50),
  shuffle: fc.boolean(),
});

describe("length buckets", () => {
  test("every utterance once, within batch size and padded total, the same for the same seed and epoch", () => {
    fc.assert(
      fc.property(durations, options, (list, opt) => {
        const batches = lengthBuckets(list, opt);
        expect(batches.flat().sort((a, b) => a - b)).toEqual(list.map((_, i) => i));
        for (const batch of batches) {
          expect(batch.length).toBeLessThanOrEqual(opt.batchSize);
          const longest = Math.max(...batch.map((i) => list[i]));
          expect(batch.length * longest).toBeLessThanOrEqual(opt.maxSamples);
        }
        expect(lengthBuckets(list, opt)).toEqual(batches);
      }),
    );
  });

  test("little padding for durations like those of read speech; far less than batches by chance", () => {
    fc.assert(
      fc.property(fc.nat(10000), fc.constantFrom(4, 8, 16), (seed, batchSize) => {
        const chance = random(seed, "durations");
        const list = Array.from({ length: 600 }, () => Math.round(16000 * (1 + 14 * chance.next() ** 1.5)));
        const share = paddingShare(lengthBuckets(list, { batchSize, seed }), list);
        const byChance = paddingShare(lengthBuckets(list, { batchSize, seed, buckets: 1 }), list);
        expect(share).toBeLessThan(0.2);
        expect(share).toBeLessThan(byChance / 2);
        const sorted = paddingShare(lengthBuckets(list, { batchSize, shuffle: false }), list);
        expect(sorted).toBeLessThanOrEqual(share);
      }),
      { numRuns: 30 },
    );
  });

  test("epochs differ, in who meets whom and in the order of batches", () => {
    const list = Array.from({ length: 100 }, (_, i) => 1000 + 37 * i);
    const [a, b] = [0, 1].map((epoch) => lengthBuckets(list, { batchSize: 4, seed: 1, epoch }));
    const set = (batches: number[][]) => new Set(batches.map((batch) => [...batch].sort().join()));
    expect(a).not.toEqual(b);
    expect([...set(a)].filter((x) => set(b).has(x)).length).toBeLessThan(5);
    const places = Array.from({ length: 20 }, (_, epoch) =>
      lengthBuckets(list, { batchSize: 4, seed: 1, epoch }).findIndex((batch) => batch.includes(99)),
    );
    expect(new Set(places).size).toBeGreaterThan(8);
  });

  test("buckets that no batch size divides leave one short batch in all, not one each", () => {
    const batches = lengthBuckets(new Array(103).fill(5), { batchSize: 4, buckets: 7 });
    expect(batches.filter((batch) => batch.length < 4).length).toBe(1);
  });

  test("an utterance too long for any batch is refused", () => {
    expect(() => lengthBuckets([10, 500], { batchSize: 2, maxSamples: 400 })).toThrow(
      /utterance 1 has 500 samples, more than maxSamples \(400\)/,
    );
    expect(() => lengthBuckets([10], { batchSize: 0 })).toThrow(/batchSize must be 1 or more/);
    expect(lengthBuckets([], { batchSize: 2 })).toEqual([]);
  });
});
