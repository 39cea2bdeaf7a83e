import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { mrmr, mutualInformation, recursiveElimination } from "../../../src/methods/pretext/baselines.ts";
import { Downsampler, downsamplingWeights, toUnitLength } from "../../../src/methods/pretext/downsampling.ts";
import { type EstimateOptions, Estimator, type Units } from "../../../src/methods/pretext/estimate.ts";
import { type Centring, hsic, type Normaliser } from "../../../src/methods/pretext/hsic.ts";
import { groupKernel, type PairKernel, radialKernel } from "../../../src/methods/pretext/kernels.ts";
import {
  compared,
  descend,
  type OptimiseOptions,
  type Problem,
  project,
  projectGradient,
} from "../../../src/methods/pretext/optimise.ts";
import { digamma } from "../../../src/metrics/special.ts";
import { sparsemaxOf } from "../../../src/ops/index.ts";
import { random } from "../../../src/random.ts";

// Values of scikit-learn and PyTorch: scripts/reference/pretext-selection.py.
const known = JSON.parse(readFileSync(join(import.meta.dirname, "selection.json"), "utf8"));
const close = (actual: ArrayLike<number>, expected: ArrayLike<number>, digits: number) => {
  expect(actual.length).toBe(expected.length);
  for (let i = 0; i < expected.length; i++) expect(actual[i]).toBeCloseTo(expected[i], digits);
};

describe("gaussian downsampling", () => {
  it("has the weights of the authors' code", () => {
    const w = downsamplingWeights(16, 10);
    close(w.subarray(0, 5), [0.512693, 0.353094, 0.115171, 0.017719, 0.001279], 6);
    close(
      w.subarray(4 * 16 + 4, 4 * 16 + 11),
      [0.058405, 0.144364, 0.234965, 0.251895, 0.17788, 0.082723, 0.025323],
      6,
    );
  });

  it("maps ramps as there", () => {
    const ramp = { frames: 16, dim: 1, data: Float32Array.from({ length: 16 }, (_, t) => t) };
    close(
      new Downsampler(10).apply(ramp, 0, 16),
      [0.641928, 1.776878, 3.34146, 5.000325, 6.666676, 8.333324, 9.999675, 11.65854, 13.223122, 14.358072],
      5,
    );
    const three = { frames: 5, dim: 1, data: Float32Array.of(9, 1, 2, 4, 9) };
    close(new Downsampler(4).apply(three, 1, 4), [1.008709, 1.711829, 2.587119, 3.982582], 5);
  });

  it("keeps constants, whatever the lengths", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 60 }), fc.integer({ min: 2, max: 31 }), (frames, n) => {
        const data = new Float32Array(frames * 2).fill(1.5);
        close(
          new Downsampler(n).apply({ data, frames, dim: 2 }, 0, frames),
          new Float64Array(2 * n).fill(1.5),
          9,
        );
      }),
    );
  });
});

/** The kernel exp(-(x_i - x_j)^2 / 2) of the toy of facts. */
function radialData(x: Float64Array): PairKernel {
  const of = (i: number, j: number) => Math.exp(-((x[i] - x[j]) ** 2) / 2);
  return {
    size: x.length,
    rowSums: Float64Array.from(x, (_, i) => x.reduce((sum, _, j) => sum + of(i, j), 0)),
    row: (i, out) => {
      for (let j = 0; j < i; j++) out[j] = of(i, j);
    },
  };
}

describe("HSIC", () => {
  const x = Float64Array.of(0, 1, 2, 4);
  const z = Float64Array.of(0, 0.1, 0.3, 0.9);
  const value = (centring: Centring, divisor: "n^2" | "(n-1)^2", data = radialData(x)) => {
    const group = groupKernel([radialKernel(z, Int32Array.of(0, 1, 2, 3), 0.1)], 4);
    return hsic(data, group, Float64Array.of(1), { centring, divisor, normalise: "none" }).value;
  };

  it("has the published toy values, centred as the paper and as the released code do", () => {
    expect(value("paper", "n^2")).toBeCloseTo(0.1305293225872521, 12);
    expect(value("paper", "(n-1)^2")).toBeCloseTo(0.23205212904400374, 12);
    expect(value("reference", "n^2")).toBeCloseTo(0.27413427017863423, 12);
    expect(value("reference", "(n-1)^2")).toBeCloseTo(0.4873498136509053, 12);
  });

  it("does not see a constant added to the kernel with correct centring, and does with the other", () => {
    const shifted: PairKernel = {
      size: 4,
      // The diagonal stays 1, so what is added to the rest is taken from it: compare with full matrices.
      rowSums: radialData(x).rowSums,
      row: radialData(x).row,
    };
    expect(value("paper", "n^2", shifted)).toBe(value("paper", "n^2"));
    const full = (centring: Centring, c: number) => {
      const a = centring === "paper" ? 1 / 4 : 1 / 16;
      const at = (i: number, j: number) => Math.exp(-((x[i] - x[j]) ** 2) / 2) + c;
      const l = (i: number, j: number) => Math.exp(-((z[i] - z[j]) ** 2) / 0.1);
      const h = (i: number, j: number) => (i === j ? 1 : 0) - a;
      let sum = 0;
      for (let i = 0; i < 4; i++)
        for (let j = 0; j < 4; j++)
          for (let p = 0; p < 4; p++)
            for (let q = 0; q < 4; q++) sum += at(i, j) * h(j, p) * l(p, q) * h(q, i);
      return sum / 16;
    };
    expect(full("paper", 0)).toBeCloseTo(value("paper", "n^2"), 12);
    expect(full("paper", 5)).toBeCloseTo(full("paper", 0), 10);
    expect(full("reference", 0)).toBeCloseTo(value("reference", "n^2"), 12);
    expect(Math.abs(full("reference", 5) - full("reference", 0))).toBeGreaterThan(0.1);
  });
});

const n = known.labels.length as number;
const columns = (known.x[0] as number[]).map((_, f) =>
  Float64Array.from(known.x as number[][], (row) => row[f]),
);

function knownUnits(): Units {
  const dim = known.data[0].length as number;
  const data = new Float32Array(n * dim);
  for (const [i, row] of (known.data as number[][]).entries())
    data.set(toUnitLength(Float64Array.from(row)), i * dim);
  const classes = Array.from({ length: known.classes as number }, (_, c) => ({
    name: String(c),
    members: Int32Array.from((known.labels as number[]).flatMap((label, i) => (label === c ? [i] : []))),
  }));
  return {
    data: { data, dim },
    candidates: columns.map((values, f) => ({ name: `z${f}`, values })),
    classes,
  };
}

describe("the conditional estimate", () => {
  const weights = Float64Array.from(known.weights as number[]);
  const options = ({
    centring,
    normalise,
  }: {
    centring: Centring;
    normalise: Normaliser;
  }): EstimateOptions => ({
    centring,
    normalise,
    zScore: false,
    bandwidth: known.variance,
  });

  for (const reference of known.estimates)
    it(`agrees with full matrices and automatic differentiation: ${reference.centring}, normalised by ${reference.normalise}`, () => {
      // Without room for kernels they are computed anew in each pass; nothing else may change.
      for (const memory of [2 ** 30, 0]) {
        const estimator = new Estimator(knownUnits(), { ...options(reference), memory });
        expect(estimator.streamed).toBe(memory === 0);
        const { value, gradient } = estimator.estimate(weights);
        // The data kernel's vectors are float32.
        expect(Math.abs(value / reference.value - 1)).toBeLessThan(1e-5);
        const size = Math.hypot(...reference.gradient);
        for (const [h, g] of reference.gradient.entries())
          expect(Math.abs(gradient[h] - g)).toBeLessThan(2e-5 * size);
      }
    });

  it("is the same for scaled candidates where they are standardised or the bandwidth is their own", () => {
    const units = knownUnits();
    const scaled = {
      ...units,
      candidates: units.candidates.map(({ name, values }, f) => ({
        name,
        values: values!.map((v) => 7 + 10 ** f * v),
      })),
    };
    for (const own of [{}, { zScore: false }, { bandwidth: 0.05 }])
      expect(new Estimator(scaled, own).estimate(weights).value).toBeCloseTo(
        new Estimator(units, own).estimate(weights).value,
        9,
      );
    const raw = { zScore: false, bandwidth: 0.05 };
    expect(new Estimator(scaled, raw).estimate(weights).value).not.toBeCloseTo(
      new Estimator(units, raw).estimate(weights).value,
      3,
    );
  });

  it("weighs classes by size or not, and lets small classes count as nothing", () => {
    const units = knownUnits();
    const [a, b, c] = units.classes;
    const uneven = {
      ...units,
      classes: [{ ...a, members: a.members.subarray(0, 10) }, b, { ...c, members: c.members.subarray(0, 3) }],
    };
    const estimator = new Estimator(uneven, {});
    expect(estimator.classNames).toEqual(["0", "1"]);
    expect(estimator.aggregate([1, 2])).toBeCloseTo((10 + 2 * 30) / 43, 12);
    expect(estimator.aggregate([1, 2], [1, 1])).toBeCloseTo(2, 12);
    expect(new Estimator(uneven, { aggregate: "mean" }).aggregate([1, 2])).toBeCloseTo(1, 12);
  });

  it("refuses a candidate that never varies, by name", () => {
    const units = knownUnits();
    const flat = { ...units, candidates: [{ name: "silence", values: new Float64Array(n) }] };
    expect(() => new Estimator(flat)).toThrow(/^silence: .*leave it out/);
  });
});

describe("weights", () => {
  it("sparsemax has the values published with the paper's code", () => {
    const rows: [number[], number[]][] = [
      [
        [-1.2635, 0.615, 0.2763, -1.4308, 1.1706, 0.8104, 1.0316],
        [0, 0, 0, 0, 0.4997, 0.1395, 0.3607],
      ],
      [
        [-1.9121, -0.1553, -0.9192, -0.3545, -0.7984, 0.5011, -1.2812],
        [0, 0.1718, 0, 0, 0, 0.8282, 0],
      ],
      [
        [0.1, 1.1, 0.2],
        [0, 0.95, 0.05],
      ],
      [
        [0.5, 0.4, 0.3, -1],
        [0.43333, 0.33333, 0.23333, 0],
      ],
      [new Array(7).fill(1), new Array(7).fill(1 / 7)],
    ];
    // Their logits are printed to four decimals, so the values are good to a few ten-thousandths.
    for (const [x, y] of rows) close(sparsemaxOf(x), y, 3);
    close(
      project(Float64Array.from(rows[0][0]), "softmax"),
      [0.0236, 0.1545, 0.1101, 0.02, 0.2694, 0.1879, 0.2344],
      3,
    );
  });

  it("projections lie on the simplex, and their gradients are those of finite differences", () => {
    const numbers = fc.array(fc.double({ min: -2, max: 2, noNaN: true }), { minLength: 2, maxLength: 8 });
    fc.assert(
      fc.property(
        numbers,
        fc.constantFrom("softmax" as const, "sparsemax" as const),
        (values, projection) => {
          const x = Float64Array.from(values);
          const weights = project(x, projection);
          expect(weights.every((w) => w >= 0)).toBe(true);
          expect(weights.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 12);
          const slope = Float64Array.from(values, (_, i) => Math.sin(i + 1));
          const analytic = projectGradient(weights, slope, projection);
          const at = (i: number, by: number) => {
            const moved = project(
              x.map((v, j) => (i === j ? v + by : v)),
              projection,
            );
            return { dot: moved.reduce((sum, w, j) => sum + w * slope[j], 0), moved };
          };
          const supportOf = (w: Float64Array) => w.map((v) => (v > 0 ? 1 : 0)).join();
          for (let i = 0; i < x.length; i++) {
            const [up, down] = [at(i, 1e-6), at(i, -1e-6)];
            // Where the support changes there is a kink, and no derivative.
            if (supportOf(up.moved) !== supportOf(down.moved)) continue;
            expect(analytic[i]).toBeCloseTo((up.dot - down.dot) / 2e-6, 5);
          }
        },
      ),
    );
  });

  const fromStarts = (count: number, problem: Problem, options: OptimiseOptions) =>
    compared(Array.from({ length: count }, (_, restart) => descend(problem, options, restart)));

  it("finds the minimum of a convex objective, each group summing to 1, fixed weights staying", () => {
    const target = Float64Array.of(0.7, 0.3, 0, 0.2, 0.8, 0.25);
    const objective = (w: Float64Array) => ({
      value: w.reduce((sum, v, i) => sum + (v - target[i]) ** 2, 0),
      gradient: w.map((v, i) => 2 * (v - target[i])),
    });
    const fixed = Float64Array.of(0, 0, 0, 0, 0, 0.25);
    const groups = [
      [0, 1, 2],
      [3, 4],
    ];
    for (const optimizer of ["adam", "sgd"] as const) {
      const { best, agreement, support, restarts } = fromStarts(
        4,
        { objective, groups, fixed },
        { projection: "sparsemax", optimizer, lr: 0.05, steps: 2000 },
      );
      close(best.weights, target, 3);
      expect(restarts).toHaveLength(4);
      expect(agreement).toBeGreaterThan(0.5);
      // A coordinate that a start put to zero may never come back: that is what restarts are for.
      expect(support[0]).toBeGreaterThan(2);
      expect(support[2]).toBe(0);
    }
  });

  it("with correct centring moves only when normalised: the same steps of SGD", () => {
    const units = knownUnits();
    const all = [columns.map((_, i) => i)];
    const spread = (normalise: Normaliser) => {
      const estimator = new Estimator(units, { normalise });
      const { best } = fromStarts(
        1,
        {
          objective: (w) => estimator.estimate(w),
          groups: all,
          fixed: new Float64Array(columns.length),
        },
        {
          projection: "sparsemax",
          optimizer: "sgd",
          referenceStart: true,
          steps: 300,
          tolerance: 0,
        },
      );
      return Math.max(...best.weights);
    };
    expect(spread("none")).toBeLessThan(0.4);
    expect(spread("alignment")).toBeGreaterThan(0.8);
  });
});

describe("baselines", () => {
  it("digamma", () => {
    expect(digamma(1)).toBeCloseTo(-0.5772156649015329, 12);
    expect(digamma(0.5)).toBeCloseTo(-1.9635100260214235, 12);
    expect(digamma(42.25)).toBeCloseTo(3.731723353184881, 9);
  });

  it("mutual information is scikit-learn's", () => {
    for (let i = 0; i < columns.length; i++)
      for (let j = 0; j < columns.length; j++)
        if (i !== j)
          expect(mutualInformation(columns[i], columns[j])).toBeCloseTo(known.information[i][j], 6);
  });

  it("recursive elimination keeps what scikit-learn's keeps", () => {
    const rows = (known.x as number[][]).map((row) => Float64Array.from(row));
    for (const [keep, chosen] of Object.entries(known.rfe))
      expect(recursiveElimination(rows, known.labels, known.classes, Number(keep)).chosen).toEqual(chosen);
  });

  it("MRMR finds the published triple's redundancy and the best group", () => {
    const [alpha, rasta, hnr, rms] = [0, 1, 2, 3];
    const information = Array.from({ length: 4 }, () => new Array(4).fill(0));
    const set = (i: number, j: number, value: number) => {
      information[i][j] = information[j][i] = value;
    };
    set(alpha, hnr, 0.3446);
    set(alpha, rasta, 0.2031);
    set(hnr, rasta, 0.3071);
    for (const i of [alpha, rasta, hnr]) set(i, rms, 0.5);
    const { chosen, score } = mrmr([0, 0, 0, 0], information, 3);
    expect(chosen).toEqual([alpha, rasta, hnr]);
    expect(score).toBeCloseTo(-0.2849, 4);
    expect(mrmr([0.9, 0.9, 0.9, -5], information, 2).chosen).toContain(rms);
  });
});

it("estimates a dependence that is there above one that is not", () => {
  const rng = random(3, "units");
  const dim = 8;
  const data = new Float32Array(60 * dim);
  const linked = new Float64Array(60);
  const free = new Float64Array(60);
  for (let i = 0; i < 60; i++) {
    const angle = rng.next() * Math.PI * 0.5;
    const vector = Float64Array.from({ length: dim }, (_, d) => (d < 4 ? Math.cos(angle) : Math.sin(angle)));
    data.set(toUnitLength(vector), i * dim);
    linked[i] = angle;
    free[i] = rng.normal();
  }
  const units: Units = {
    data: { data, dim },
    candidates: [
      { name: "linked", values: linked },
      { name: "free", values: free },
    ],
    classes: [{ name: "one", members: Int32Array.from({ length: 60 }, (_, i) => i) }],
  };
  const estimator = new Estimator(units);
  expect(estimator.alone(0)[0]).toBeGreaterThan(0.8);
  expect(estimator.alone(1)[0]).toBeLessThan(0.2);
});
