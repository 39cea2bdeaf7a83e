import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { scoreTable } from "../../src/cli/score.ts";
import { readTable } from "../../src/corpus/formats/table.ts";
import { readManifest } from "../../src/corpus/manifest.ts";
import { classTask, labelOf, type Parts, sequenceTask } from "../../src/superb/build.ts";
import { type ProbeOptions, type ProbeReport, probe } from "../../src/superb/index.ts";
import { common } from "../../src/superb/recipes.ts";
import { meanColumns } from "../../src/superb/results.ts";
import type { LearnedTask, ProbeRecipe, ProbeTask } from "../../src/superb/task.ts";
import { lineageOf } from "../../src/train/lineage.ts";
import { openSafetensors } from "../../src/weights/safetensors.ts";
import { tinyCorpus } from "../train/tiny-corpus.ts";
import { toyUpstream } from "./toy.ts";

const corpus = tinyCorpus(6);
const folders = [corpus.folder];
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});
const fresh = () => {
  const folder = mkdtempSync(join(tmpdir(), "probe-"));
  folders.push(folder);
  return folder;
};

const utterances = readManifest(corpus.manifest);
const of = (...speakers: string[]) => utterances.filter(({ speaker }) => speakers.includes(speaker!));
const parts: Parts = { train: of("s0", "s1"), valid: of("s2"), test: of("s3") };

const recipe = (changes: Partial<ProbeRecipe> = {}): ProbeRecipe => ({
  ...common,
  optimizer: { ...common.optimizer, lr: 0.02 },
  ...{ head: {}, steps: 40, batch: 8, sampling: "buckets", evaluateEvery: 20, source: "a test" },
  ...changes,
});
const word = (changes: Partial<ProbeRecipe> = {}): ProbeTask =>
  classTask(
    {
      ...{
        name: "word",
        notes: [],
        columns: { accuracy: "KS" },
        projection: 8,
        labels: ["word"],
        answerOf: labelOf,
      },
      recipe: recipe({ best: { metric: "accuracy", higher: true }, ...changes }),
    },
    parts,
  );
const letters = (changes: Partial<ProbeRecipe> = {}): ProbeTask =>
  sequenceTask(
    {
      ...{ name: "letters", notes: [], columns: { cer: "PR" }, head: { projection: 16 }, headline: "cer" },
      vocabulary: { unit: "characters" },
      rates: { cer: "characters" },
      recipe: recipe({ steps: 100, best: { metric: "cer", higher: false }, ...changes }),
    },
    parts,
  );
const run = (tasks: ProbeTask[], options: ProbeOptions = {}, upstream = toyUpstream()) =>
  probe(upstream, tasks, { threads: 1, ...options });
const head = (folder: string, task: string) => readFileSync(join(folder, task, "head.safetensors"));
const scores = ({ results }: ProbeReport) =>
  results.map(({ metrics, layerWeights }) => [metrics, layerWeights]);

describe("probing", () => {
  test("learns what a layer knows, and that the other layers do not", async () => {
    const out = fresh();
    const { results, score, left } = await run([word(), letters()], { out, cache: fresh() });
    expect(left).toEqual([]);
    const [words, spelt] = results;
    expect(words.metrics.accuracy).toBe(1);
    expect(spelt.metrics.cer).toBeLessThan(0.3);
    for (const { layerWeights } of results) {
      expect(layerWeights.reduce((a, b) => a + b)).toBeCloseTo(1, 6);
      expect(layerWeights[1]).toBeGreaterThan(Math.max(layerWeights[0], layerWeights[2]));
    }
    expect(words.columns).toEqual({ KS: 100 });
    expect(spelt.columns.PR).toBeCloseTo(100 * spelt.metrics.cer, 9);
    expect(Object.keys(score!.tasks)).toEqual(["PR", "KS"]);
    // Everything that a score needs stands beside it.
    expect(readdirSync(join(out, "word")).sort()).toEqual([
      "head.safetensors",
      "predictions.jsonl",
      "recipe.yaml",
      "result.json",
    ]);
    // A later call with fewer tasks leaves the row whole.
    expect((await run([word()], { out })).left).toEqual([]);
    const [row] = scoreTable(readTable(join(out, "scores.csv")));
    expect(row).toEqual({ name: "toy", score: score!.score, tasks: ["PR", "KS"] });
    const lines = readFileSync(join(out, "word", "predictions.jsonl"), "utf8")
      .trim()
      .split("\n");
    expect(lines.map((line) => JSON.parse(line).id)).toEqual(parts.test.map(({ id }) => id));
    expect(JSON.parse(readFileSync(join(out, "word", "result.json"), "utf8"))).toMatchObject({
      seed: 0,
      steps: 40,
      data: { train: 24, valid: 12, test: 12 },
    });
    expect(openSafetensors(join(out, "word", "head.safetensors")).infos.has("layer_weights")).toBe(true);
  });

  test("the upstream runs once for each recording; a second time not at all, whatever the tasks", async () => {
    const cache = fresh();
    const upstream = toyUpstream();
    const first = await run([word(), letters()], { cache }, upstream);
    expect(upstream.heard).toBe(utterances.length);
    expect(first.features.computed).toBe(utterances.length);
    const again = toyUpstream();
    await run([letters()], { cache }, again);
    expect(again.heard).toBe(0);
    const other = toyUpstream({ hash: "1".repeat(32) });
    await run([letters()], { cache }, other);
    expect(other.heard).toBe(0 + utterances.length);
  });

  test("cached, half cached and never cached come to the same heads, bit for bit", async () => {
    const outs = [fresh(), fresh(), fresh()];
    const logs: string[] = [];
    const reports = [
      await run([word()], { out: outs[0], cache: fresh() }),
      await run([word()], { out: outs[1], cache: fresh(), cacheGb: 2e-5, log: (line) => logs.push(line) }),
      await run([word()], { out: outs[2] }),
    ];
    expect(logs.join()).toMatch(/the rest is computed again/);
    expect(reports[1].features.computed).toBeGreaterThan(utterances.length);
    expect(reports[1].features.cached).toBeGreaterThan(0);
    expect(scores(reports[1])).toEqual(scores(reports[0]));
    expect(scores(reports[2])).toEqual(scores(reports[0]));
    expect(head(outs[1], "word").equals(head(outs[0], "word"))).toBe(true);
    expect(head(outs[2], "word").equals(head(outs[0], "word"))).toBe(true);
  });

  test("heads that share their batches learn what they learn alone", async () => {
    const [together, alone] = [fresh(), fresh()];
    await run([word(), letters({ steps: 50 })], { out: together });
    await run([word()], { out: alone });
    await run([letters({ steps: 50 })], { out: alone });
    for (const task of ["word", "letters"]) expect(head(together, task).equals(head(alone, task))).toBe(true);
  });

  test("an interrupted probe goes on bit for bit, and a finished one is not repeated", async () => {
    const [whole, parted] = [fresh(), fresh()];
    await run([word(), letters()], { out: whole });
    const controller = new AbortController();
    const task = letters() as LearnedTask;
    const stopping: ProbeTask = {
      ...task,
      learner: (upstream) => {
        const learner = task.learner(upstream);
        let steps = 0;
        const feeds: typeof learner.feeds = (...args) => {
          if (++steps === 33) controller.abort();
          return learner.feeds(...args);
        };
        return { ...learner, feeds };
      },
    };
    const stopped = await run([word(), stopping], { out: parted, signal: controller.signal });
    expect(stopped.left).toEqual(["word", "letters"]);
    const upstream = toyUpstream();
    const report = await run([word(), letters()], { out: parted, log: () => {} }, upstream);
    expect(report.left).toEqual([]);
    for (const name of ["word", "letters"]) expect(head(parted, name).equals(head(whole, name))).toBe(true);
    const heard = upstream.heard;
    const repeated = await run([word(), letters()], { out: parted }, upstream);
    expect(upstream.heard).toBe(heard);
    expect(scores(repeated)).toEqual(scores(report));
    // Another seed is another result.
    await run([word()], { out: parted, seed: 1 }, upstream);
    expect(upstream.heard).toBeGreaterThan(heard);
  });

  test("balanced sampling hears a rare class as often as a frequent one", async () => {
    const train = [
      ...parts.train.filter((u) => u.labels?.word === "ab"),
      ...parts.train.filter((u) => u.labels?.word !== "ab").slice(0, 2),
    ];
    const base = { name: "word", notes: [], columns: {}, projection: 8, labels: ["word"], answerOf: labelOf };
    const heard = new Map<number, number>();
    const task = classTask(
      { ...base, recipe: recipe({ sampling: "balanced", steps: 60 }) },
      { ...parts, train },
    ) as LearnedTask;
    await run([
      {
        ...task,
        learner: (upstream) => {
          const learner = task.learner(upstream);
          return {
            ...learner,
            feeds: (items, frames) => {
              for (const item of items) {
                const label = task.classOf!(item);
                heard.set(label, (heard.get(label) ?? 0) + 1);
              }
              return learner.feeds(items, frames);
            },
          };
        },
      },
    ]);
    const [rare, frequent] = [...heard.values()].sort((a, b) => a - b);
    expect(rare / (rare + frequent)).toBeGreaterThan(0.42);
  });

  test("refuses test utterances that the model learned from, unless they are asked for", async () => {
    const upstream = toyUpstream({ lineage: lineageOf("a run", parts.test.slice(0, 3)) });
    await expect(run([word()], {}, upstream)).rejects.toThrow(
      "trained on test utterances of word (3); a score there measures memory",
    );
    const { results } = await run([word({ steps: 2 })], { allowOverlap: true }, upstream);
    expect(results[0].overlap).toBe(3);
    const innocent = toyUpstream({ lineage: lineageOf("a run", parts.train) });
    expect((await run([word({ steps: 2 })], {}, innocent)).results[0].overlap).toBe(0);
    expect((await run([word({ steps: 2 })])).results[0].overlap).toBeUndefined();
  });

  test("SpecAugment, gradient accumulation over parts of a batch, steps as a factor", async () => {
    const specAugment = { timeWarp: 1, timeMasks: 1, timeWidth: 2, channelMasks: 1, channelWidth: 3 };
    const { results } = await run([word({ specAugment })], { steps: 0.5 });
    expect(results[0].steps).toBe(20);
    expect(results[0].metrics.accuracy).toBeGreaterThan(0.8);
  });

  test("without a validation part the last weights are tested", async () => {
    const out = fresh();
    const base = { name: "word", notes: [], columns: {}, projection: 8, labels: ["word"], answerOf: labelOf };
    const given = recipe({ best: { metric: "accuracy", higher: true } });
    const { results } = await run([classTask({ ...base, recipe: given }, { ...parts, valid: [] })], { out });
    expect([results[0].best, results[0].metrics.accuracy]).toEqual([undefined, 1]);
  });

  test("probes with the same column count as their mean: folds", () => {
    const result = (value: number) => ({ columns: { ER: value } }) as ProbeReport["results"][number];
    expect(meanColumns([result(60), result(70)])).toEqual({ ER: 65 });
  });

  test("a damaged result is named", async () => {
    const out = fresh();
    await run([word({ steps: 2 })], { out });
    writeFileSync(join(out, "word", "result.json"), "{");
    await expect(run([word({ steps: 2 })], { out })).rejects.toThrow("word/result.json: is not JSON");
  });
});
