import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readManifest } from "../../../src/corpus/manifest.ts";
import { alphaSweep, distancesOf } from "../../../src/methods/speech-ft/alpha-sweep.ts";
import { partOf } from "../../../src/methods/speech-ft/distance.ts";
import { analysisPage } from "../../../src/methods/speech-ft/page.ts";
import { goodness, probeModel, summary } from "../../../src/methods/speech-ft/probing.ts";
import { classTask, labelOf } from "../../../src/superb/build.ts";
import type { ProbeResult, ProbeTask } from "../../../src/superb/index.ts";
import { common } from "../../../src/superb/recipes.ts";
import { parseRecipe } from "../../../src/train/recipe.ts";
import { train } from "../../../src/train/trainer.ts";
import { tinyCorpus, tinyRecipe } from "../../train/tiny-corpus.ts";

const corpus = tinyCorpus(2);
const root = mkdtempSync(join(tmpdir(), "alpha-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
const [base, tuned] = [join(root, "base"), join(root, "tuned")];

const utterances = readManifest(corpus.manifest);
const of = (...speakers: string[]) => utterances.filter(({ speaker }) => speakers.includes(speaker!));
const task: ProbeTask = classTask(
  {
    ...{
      name: "word",
      notes: [],
      columns: { accuracy: "KS" },
      projection: 4,
      labels: ["word"],
      answerOf: labelOf,
    },
    recipe: {
      ...common,
      optimizer: { ...common.optimizer, lr: 0.02 },
      ...{ head: {}, steps: 3, batch: 4, sampling: "buckets", evaluateEvery: 3, source: "a test" },
      best: { metric: "accuracy", higher: true },
    },
  },
  { train: of("s0", "s1"), valid: of("s2"), test: of("s3") },
);
const options = (folder: string) => ({
  ...{ folder, seeds: [0, 1], threads: 1, signal: new AbortController().signal },
  log: () => {},
});

beforeAll(async () => {
  const go = (changes: Record<string, unknown>, out: string) =>
    train(parseRecipe(tinyRecipe({ steps: 2, epochs: undefined, ...changes }), "tiny.yaml"), {
      ...{ data: corpus.folder, out, skipBad: false, log: () => {} },
    });
  await go({}, base);
  await go({ upstream: { model: base }, plan: {}, steps: 4 }, tuned);
});

describe("a sweep over alpha", () => {
  it("probes every merge, starts at the base, and goes on where it was", async () => {
    const folder = join(root, "sweep");
    const run = () =>
      alphaSweep(base, [tuned], { method: "interpolate" }, [0, 0.5, 1], [task], options(folder));
    const first = await run();
    expect(first.points.map(({ alpha }) => alpha)).toEqual([0, 0.5, 1]);
    const plain = await probeModel(base, "base", [task], options(join(root, "plain")));
    expect(first.points[0].summary).toEqual(summary(plain));
    expect(first.points[0].summary.superb).toBeDefined();
    // Merged models and hidden states do not pile up.
    expect(existsSync(join(folder, "alpha-0.5", "model"))).toBe(false);
    expect(existsSync(join(folder, "alpha-0.5", "cache"))).toBe(false);
    const file = (alpha: number) => join(folder, `alpha-${alpha}`, "results.json");
    const before = [0, 0.5, 1].map((alpha) => readFileSync(file(alpha), "utf8"));
    rmSync(join(folder, "alpha-0.5"), { recursive: true });
    const again = await run();
    expect(again).toEqual(first);
    expect([0, 1].map((alpha) => readFileSync(file(alpha), "utf8"))).toEqual([before[0], before[2]]);
    const page = await analysisPage({
      ...{ title: "A <test>", facts: [], distances: again.distances, command: "voxsmith" },
      models: again.points.map(({ alpha, summary: s }) => ({ name: `alpha ${alpha}`, summary: s })),
      curves: [{ name: "interpolate", points: again.points }],
      stages: again.points.map(({ alpha, summary: s }) => ({ name: `stage ${alpha}`, summary: s })),
    });
    for (const title of [
      "Before and after",
      "Score against alpha",
      "Distance per layer",
      "Layer weights",
      "Forgetting",
    ])
      expect(page).toContain(`>${title}</h2>`);
    expect(page).toContain("A &#60;test&#62;");
  });

  it("refuses an alpha that is none before it probes anything", async () => {
    const folder = join(root, "refused");
    const swept = alphaSweep(base, [tuned], { method: "interpolate" }, [0, 2], [task], options(folder));
    await expect(swept).rejects.toThrow(/--alpha: must be between 0 and 1/);
    expect(existsSync(folder)).toBe(false);
  });
});

describe("weight distances", () => {
  it("are 0 where nothing trained, in the order of the forward pass", () => {
    const parts = distancesOf(base, tuned);
    expect(parts.map(({ part }) => part)).toEqual([
      ...["extractor", "projection", "positions", "layer 0", "layer 1", "other"],
    ]);
    const [extractor, projection] = parts;
    expect(extractor).toEqual({ part: "extractor", distance: 0, relative: 0 });
    expect(projection.distance).toBeGreaterThan(0);
    expect(projection.relative).toBeLessThan(1);
    expect(distancesOf(base, base).every(({ distance }) => distance === 0)).toBe(true);
    expect(partOf("hubert.encoder.layers.11.attention.q_proj.weight")).toBe("layer 11");
  });
});

describe("what is right", () => {
  it("is accuracy, or 1 - error rate, averaged over tasks, with its spread over seeds", () => {
    const result = (name: string, seed: number, value: number, higher: boolean) =>
      ({
        ...{ task: name, seed, columns: {}, layerWeights: [0.5, 0.5] },
        headline: { metric: higher ? "accuracy" : "per", value, higher },
      }) as unknown as ProbeResult;
    const results = [
      result("a", 0, 0.8, true),
      result("b", 0, 0.3, false),
      result("a", 1, 0.6, true),
      result("b", 1, 0.3, false),
    ];
    expect(goodness(results[1])).toBeCloseTo(0.7, 9);
    const { mean, tasks, superb } = summary(results);
    expect(mean.mean).toBeCloseTo(70, 9);
    expect(mean.sd).toBeCloseTo(Math.SQRT2 * 5, 9);
    expect(tasks.a.mean).toBeCloseTo(0.7, 9);
    expect(superb).toBeUndefined();
  });
});
