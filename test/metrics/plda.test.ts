import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { cholesky, choleskyInverse, choleskyLogDet, choleskySolve } from "../../src/metrics/cholesky.ts";
import { Plda } from "../../src/metrics/plda.ts";
import { equalErrorRate } from "../../src/metrics/verification.ts";
import { random } from "../../src/random.ts";

// SpeechBrain's PLDA and plain Gaussian densities: scripts/reference/plda.py.
const known = JSON.parse(readFileSync(join(import.meta.dirname, "../fixtures/metrics/plda.json"), "utf8"));

it("Cholesky: solutions, inverse and determinant of a known matrix", () => {
  const a = Float64Array.of(4, 2, 0.6, 2, 5, 1, 0.6, 1, 3);
  const l = cholesky(a, 3);
  const x = choleskySolve(l, 3, Float64Array.of(1, 2, 3));
  for (let i = 0; i < 3; i++)
    expect(a[3 * i] * x[0] + a[3 * i + 1] * x[1] + a[3 * i + 2] * x[2]).toBeCloseTo(i + 1, 12);
  const inverse = choleskyInverse(l, 3);
  expect(a[0] * inverse[0] + a[1] * inverse[3] + a[2] * inverse[6]).toBeCloseTo(1, 12);
  // 4 (15 - 1) - 2 (6 - 0.6) + 0.6 (2 - 3)
  expect(Math.exp(choleskyLogDet(l, 3))).toBeCloseTo(4 * 14 - 2 * 5.4 + 0.6 * (2 - 3), 10);
  expect(() => cholesky(Float64Array.of(1, 2, 2, 1), 2)).toThrow(/not positive definite/);
});

it("converges to SpeechBrain's covariances, and scores are ratios of Gaussian densities", () => {
  const plda = Plda.train(known.x, known.speakers, { rank: 2, rounds: 400 });
  const near = (ours: Float64Array, theirs: number[][]) => {
    const size = Math.hypot(...theirs.flat());
    for (const [i, value] of theirs.flat().entries())
      expect(Math.abs(ours[i] - value)).toBeLessThan(1e-4 * size);
  };
  near(plda.between, known.between);
  near(plda.residual, known.residual);
  for (const [p, [i, j]] of (known.pairs as [number, number][]).entries())
    expect(plda.score(known.x[i], known.x[j])).toBeCloseTo(known.scores[p], 2);
});

it("tells new speakers apart where a cosine does not", () => {
  const rng = random(2, "plda test");
  const dim = 6;
  // Loud directions that say nothing of the speaker.
  const utterance = (h: number[]) =>
    Float64Array.from({ length: dim }, (_, d) => (d < 2 ? h[d] : 0) + (d < 2 ? 0.4 : 6) * rng.normal());
  const people = (count: number) => Array.from({ length: count }, () => [2 * rng.normal(), 2 * rng.normal()]);
  const rows = (list: number[][]) => list.flatMap((h, s) => [0, 1, 2, 3].map(() => ({ s, x: utterance(h) })));
  const train = rows(people(60));
  const plda = Plda.train(
    train.map(({ x }) => x),
    train.map(({ s }) => s),
    { rank: 2, rounds: 30 },
  );
  const test = rows(people(15));
  const trials = test.flatMap((a, i) => test.slice(0, i).map((b) => ({ a, b, same: a.s === b.s })));
  const cosine = (a: Float64Array, b: Float64Array) =>
    a.reduce((sum, v, d) => sum + v * b[d], 0) / Math.hypot(...a) / Math.hypot(...b);
  const rate = (score: (a: Float64Array, b: Float64Array) => number) =>
    equalErrorRate(
      trials.map(({ a, b }) => score(a.x, b.x)),
      trials.map(({ same }) => same),
    ).rate;
  expect(rate((a, b) => plda.score(a, b))).toBeLessThan(0.15);
  expect(rate(cosine)).toBeGreaterThan(0.35);
});

it("refuses a single speaker", () => {
  expect(() => Plda.train([[1], [2]], ["a", "a"])).toThrow(/1 speaker: PLDA needs two or more/);
});
