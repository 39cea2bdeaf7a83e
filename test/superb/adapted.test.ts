import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readManifest } from "../../src/corpus/manifest.ts";
import { adaptToTasks } from "../../src/methods/router/superb-tasks.ts";
import { classTask, labelOf } from "../../src/superb/build.ts";
import { tasksNamed } from "../../src/superb/index.ts";
import { probe } from "../../src/superb/probe.ts";
import { common } from "../../src/superb/recipes.ts";
import type { ProbeTask } from "../../src/superb/task.ts";
import { readMasks } from "../../src/train/mask-file.ts";
import { openModel } from "../../src/train/open-model.ts";
import { openSafetensors } from "../../src/weights/safetensors.ts";
import { corpus, tinyRun } from "../use/trained.ts";
import * as trees from "./trees.ts";

let model: string;
const folder = mkdtempSync(join(tmpdir(), "adapted-"));
const at = (...parts: string[]) => join(folder, ...parts);
afterAll(() => rmSync(folder, { recursive: true, force: true }));
beforeAll(async () => {
  model = await tinyRun("to-adapt", { epochs: 1 });
}, 60_000);

const utterances = () => readManifest(corpus.manifest);
const of = (...speakers: string[]) => utterances().filter(({ speaker }) => speakers.includes(speaker!));
const word = (steps: number): ProbeTask =>
  classTask(
    {
      ...{ name: "word", notes: [], columns: {}, projection: 8, labels: ["word"], answerOf: labelOf },
      recipe: {
        ...common,
        ...{ head: {}, steps, batch: 8, sampling: "buckets", evaluateEvery: 4, source: "a test" },
        optimizer: { ...common.optimizer, lr: 0.02 },
        best: { metric: "accuracy", higher: true },
      },
    },
    { train: of("s0", "s1"), valid: of("s2"), test: of("s3") },
  );
const options = { threads: 1, allowOverlap: true };
const head = (out: string) => readFileSync(join(out, "word", "head.safetensors"));

describe("an upstream that trains with a task's head", () => {
  test("weights: all but the extractor's move, and the model itself is left alone", async () => {
    const before = openModel(model).store;
    const out = at("weights");
    const { results } = await probe(model, [word(8)], {
      ...options,
      out,
      adaptation: { train: "weights", lr: 0.01 },
    });
    expect(results[0].metrics.accuracy).toBeGreaterThanOrEqual(0);
    const tuned = openSafetensors(join(out, "word", "upstream.safetensors"));
    for (const name of tuned.infos.keys()) {
      const [was, is] = [before.array(name), tuned.readF32(name)];
      const moved = is.some((x, i) => x !== was[i]);
      // A gradient of the keys' bias is 0 but for rounding.
      if (!name.includes("k_proj.bias"))
        expect([name, moved]).toEqual([name, !/feature_extractor|masked_spec_embed/.test(name)]);
    }
    tuned.close();
    expect(openModel(model).store.weights).toEqual(before.weights);
    const kept = openSafetensors(join(out, "word", "head.safetensors"));
    expect([...kept.infos.keys()].every((name) => /^(head\.|layer_weights)/.test(name))).toBe(true);
    kept.close();
  });

  test("masks: they alone move, at each sparsity that is asked for, and validation chooses", async () => {
    const out = at("masks");
    const { tasks, left } = await adaptToTasks(model, [word(8)], {
      ...options,
      ...{ out, sparsities: [0.1, 0.4], adaptation: { train: "masks", lr: 0.01 } },
    });
    expect(left).toEqual([]);
    const [{ task, curve, chosen }] = tasks;
    expect(task).toBe("word");
    expect(curve.map(({ sparsity }) => sparsity)).toEqual([0.1, 0.4]);
    const most = Math.max(...curve.map(({ valid }) => valid!));
    expect(chosen!.valid).toBe(most);
    for (const { sparsity } of curve) {
      const { masks, own } = readMasks(join(out, `masks-${sparsity}`, "word", "masks.safetensors"));
      expect(masks).toHaveLength(4);
      for (const { kept, shape } of masks) expect(kept / (shape[0] * shape[1])).toBeCloseTo(1 - sparsity, 2);
      expect(own.every((name) => /^(head\.|layer_weights)/.test(name))).toBe(true);
    }
    // Weights that trained beside them are the baseline of the table.
    expect(tasks[0].weights).toBeUndefined();
    const baseline = { ...options, out, sparsities: [], adaptation: { train: "weights", lr: 0.01 } as const };
    const { tasks: tuned } = await adaptToTasks(model, [word(8)], baseline);
    // What is finished is not trained again.
    const again = await adaptToTasks(model, [word(8)], {
      ...options,
      ...{ out, sparsities: [0.1, 0.4], adaptation: { train: "masks", lr: 0.01 } },
    });
    expect(again.tasks).toEqual([{ ...tasks[0], weights: tuned[0].curve[0] }]);
    expect(JSON.parse(readFileSync(join(out, "curves.json"), "utf8"))).toEqual(again);
    const percent = (point?: { metrics: Record<string, number> }) =>
      (100 * point!.metrics.accuracy).toFixed(2);
    expect(readFileSync(join(out, "table.md"), "utf8")).toContain(
      `| word (accuracy ↑) | ${percent(tuned[0].curve[0])} | ${percent(chosen)} | ${chosen!.sparsity} |`,
    );
    expect(readFileSync(join(out, "report.html"), "utf8")).toMatch(/<svg[\s\S]*masks, validation/);
  });

  test("the folds of one task are judged together", async () => {
    const fold = (name: string, parts: Partial<ProbeTask["parts"]> = {}): ProbeTask => {
      const task = word(2);
      return { ...task, name: `word-${name}`, foldOf: "word", parts: { ...task.parts, ...parts } };
    };
    const { tasks } = await adaptToTasks(model, [fold("a"), fold("b", { test: word(2).parts.valid })], {
      ...options,
      ...{ out: at("folds"), sparsities: [0.2, 0.1], adaptation: { train: "masks", lr: 0.01 } },
    });
    expect(tasks.map(({ task }) => task)).toEqual(["word"]);
    expect(tasks[0].curve.map(({ sparsity }) => sparsity)).toEqual([0.1, 0.2]);
    const own = ["a", "b"].map(
      (name) =>
        JSON.parse(readFileSync(at("folds", "masks-0.1", `word-${name}`, "result.json"), "utf8")).metrics
          .accuracy,
    );
    expect(tasks[0].curve[0].metrics.accuracy).toBe((own[0] + own[1]) / 2);
  });

  test("stopped and gone on with, it is the uninterrupted one bit for bit", async () => {
    const adaptation = { train: "masks", lr: 0.01, sparsity: 0.3 } as const;
    const [whole, stopped] = [at("whole"), at("stopped")];
    await probe(model, [word(6)], { ...options, out: whole, adaptation });
    let asked = 0;
    const signal = Object.defineProperty(new AbortController().signal, "aborted", { get: () => ++asked > 4 });
    const first = await probe(model, [word(6)], { ...options, out: stopped, adaptation, signal });
    expect(first.left).toEqual(["word"]);
    expect(existsSync(join(stopped, "word", "head.safetensors"))).toBe(false);
    await probe(model, [word(6)], { ...options, out: stopped, adaptation });
    expect(Buffer.compare(head(stopped), head(whole))).toBe(0);
  });

  test("serves the eight tasks of Table 5, from their corpora's own files", async () => {
    const root = at("corpora");
    trees.speechCommands(root);
    trees.voxceleb(root, 0.6);
    trees.libri2mix(root);
    trees.iemocap(root);
    trees.fluentSpeechCommands(root);
    trees.snips(root);
    trees.covost(root);
    const found: string[] = [];
    for (const entry of tasksNamed("router")) {
      const [task] = await entry.prepare(root, { hidden: 8 });
      const recipe = { ...task.recipe, steps: 1, evaluateEvery: 1, batch: 4 };
      const { results } = await probe(model, [{ ...task, recipe } as ProbeTask], {
        ...options,
        adaptation: { train: found.length % 2 === 0 ? "masks" : "weights", lr: 1e-3 },
      });
      expect(Number.isFinite(results[0].headline.value)).toBe(true);
      found.push(results[0].task);
    }
    expect(found).toEqual(["ks", "sid", "asv", "sd", "er-session1", "ic", "sf", "st"]);
  }, 120_000);

  test("refuses what cannot be adapted", async () => {
    const adaptation = { train: "masks", lr: 0.01 } as const;
    await expect(probe("log-mel", [word(1)], { ...options, adaptation })).rejects.toThrow(
      /no transformer layers/,
    );
    await expect(
      probe("log-mel", [word(1)], { ...options, adaptation: { train: "weights", lr: 0.01 } }),
    ).rejects.toThrow(/has no weights to adapt/);
  });
});
