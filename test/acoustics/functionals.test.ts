import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  deviation,
  mean,
  nonZero,
  percentile,
  relativeDeviation,
  segments,
} from "../../src/audio/acoustics/functionals.ts";
import { levinsonDurbin } from "../../src/audio/acoustics/linear-prediction.ts";
import { peakStatistics } from "../../src/audio/acoustics/peaks.ts";
import { PolynomialRoots } from "../../src/audio/acoustics/polynomial-roots.ts";
import { smooth3, smoothVoiced } from "../../src/audio/acoustics/smoothing.ts";

describe("moments and percentiles", () => {
  it("of known values", () => {
    expect(mean([1, 2, 3, 4])).toBe(2.5);
    expect(deviation([2, 4, 4, 4, 5, 5, 7, 9])).toBe(2);
    expect(relativeDeviation([-2, -4])).toBeCloseTo(-1 / 3, 12);
    expect(percentile([10, 20, 30, 40, 50], 0.2)).toBeCloseTo(18, 12);
    expect(percentile([1, 2], 0.5)).toBe(1.5);
    expect([mean([]), deviation([]), percentile([], 0.5)]).toEqual([0, 0, 0]);
    expect([...nonZero(Float32Array.of(0, 1, 0, 2))]).toEqual([1, 2]);
  });
});

describe("segments", () => {
  const of = (pattern: string) => segments(pattern.length, (t) => pattern[t] === "1");

  it("need three frames to begin and two to end", () => {
    expect(of("0011000").count).toBe(0);
    expect(of("0111000").count).toBe(1);
    expect(of("011101110").count).toBe(1);
    expect(of("0111001110").count).toBe(2);
  });

  it("count the frames as openSMILE does, one short of the stretch", () => {
    expect(of("0011111000").meanFrames).toBe(4);
    expect(of("11100111110").deviationFrames).toBe(1);
  });

  it("cover no frame twice", () => {
    fc.assert(
      fc.property(fc.array(fc.boolean(), { maxLength: 60 }), (inside) => {
        const { count, meanFrames } = segments(inside.length, (t) => inside[t]);
        expect(count * (meanFrames + 1)).toBeLessThanOrEqual(inside.length);
      }),
    );
  });
});

describe("peaks", () => {
  it("are those of a sine, with its slopes", () => {
    const period = 40;
    const x = Float32Array.from({ length: 200 }, (_, t) => Math.sin((2 * Math.PI * t) / period));
    const found = peakStatistics(x, 0.01);
    expect(found.peaks).toBe(5);
    // From -1 to 1 in half a period of 0.2 s; the first rise starts at 0 and the last stops before its end.
    expect(found.meanRisingSlope).toBeCloseTo(10, 0);
  });

  it("ignore ripples below a tenth of the range", () => {
    const x = Float32Array.from(
      { length: 200 },
      (_, t) => Math.sin((2 * Math.PI * t) / 100) + 0.02 * Math.sin(2 * t),
    );
    expect(peakStatistics(x, 0.01).peaks).toBe(2);
  });

  it("are none in a constant and in nothing", () => {
    expect(peakStatistics(new Float32Array(50).fill(3), 0.01)).toEqual({
      peaks: 0,
      meanRisingSlope: 0,
      deviationRisingSlope: 0,
      meanFallingSlope: 0,
      deviationFallingSlope: 0,
    });
    expect(peakStatistics(new Float32Array(0), 0.01).peaks).toBe(0);
  });
});

describe("smoothing", () => {
  it("averages three frames and repeats the ends", () => {
    expect([...smooth3(Float32Array.of(3, 0, 6))]).toEqual([2, 3, 4]);
  });

  it("keeps unvoiced frames out", () => {
    expect([...smoothVoiced(Float32Array.of(0, 2, 4, 0, 0, 6, 0))]).toEqual([0, 3, 3, 0, 0, 6, 0]);
  });
});

describe("linear prediction", () => {
  it("finds the coefficients of an autoregressive process from its autocorrelation", () => {
    // x[t] = 1.2 x[t-1] - 0.6 x[t-2] + e: r1 / r0 = 1.2 / 1.6, r2 = 1.2 r1 - 0.6 r0.
    const r = [1, 0.75, 1.2 * 0.75 - 0.6];
    const a = new Float64Array(2);
    levinsonDurbin(r, a);
    expect(a[0]).toBeCloseTo(-1.2, 12);
    expect(a[1]).toBeCloseTo(0.6, 12);
  });
});

describe("polynomial roots", () => {
  /** The polynomial with a real root and the pairs of the given radii and angles, and what `PolynomialRoots` says. */
  function solve(pairs: readonly (readonly [number, number])[], real: number) {
    let c = [1, -real];
    for (const [radius, angle] of pairs) {
      const [b, d] = [-2 * radius * Math.cos(angle), radius * radius];
      c = Array.from(
        { length: c.length + 2 },
        (_, i) => (c[i] ?? 0) + b * (c[i - 1] ?? 0) + d * (c[i - 2] ?? 0),
      );
    }
    const solver = new PolynomialRoots(c.length - 1);
    const count = solver.solve(c);
    return { c, roots: Array.from({ length: count }, (_, r) => [solver.re[r], solver.im[r]]) };
  }

  const pair = fc.tuple(
    fc.double({ min: 0.2, max: 1.2, noNaN: true }),
    fc.double({ min: 0.1, max: 3, noNaN: true }),
  );
  /** Five pairs, some of them up to five times. */
  const pairs = fc
    .tuple(
      fc.array(pair, { minLength: 5, maxLength: 5 }),
      fc.array(fc.nat(4), { minLength: 5, maxLength: 5 }),
      fc.boolean(),
    )
    .map(([of, which, repeat]) => (repeat ? which.map((k) => of[k]) : of));

  it("are those the polynomial was made of", () => {
    fc.assert(
      fc.property(pairs, fc.double({ min: -1, max: 1, noNaN: true }), (of, real) => {
        const { c, roots } = solve(of, real);
        // Multiple roots are ill conditioned, their residual is not.
        for (const [x, y] of roots) {
          let [re, im, size] = [0, 0, 0];
          for (const coefficient of c) {
            [re, im] = [re * x - im * y + coefficient, re * y + im * x];
            size = size * Math.hypot(x, y) + Math.abs(coefficient);
          }
          expect(Math.hypot(re, im)).toBeLessThanOrEqual(1e-9 * size + 1e-15);
        }
        expect(roots.reduce((whole, [, y]) => whole + (y > 0 ? 2 : 1), 0)).toBe(11);
      }),
    );
  });

  it("of one multiplicity do not spoil the others", () => {
    const triple: [number, number] = [0.2, 0.1];
    const apart: [number, number][] = [
      [1.1991856859796022, 2.9995513910254767],
      [0.8561653852456848, 2.999999689683312],
    ];
    const of = [apart[0], triple, triple, apart[1], triple];
    const { roots } = solve(of, -7.934538507599525e-11);
    for (const [radius, angle] of apart) {
      const [x, y] = [radius * Math.cos(angle), radius * Math.sin(angle)];
      const nearest = Math.min(...roots.map(([re, im]) => Math.hypot(re - x, im - y)));
      expect(nearest).toBeLessThan(1e-9);
    }
  });

  it("are real next to a cluster of pairs", () => {
    const triple: [number, number] = [1.1999999999999973, 0.1];
    const apart: [number, number][] = [
      [0.6975887456749944, 1.527654629741688],
      [0.20000000000000004, 1.3193646037696134],
    ];
    const { roots } = solve([triple, ...apart, triple, triple], 0.9999999999999984);
    const real = roots.filter(([, y]) => y === 0);
    expect(real).toHaveLength(1);
    expect(real[0][0]).toBeCloseTo(1, 9);
  });
});
