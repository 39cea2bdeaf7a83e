import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { command as evalCommand } from "../../src/cli/eval.ts";
import { analyseMasks } from "../../src/methods/router/analyse.ts";
import { tasksNamed } from "../../src/superb/index.ts";
import { evaluateTaskPacks, packTask } from "../../src/superb/packed.ts";
import type { ProbeReport } from "../../src/superb/probe.ts";
import { probe } from "../../src/superb/probe.ts";
import type { ProbeTask } from "../../src/superb/task.ts";
import { evaluatePacks } from "../../src/train/evaluate-packs.ts";
import { readMasks } from "../../src/train/mask-file.ts";
import { openModel } from "../../src/train/open-model.ts";
import { unpack } from "../../src/train/unpack.ts";
import { openSafetensors } from "../../src/weights/safetensors.ts";
import { tinyRun } from "../use/trained.ts";
import * as trees from "./trees.ts";

const folder = mkdtempSync(join(tmpdir(), "task-packs-"));
const at = (...parts: string[]) => join(folder, ...parts);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let model: string;
let report: ProbeReport;
const adaptation = { train: "masks", lr: 0.01, sparsity: 0.3 } as const;
const options = { threads: 1, allowOverlap: true };
const evaluated = { root: at("corpora"), threads: 1 };

beforeAll(async () => {
  model = await tinyRun("under-tasks", { epochs: 1 });
  trees.speechCommands(at("corpora"));
  trees.fluentSpeechCommands(at("corpora"));
  const tasks: ProbeTask[] = [];
  for (const entry of tasksNamed("ks,ic"))
    for (const task of await entry.prepare(at("corpora"))) {
      const recipe = { ...task.recipe, steps: 3, evaluateEvery: 3, batch: 4 };
      tasks.push({ ...task, recipe } as ProbeTask);
    }
  report = await probe(model, tasks, { ...options, out: at("out"), adaptation });
  for (const { task } of report.results) packTask(at("out", task), at(`${task}.pack`));
}, 120_000);

describe("masks of a SUPERB task as a pack", () => {
  test("several evaluate over one backbone as they did when they were learned", async () => {
    const found = await evaluateTaskPacks([at("ks.pack"), at("ic.pack")], "test", evaluated);
    expect(found.tasks).toEqual(
      report.results.map(({ task, metrics, data }) => ({ name: task, utterances: data.test, metrics })),
    );
    const lines = readFileSync(at("out", "ks", "predictions.jsonl"), "utf8")
      .trim()
      .split("\n");
    expect(found.predictions.filter(({ task }) => task === "ks")).toEqual(
      lines.map((line) => ({ ...JSON.parse(line), task: "ks" })),
    );
    // The validation part by the head that was best on it.
    const valid = await evaluateTaskPacks([at("ic.pack")], "valid", evaluated);
    expect(valid.tasks[0].metrics.accuracy).toBe(report.results[1].best!.value);
  });

  test("is a masked model to all who open models, with what it learned from", async () => {
    const masks = readMasks(at("out", "ks", "masks.safetensors"));
    const backbone = openModel(model).store;
    const { store } = openModel(at("ks.pack"));
    for (const name of store.specs.keys()) {
      const mask = masks.masks.find((each) => each.name === name);
      const kept = (i: number) => mask === undefined || ((mask.bits[i >> 3] >> (i & 7)) & 1) === 1;
      expect([name, store.array(name)]).toEqual([
        name,
        backbone.array(name).map((w, i) => (kept(i) ? w : 0)),
      ]);
    }
    unpack(at("ks.pack"), at("dense"));
    expect(openModel(at("dense")).store.weights).toEqual(store.weights);
    const [head, was] = [at("dense"), at("out", "ks")].map((each) =>
      openSafetensors(join(each, "head.safetensors")),
    );
    expect([...head.infos.keys()].sort()).toEqual([...was.infos.keys()].sort());
    for (const name of was.infos.keys()) expect(head.readF32(name)).toEqual(was.readF32(name));
    head.close();
    was.close();
    // What trained on a corpus is not probed on it.
    const [ks] = await tasksNamed("ks")[0].prepare(at("corpora"));
    const tested = { ...ks, parts: { ...ks.parts, test: ks.parts.train } } as ProbeTask;
    for (const each of ["ks.pack", "dense"])
      await expect(probe(at(each), [tested], { threads: 1, steps: 1 })).rejects.toThrow(
        /trained on test utt/,
      );
  });

  test("is compared with other tasks' masks", () => {
    const folders = analyseMasks([at("out", "ks"), at("out", "ic")]);
    expect(folders.tasks).toEqual(["ks", "ic"]);
    expect(analyseMasks([at("ks.pack"), at("ic.pack")]).layers).toEqual(folders.layers);
  });

  test("refuses another backbone, another corpus, and company that it does not share", async () => {
    const other = await tinyRun("other-tasks", { epochs: 1, seed: 9 });
    await expect(
      evaluateTaskPacks([at("ks.pack")], "test", { ...evaluated, backbone: other }),
    ).rejects.toThrow(/belongs to another backbone/);
    expect(() => packTask(at("out", "ks"), at("x.pack"), other)).toThrow(/belongs to another backbone/);
    trees.speechCommands(at("others"));
    rmSync(at("others", "speech_commands_v0.01", "yes", "0f_nohash_0.wav"));
    await expect(
      evaluateTaskPacks([at("ks.pack")], "test", { root: at("others"), threads: 1 }),
    ).rejects.toThrow(/learned ks from another corpus/);
    await expect(
      evaluatePacks([at("ks.pack")], "test", { data: at("corpora"), skipBad: false, log: () => {} }),
    ).rejects.toThrow(/is of a SUPERB task/);
    const run = (...args: string[]) => evalCommand().parseAsync(["node", "eval", ...args]);
    await expect(run("--pack", at("ks.pack"))).rejects.toThrow(/--data: must name the folder/);
    await expect(run("--pack", at("ks.pack"), "--route", "word", "--data", folder)).rejects.toThrow(
      /--route: does not go with packs of SUPERB's tasks/,
    );
  });
});
