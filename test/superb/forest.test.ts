import { describe, expect, it } from "vitest";
import { RandomForest } from "../../src/superb/random-forest.ts";
import { fixture } from "../trajectories/reference.ts";

// scripts/reference/random-forest.py: the same rows by the same formula, in scikit-learn.
const known = fixture<{ labels: number[]; trees: Record<string, (number[] | null)[]>; accuracies: number[] }>(
  "forest.json",
);
const fraction = (x: number) => x - Math.floor(x);
const rows = Array.from({ length: 240 }, (_, i) =>
  Float32Array.from({ length: 9 }, (_, d) =>
    fraction(Math.sin(12.9898 * (i + 1) + 78.233 * (d + 1)) * 43758.5453),
  ),
);
const [train, test] = [rows.slice(0, 160), rows.slice(160)];
const labels = known.labels.slice(0, 160);

describe("a random forest", () => {
  it.each(Object.keys(known.trees))(
    "of one tree on everything is scikit-learn's decision tree, depth %s",
    (depth) => {
      const tree = new RandomForest(train, labels, 3, {
        ...{ trees: 1, features: "all", bootstrap: false, seed: 5 },
        depth: depth === "None" ? undefined : Number(depth),
      });
      // Null where equally good splits make scikit-learn's own answer hang on its seed.
      const sure = test.flatMap((row, i) =>
        known.trees[depth][i] === null ? [] : [{ row, wanted: known.trees[depth][i] }],
      );
      expect(sure.length).toBeGreaterThan(20);
      for (const { row, wanted } of sure)
        for (const [c, p] of wanted!.entries()) expect(tree.probabilities(row)[c]).toBeCloseTo(p, 9);
    },
  );

  it("is as good as scikit-learn's over many seeds, and the same for the same seed", () => {
    const accuracy = (seed: number) => {
      const forest = new RandomForest(train, labels, 3, { depth: 8, seed });
      return test.filter((row, i) => forest.predict(row) === known.labels[160 + i]).length / test.length;
    };
    const mean = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length;
    const ours = Array.from({ length: 10 }, (_, seed) => accuracy(seed));
    const theirs = mean(known.accuracies);
    const sd = Math.sqrt(mean(known.accuracies.map((a) => (a - theirs) ** 2)));
    // Ten seeds against twenty: four standard errors of the difference of the means.
    expect(Math.abs(mean(ours) - theirs)).toBeLessThan(4 * sd * Math.sqrt(1 / 10 + 1 / 20));
    expect(accuracy(3)).toBe(ours[3]);
    expect(new Set(ours).size).toBeGreaterThan(1);
  });

  it("says a class's share, also where features say nothing", () => {
    const blind = Array.from({ length: 4 }, () => Float32Array.of(1, 2));
    const forest = new RandomForest(blind, [0, 0, 0, 1], 2, { bootstrap: false });
    expect([...forest.probabilities(blind[0])]).toEqual([expect.closeTo(0.75, 12), expect.closeTo(0.25, 12)]);
    expect(() => new RandomForest([], [], 2)).toThrow(/needs rows/);
  });
});
