import { expect, it } from "vitest";
import { toUnitLength } from "../../../src/methods/pretext/downsampling.ts";
import { Estimator, type Units } from "../../../src/methods/pretext/estimate.ts";
import type { UnitVectors } from "../../../src/methods/pretext/kernels.ts";
import { descend } from "../../../src/methods/pretext/optimise.ts";
import { solveFromStarts, type WeightsProblem } from "../../../src/methods/pretext/restarts.ts";
import { random } from "../../../src/random.ts";

const rng = random(1, "restarts");
const n = 400;
const values = () => Float64Array.from({ length: n }, () => rng.normal());
function vectors(dim: number): UnitVectors {
  const rows = Array.from({ length: n }, () =>
    toUnitLength(Float64Array.from({ length: dim }, () => 1 + 0.3 * rng.normal())),
  );
  return { data: Float32Array.from(rows.flatMap((row) => [...row])), dim };
}
const units: Units = {
  data: vectors(5),
  candidates: [
    { name: "a", values: values() },
    { name: "b", values: values() },
    { name: "bands", vectors: vectors(3) },
    { name: "tones", vectors: vectors(4) },
  ],
  classes: ["even", "odd"].map((name, c) => ({
    name,
    members: Int32Array.from({ length: n / 2 }, (_, i) => 2 * i + c),
  })),
};
const problem: WeightsProblem = {
  groups: [
    [0, 1],
    [2, 3],
  ],
  fixed: new Float64Array(4),
  penalty: 0.01,
  optimise: { projection: "softmax", restarts: 3, steps: 220, tolerance: 0, seed: 3 },
};

it.each([2 ** 30, 1e5])(
  "threads find what one finds, kernels kept in %d bytes",
  async (memory) => {
    const estimator = new Estimator(units, { memory });
    expect(estimator.streamed).toBe(memory < 2 ** 30);
    const objective = (weights: Float64Array) => {
      const { value, gradient } = estimator.estimate(weights);
      return {
        value: value + 0.01 * weights.reduce((sum, w) => sum + w * w, 0),
        gradient: gradient.map((g, h) => g + 0.02 * weights[h]),
      };
    };
    const told: number[] = [];
    const solutions = await solveFromStarts(estimator, problem, {
      threads: 2,
      onStep: (done, total) => {
        expect(total).toBe(660);
        told.push(done);
      },
    });
    expect(solutions).toEqual(
      [0, 1, 2].map((restart) => descend({ ...problem, objective }, problem.optimise, restart)),
    );
    // Told by the clock, not at every step as in this thread: it was other threads that worked.
    expect(told.length).toBeGreaterThan(0);
    expect(told.length).toBeLessThan(330);
    expect(told).toEqual([...told].sort((a, b) => a - b));
  },
  60_000,
);

it("small problems start no threads", async () => {
  const told: number[] = [];
  const optimise = { ...problem.optimise, steps: 10 };
  const solutions = await solveFromStarts(
    new Estimator(units),
    { ...problem, optimise },
    { onStep: (done) => told.push(done) },
  );
  expect(solutions).toHaveLength(3);
  expect(told).toEqual(Array.from({ length: 30 }, (_, i) => i + 1));
});

it("stops when it is told to", async () => {
  const long = { ...problem, optimise: { ...problem.optimise, steps: 1e6 } };
  const estimator = new Estimator(units);
  const stopping = new AbortController();
  const running = solveFromStarts(estimator, long, {
    threads: 2,
    signal: stopping.signal,
    onStep: (done) => done > 0 && stopping.abort(),
  });
  await expect(running).rejects.toThrow("stopped; the same command goes on");
  await expect(solveFromStarts(estimator, long, { signal: stopping.signal })).rejects.toThrow("stopped");
}, 60_000);
