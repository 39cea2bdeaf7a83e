import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { principalComponents, silhouette, umap } from "../../../src/methods/severity/analysis/projection.ts";
import { analyseRun, probe, type RunAnalysis } from "../../../src/methods/severity/analysis/states.ts";
import { random } from "../../../src/random.ts";
import { analysisPage } from "../../../src/report/severity-analysis.ts";
import { parseRecipe } from "../../../src/train/recipe.ts";
import { train } from "../../../src/train/trainer.ts";
import { gradedCorpus, gradedRecipe } from "./graded-corpus.ts";

/** Two clouds in ten dimensions, their centres `apart`; the first axis is the widest. */
function clouds(apart: number, count = 20) {
  const chance = random("clouds", apart);
  const groups = Array.from({ length: 2 * count }, (_, i) => (i < count ? "a" : "b"));
  const rows = groups.map((group) =>
    Float64Array.from({ length: 10 }, (_, k) => chance.normal() + (k === 0 && group === "b" ? apart : 0)),
  );
  return { rows, groups };
}

describe("maps", () => {
  it("principal components find the widest directions, in their order", () => {
    const chance = random("pca");
    const rows = Array.from({ length: 60 }, () => {
      const [u, v] = [5 * chance.normal(), 2 * chance.normal()];
      // Orthogonal directions (1, 1, 0)/sqrt 2 and (0, 0, 1), and little else.
      return Float64Array.of(u / Math.SQRT2 + 0.01 * chance.normal(), u / Math.SQRT2, v);
    });
    const points = principalComponents(rows);
    const variance = (k: 0 | 1) => points.reduce((sum, p) => sum + p[k] ** 2, 0) / points.length;
    expect(variance(0)).toBeGreaterThan(variance(1));
    const total = rows[0].reduce((sum, _, k) => {
      const mean = rows.reduce((s, row) => s + row[k], 0) / rows.length;
      return sum + rows.reduce((s, row) => s + (row[k] - mean) ** 2, 0) / rows.length;
    }, 0);
    expect((variance(0) + variance(1)) / total).toBeGreaterThan(0.9999);
    expect(points.reduce((sum, [x, y]) => sum + x * y, 0)).toBeCloseTo(0, 6);
  });

  it("UMAP keeps clouds apart and is the same for the same seed", () => {
    const { rows, groups } = clouds(20);
    const map = umap(rows, 3);
    expect(umap(rows, 3)).toEqual(map);
    expect(
      silhouette(
        map.map(([x, y]) => Float64Array.of(x, y)),
        groups,
      ),
    ).toBeGreaterThan(0.5);
  });

  it("the silhouette of scikit-learn's documentation's kind: apart near 1, mixed near 0", () => {
    expect(silhouette(clouds(100).rows, clouds(100).groups)).toBeGreaterThan(0.9);
    expect(Math.abs(silhouette(clouds(0).rows, clouds(0).groups))).toBeLessThan(0.1);
    expect(
      silhouette(
        clouds(0).rows,
        clouds(0).groups.map(() => "a"),
      ),
    ).toBeNaN();
    // By hand: points 0, 1 | 10 on a line. (10-1)/10, (9-1)/9, and a point alone counts 0.
    const line = [0, 1, 10].map((x) => Float64Array.of(x));
    expect(silhouette(line, ["a", "a", "b"])).toBeCloseTo((9 / 10 + 8 / 9 + 0) / 3, 12);
  });

  it("a linear probe reads what is linear, and leaves out answers it never saw", () => {
    const [a, b] = [clouds(8), clouds(8, 10)];
    expect(probe(a.rows, a.groups, b.rows, b.groups)).toBeGreaterThan(0.95);
    expect(
      probe(
        a.rows,
        a.groups,
        b.rows,
        b.groups.map(() => "c"),
      ),
    ).toBeNaN();
  });
});

describe("the analysis of a run", () => {
  const corpus = gradedCorpus();
  const folder = mkdtempSync(join(tmpdir(), "analysis-"));
  let analysis: RunAnalysis;
  beforeAll(async () => {
    const recipe = parseRecipe(gradedRecipe({ checkpoint: { last: true } }), "graded.yaml");
    await train(recipe, { data: corpus.folder, out: join(folder, "run"), skipBad: false, log: () => {} });
    analysis = await analyseRun(join(folder, "run"), { data: corpus.folder, model: "last", threads: 1 });
  });

  it("has a map of every layer, the losses, and where grading joins", () => {
    expect(analysis.layers.map(({ layer }) => layer)).toEqual([0, 1, 2]);
    for (const { pca, umap: map } of analysis.layers) {
      expect(pca).toHaveLength(6);
      expect(map).toHaveLength(6);
      expect([...pca, ...map].flat().every(Number.isFinite)).toBe(true);
    }
    expect(analysis.losses.severity).toHaveLength(3);
    expect(analysis.losses.phonemes).toHaveLength(3);
    expect(analysis.joins).toBe(2);
    expect(new Set(analysis.grades)).toEqual(new Set(["0", "1", "2"]));
  });

  it("becomes a page that loads nothing", async () => {
    const page = await analysisPage([analysis]);
    for (const words of [
      "UMAP by severity",
      "UMAP by sentence",
      "Validation loss of severity",
      "Layer by layer",
    ])
      expect(page).toContain(words);
    expect(page).not.toMatch(/<script|src="http/);
  });

  it("asks for the last model where there is none", async () => {
    await expect(analyseRun(folder, { model: "last" })).rejects.toThrow(
      /has no model of its last step; train with checkpoint.last=true/,
    );
  });
});
