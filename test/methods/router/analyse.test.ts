import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { analyseMasks } from "../../../src/methods/router/analyse.ts";
import { analysisPage, dendrogram } from "../../../src/methods/router/analysis-page.ts";
import { averageLinkage, maskSimilarities } from "../../../src/methods/router/mask-similarity.ts";
import { inventorySimilarity, readInventories } from "../../../src/methods/router/phoible.ts";
import { mantel } from "../../../src/metrics/correlation.ts";
import { packBits } from "../../../src/params/mask.ts";
import { random } from "../../../src/random.ts";
import { countBits } from "../../../src/train/mask-file.ts";
import { writeSafetensors } from "../../../src/weights/safetensors.ts";
import { dataDir } from "../../shared.ts";

interface Fixture {
  masks: number[][][];
  cosine: number[][][];
  phi: number[][][];
  heights: number[];
  other: number[][];
  pearson: number;
  spearman: number;
}
const fixture: Fixture = JSON.parse(
  readFileSync(join(import.meta.dirname, "../../fixtures/methods/router-analysis.json"), "utf8"),
);
const maskOf = (flags: number[], layer: number, shape = [6, 7]) => {
  const bits = packBits((i) => flags[i] === 1, flags.length);
  return { name: `w.layers.${layer}.feed_forward.output_dense.weight`, shape, bits, kept: countBits(bits) };
};
const tasks = fixture.masks.map((layers, t) => ({
  name: `task${t}`,
  masks: layers.map((flags, layer) => maskOf(flags, layer)),
}));
const close = (actual: readonly (readonly number[])[], expected: number[][]) => {
  for (const [i, row] of expected.entries())
    for (const [j, value] of row.entries()) expect(actual[i][j]).toBeCloseTo(value, 12);
};

describe("similarity of masks", () => {
  const { layers, matrices } = maskSimilarities(tasks);

  it("is what NumPy and SciPy compute", () => {
    expect(layers.map(({ part, weights }) => [part, weights])).toEqual([
      ["layer 0", 42],
      ["layer 1", 42],
    ]);
    for (const [l, layer] of layers.entries()) {
      close(layer.cosine, fixture.cosine[l]);
      close(layer.phi, fixture.phi[l]);
    }
    expect(matrices[0].cosine).toEqual(layers[0].cosine);
    const distances = tasks.map((_, i) =>
      tasks.map((_, j) => (i === j ? 0 : 1 - (layers[0].phi[i][j] + layers[1].phi[i][j]) / 2)),
    );
    for (const [i, { distance }] of averageLinkage(distances).entries())
      expect(distance).toBeCloseTo(fixture.heights[i], 10);
    expect(mantel("pearson", layers[0].cosine, fixture.other).value).toBeCloseTo(fixture.pearson, 10);
    expect(mantel("spearman", layers[0].cosine, fixture.other).value).toBeCloseTo(fixture.spearman, 10);
  });

  it("of masks of one size is overlap over kept; of random ones cosine is what they keep, and phi 0", () => {
    const rng = random("random masks");
    const draw = () => {
      const flags = new Array<number>(100_000).fill(1);
      for (let left = 10_000; left > 0; ) {
        const i = rng.int(flags.length);
        if (flags[i] === 1) left--;
        flags[i] = 0;
      }
      return flags;
    };
    const [a, b] = [draw(), draw()];
    const both = a.filter((flag, i) => flag === 1 && b[i] === 1).length;
    const of = (flags: number[]) => ({ name: "t", masks: [maskOf(flags, 0, [1000, 100])] });
    const [layer] = maskSimilarities([of(a), of(b)]).layers;
    expect(layer.cosine[0][1]).toBeCloseTo(both / 90_000, 12);
    expect(layer.cosine[0][1]).toBeCloseTo(0.9, 2);
    // No two masks that keep 90 % can share less.
    expect(layer.cosine[0][1]).toBeGreaterThan(0.8888);
    expect(Math.abs(layer.phi[0][1])).toBeLessThan(0.02);
    expect(layer.phi[0][1]).toBeCloseTo((layer.cosine[0][1] - 0.9) / 0.1, 10);
  });

  it("refuses tasks that mask different matrices", () => {
    const other = { name: "other", masks: [tasks[0].masks[0]] };
    expect(() => maskSimilarities([tasks[0], other])).toThrow(/do not mask the same matrices/);
  });
});

describe("phoneme inventories", () => {
  const folder = mkdtempSync(join(tmpdir(), "phoible-"));
  const path = join(folder, "inventories.tsv");
  const rows = { aaa: ["1 p", "1 t", "1 k", "2 p", "2 t", "3 p"], bbb: ["4 p", "4 q"], ccc: ["5 z"] };
  const lines = Object.entries(rows).flatMap(([code, list]) =>
    list.map((row) => [row.split(" ")[0], code, "x", row.split(" ")[1]].join("\t")),
  );
  writeFileSync(path, `InventoryID\tISO6393\tName\tPhoneme\n${lines.join("\n")}\n`);

  it("of one language are combined as asked", () => {
    const of = (how: "majority" | "union" | "mean") => [...readInventories(path, ["aaa"], how)[0].phonemes];
    expect(of("majority")).toEqual([
      ["p", 1],
      ["t", 1],
    ]);
    expect(of("union").map(([phoneme]) => phoneme)).toEqual(["p", "t", "k"]);
    expect(of("mean")).toEqual([
      ["p", 1],
      ["t", 2 / 3],
      ["k", 1 / 3],
    ]);
    const [a, b, c] = readInventories(path, ["aaa", "bbb", "ccc"], "majority");
    expect(inventorySimilarity(a, b)).toBeCloseTo(1 / 2, 12);
    expect(inventorySimilarity(a, c)).toBe(0);
    expect(inventorySimilarity(a, a)).toBeCloseTo(1, 12);
    expect(() => readInventories(path, ["zzz"], "union")).toThrow(/has no inventory of "zzz"/);
  });

  const real = dataDir("phoible", "inventories.tsv");
  it.skipIf(real === undefined)(
    "of the paper's eleven languages stand in PHOIBLE; Romance ones resemble each other",
    () => {
      const codes = ["nld", "cmn", "spa", "tat", "rus", "ita", "kir", "tur", "swe", "fra", "eng"];
      const inventories = readInventories(real!, codes, "majority");
      for (const { phonemes, sources } of inventories) {
        expect(sources).toBeGreaterThan(0);
        expect(phonemes.size).toBeGreaterThan(15);
      }
      const of = (a: string, b: string) =>
        inventorySimilarity(inventories[codes.indexOf(a)], inventories[codes.indexOf(b)]);
      expect(of("spa", "ita")).toBeGreaterThan(of("spa", "cmn"));
    },
  );

  it("stand beside masks in an analysis and its page", async () => {
    const runs = tasks.slice(0, 3).map(({ name, masks }) => {
      const run = join(folder, name);
      mkdirSync(run);
      writeSafetensors(
        join(run, "masks.safetensors"),
        masks.map(({ name: matrix, bits }) => ({
          name: matrix,
          dtype: "U8" as const,
          shape: [bits.length],
          data: bits,
        })),
        {
          ...{ format: "voxsmith-masks", backbone: "b", own: "[]" },
          shapes: JSON.stringify(Object.fromEntries(masks.map((mask) => [mask.name, mask.shape]))),
        },
      );
      return run;
    });
    const languages = new Map(runs.map((run, i) => [run, ["aaa", "bbb", "ccc"][i]]));
    const analysis = analyseMasks(runs, { phoible: path, languages, permutations: 99 });
    const { inventories, layers } = analysis;
    expect(inventories!.languages.map(({ sources, phonemes }) => [sources, phonemes])).toEqual([
      [3, 2],
      [1, 2],
      [1, 1],
    ]);
    expect(inventories!.associations).toHaveLength(2 * 4);
    const first = inventories!.associations[0];
    expect([first.part, first.measure, first.pearson.exact]).toEqual([layers[0].part, "cosine", true]);
    const text = await analysisPage(analysis);
    expect(text).toContain("Dendrogram");
    expect(text.match(/<figure>/g)).toHaveLength(2 + 2);
    expect(() => analyseMasks(runs.slice(0, 1))).toThrow(/at least two/);
  });

  it("a dendrogram has every item once and a path for each join", () => {
    const svg = dendrogram(
      ["a", "b<", "c"],
      averageLinkage([
        [0, 1, 4],
        [1, 0, 4],
        [4, 4, 0],
      ]),
    );
    expect(svg.match(/<path/g)).toHaveLength(2);
    expect(svg.match(/>a<|>b&lt;<|>c</g)).toHaveLength(3);
  });
});
