import { describe, expect, test } from "vitest";
import { correlate, kendall, mantel, pearson, spearman } from "../../src/metrics/correlation.ts";
import {
  bootstrapInterval,
  mcNemar,
  meanOf,
  pairedBootstrap,
  ratioOf,
  wilcoxon,
} from "../../src/metrics/significance.ts";
import { erfc, normalCdf, normalQuantile, quantile, ranks } from "../../src/metrics/special.ts";
import { random } from "../../src/random.ts";
import { fixture } from "./fixture.ts";

const reference = fixture("basic");

describe("special functions", () => {
  test("normal distribution and its inverse", () => {
    const { z, cdf, p, quantile: inverse } = reference.special;
    z.forEach((v: number, i: number) => {
      expect(Math.abs(normalCdf(v) / cdf[i] - 1)).toBeLessThan(1e-12);
    });
    p.forEach((v: number, i: number) => {
      expect(normalQuantile(v)).toBeCloseTo(inverse[i], 10);
    });
    expect(erfc(0)).toBe(1);
    expect([...ranks([3, 1, 3, 2])]).toEqual([3.5, 1, 3.5, 2]);
    expect(quantile([1, 2, 4], 0.75)).toBe(3);
  });
});

describe("correlation", () => {
  test("SciPy's coefficients, and exact permutation p-values", () => {
    for (const c of reference.correlation) {
      expect(pearson(c.x, c.y)).toBeCloseTo(c.pearson, 12);
      expect(spearman(c.x, c.y)).toBeCloseTo(c.spearman, 12);
      expect(kendall(c.x, c.y)).toBeCloseTo(c.kendall, 12);
      for (const method of ["pearson", "spearman", "kendall"] as const) {
        if (c.x.length > 6) continue;
        const got = correlate(method, c.x, c.y);
        expect(got.exact).toBe(true);
        expect(got.p).toBeCloseTo(c[`${method}P`], 12);
      }
    }
  });

  test("random permutations come near the asymptotic p-value and repeat with the seed", () => {
    const { x, y, asymptotic } = reference.correlation[2];
    const got = correlate("pearson", x, y, { seed: 3 });
    expect(got.exact).toBe(false);
    expect(Math.abs(got.p - asymptotic)).toBeLessThan(4 * Math.sqrt(asymptotic / 9999) + 2e-3);
    expect(correlate("pearson", x, y, { seed: 3 }).p).toBe(got.p);
    // The observed pairing is one of them: p is never 0.
    expect(correlate("spearman", x, x, { permutations: 99 }).p).toBe(0.01);
  });

  test("Mantel: a relabelled copy of a matrix is perfectly correlated only under the right labels", () => {
    const stream = random(5, "mantel");
    const n = 6;
    const a = Array.from({ length: n }, () => new Array<number>(n).fill(0));
    for (let i = 0; i < n; i++) for (let j = 0; j < i; j++) a[i][j] = a[j][i] = stream.next();
    const got = mantel("pearson", a, a);
    expect(got).toMatchObject({ value: 1, exact: true, pairs: 15 });
    expect(got.p).toBeCloseTo(1 / 720, 12);
  });

  test("a constant side has no correlation", () => {
    expect(pearson([1, 1, 1], [1, 2, 3])).toBeNaN();
    expect(correlate("kendall", [1, 1, 1], [1, 2, 3]).p).toBeNaN();
  });
});

describe("significance", () => {
  test("percentile and BCa intervals come near SciPy's with many resamples", () => {
    const { sample, percentile, bca } = reference.bootstrap;
    for (const [method, want] of [
      ["percentile", percentile],
      ["bca", bca],
    ] as const) {
      const got = bootstrapInterval(sample.length, meanOf(sample), { method, resamples: 40_000 });
      expect(Math.abs(got.low - want[0])).toBeLessThan(0.01);
      expect(Math.abs(got.high - want[1])).toBeLessThan(0.02);
    }
    expect(Math.abs(percentile[1] - bca[1])).toBeGreaterThan(0.03);
  });

  test("drawing speakers is wider than drawing utterances when a speaker's utterances agree", () => {
    const clusters = Array.from({ length: 100 }, (_, i) => Math.floor(i / 10));
    const hits = clusters.map((speaker) => speaker % 2);
    const [byUnit, byCluster] = [
      bootstrapInterval(100, meanOf(hits)),
      bootstrapInterval(100, meanOf(hits), { clusters }),
    ];
    expect(byCluster).toMatchObject({ drawn: 10, by: "cluster", estimate: 0.5 });
    expect(byCluster.high - byCluster.low).toBeGreaterThan(2 * (byUnit.high - byUnit.low));
  });

  test("nominal coverage over repeated draws, error rate of unequal utterances", () => {
    const stream = random(11, "coverage");
    let covered = 0;
    for (let k = 0; k < 200; k++) {
      const tokens = Array.from({ length: 40 }, () => 5 + stream.int(20));
      const errors = tokens.map((n) => Array.from({ length: n }).filter(() => stream.next() < 0.3).length);
      const got = bootstrapInterval(40, ratioOf(errors, tokens), { resamples: 300, seed: k });
      if (got.low <= 0.3 && 0.3 <= got.high) covered++;
    }
    expect(covered).toBeGreaterThan(178);
    expect(covered).toBeLessThan(200);
  });

  test("too little to draw from gives no interval", () => {
    const got = bootstrapInterval(3, meanOf([1, 2, 3]), { clusters: ["a", "a", "a"] });
    expect(got.estimate).toBe(2);
    expect(got.low).toBeNaN();
  });

  test("paired bootstrap: equal systems differ by nothing, a better one by its margin", () => {
    const stream = random(2, "paired");
    const base = Array.from({ length: 200 }, () => stream.next());
    const better = base.map((v) => v + 0.1 + 0.05 * stream.normal());
    expect(pairedBootstrap(200, meanOf(base), meanOf(base)).p).toBe(1);
    const got = pairedBootstrap(200, meanOf(better), meanOf(base));
    expect(got.estimate).toBeCloseTo(0.1, 1);
    expect(got.p).toBeLessThan(0.002);
    expect(got.low).toBeGreaterThan(0.08);
  });

  test("McNemar and Wilcoxon are SciPy's", () => {
    for (const { a, b, p } of reference.mcnemar) expect(mcNemar(a, b).p).toBeCloseTo(p, 10);
    const { a, b, p } = reference.mcnemarLarge;
    expect(mcNemar(a, b).p).toBeCloseTo(p, 12);
    for (const c of reference.wilcoxon) {
      const got = wilcoxon(c.a, c.b);
      expect(got.p).toBeCloseTo(c.p, 10);
    }
    expect(wilcoxon([1, 2], [1, 2])).toMatchObject({ p: 1, pairs: 0 });
  });
});
