import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { constantInit, ParameterTable } from "../../../src/params/params.ts";
import { zerosOf } from "../../../src/params/select.ts";
import { random } from "../../../src/random.ts";
import { closeStreams, prepare } from "../../../src/train/prepare.ts";
import { Pruner, type PruneSpec } from "../../../src/train/pruning.ts";
import { parseRecipe } from "../../../src/train/recipe.ts";
import { ParameterStore } from "../../../src/train/store.ts";
import { train } from "../../../src/train/trainer.ts";
import { openWeights } from "../../../src/weights/model-folder.ts";
import { tinyCorpus, tinyRecipe } from "../../train/tiny-corpus.ts";

const corpus = tinyCorpus(2);
const fresh = () => join(mkdtempSync(join(tmpdir(), "pruning-")), "run");
const options = { data: corpus.folder, skipBad: false, log: () => {} };
const recipeOf = (prune: Record<string, unknown>, changes: Record<string, unknown> = {}) =>
  parseRecipe(tinyRecipe({ plan: { freeze: [], prune }, epochs: 5, ...changes }), "tiny.yaml");

const SHAPES = {
  "layers.0.feed_forward.intermediate_dense.weight": [6, 5],
  "layers.0.feed_forward.intermediate_dense.bias": [6],
  "layers.0.attention.q_proj.weight": [5, 5],
  "layers.0.attention.q_proj.bias": [5],
  "layers.0.layer_norm.weight": [5],
};

function pruner(changes: Partial<PruneSpec>, totalSteps = 100) {
  const spec = recipeOf({ sparsity: 0.5, ...changes }).plan.prune!;
  const table = new ParameterTable();
  for (const [name, shape] of Object.entries(SHAPES)) table.get(name, shape, constantInit(0));
  const store = new ParameterStore(table.specs, () => true);
  const rng = random("weights");
  for (let i = 0; i < store.weights.length; i++) store.weights[i] = rng.normal();
  const training = new Map(
    Object.keys(SHAPES).map((name) => [name, { frozen: false, lr: 1, weightDecay: 0 }]),
  );
  const zeros = (name: keyof typeof SHAPES) => store.array(name).filter((w) => w === 0).length;
  return { store, zeros, pruner: new Pruner(spec, store, training, totalSteps) };
}
const [FFN, Q] = [
  "layers.0.feed_forward.intermediate_dense.weight",
  "layers.0.attention.q_proj.weight",
] as const;

describe("magnitude pruning", () => {
  it("ranks all together, biases too, as PARP's code does; or each matrix by itself", () => {
    const all = pruner({});
    const before = new Map(Object.keys(SHAPES).map((name) => [name, all.store.array(name).slice()]));
    all.pruner.after(0);
    const pruned = Object.keys(SHAPES).filter((name) => !name.includes("norm"));
    const values = pruned.flatMap((name) => [...before.get(name)!]);
    const cut = values.map(Math.abs).sort((a, b) => a - b)[zerosOf(0.5, values.length)];
    for (const name of pruned)
      expect([...all.store.array(name)]).toEqual(
        [...before.get(name)!].map((w) => (Math.abs(w) < cut ? 0 : w)),
      );
    expect(all.zeros("layers.0.layer_norm.weight")).toBe(0);

    const each = pruner({ scope: "matrix", biases: false });
    each.pruner.after(0);
    expect([each.zeros(FFN), each.zeros(Q)]).toEqual([15, 12]);
    expect(each.zeros("layers.0.attention.q_proj.bias")).toBe(0);
    const ffn = pruner({ modules: "ffn", sparsity: 0, biases: false });
    ffn.pruner.after(0);
    expect([ffn.zeros(FFN), ffn.zeros(Q)]).toEqual([0, 0]);
  });

  it("PARP: zeroed weights train on until the next pruning, which falls before each evaluation too", () => {
    const { pruner: parp, store, zeros } = pruner({ scope: "matrix", biases: false, every: 10 });
    parp.after(0);
    expect(zeros(Q)).toBe(12);
    store.array(Q).fill(0.01);
    for (let step = 1; step < 10; step++) parp.after(step);
    expect(zeros(Q)).toBe(0);
    parp.after(10);
    expect(zeros(Q)).toBe(12);
    store.array(Q).fill(0.01);
    parp.after(11, true);
    expect(zeros(Q)).toBe(12);
  });

  it("PARP-P: the sparsity rises in a straight line", () => {
    const { pruner: rising } = pruner({ sparsity: 0.8, initial: 0.2, start: 0.1, until: 0.5 });
    expect([0, 9, 10, 30, 50, 100].map((step) => rising.sparsityAt(step))).toEqual([
      0, 0, 0.2, 0.5, 0.8, 0.8,
    ]);
    expect([49, 50].map((step) => rising.reached(step))).toEqual([false, true]);
  });

  it("one-shot: nothing is pruned before its time, and what is pruned stays zero", () => {
    const {
      pruner: once,
      store,
      zeros,
    } = pruner({ start: 0.5, zeros: "hold", scope: "matrix", biases: false });
    for (let step = 0; step < 50; step++) once.after(step, true);
    expect(zeros(Q)).toBe(0);
    once.after(50);
    const kept = [...store.array(Q)].map((w) => w !== 0);
    for (let step = 51; step < 80; step++) {
      for (let i = 0; i < 25; i++) store.array(Q)[i] += 0.1 * (i + 1);
      once.after(step);
      expect([...store.array(Q)].map((w) => w !== 0)).toEqual(kept);
    }
    expect(() => recipeOf({ sparsity: 0.5, start: 0.6, until: 0.5 })).toThrow(/must not come after/);
  });
});

describe("a pruned run", () => {
  it.each([
    ["PARP", { sparsity: 0.4, every: 3 }],
    ["PARP-P", { sparsity: 0.6, initial: 0.1, until: 0.6, every: 2 }],
    ["one-shot", { sparsity: 0.5, start: 0.4, zeros: "hold" }],
    ["iterative", { sparsity: 0.7, start: 0.2, initial: 0.2, until: 0.8, every: 3, zeros: "hold" }],
  ])("%s: has the sparsity that was asked for, and resumes bit for bit", async (_, prune) => {
    const recipe = recipeOf(prune, { checkpoint: { everySteps: 2 } });
    const [whole, stopped] = [fresh(), fresh()];
    await train(recipe, { ...options, out: whole });
    const model = openWeights(whole);
    const names = [...model.infos.keys()].filter(
      (name) => /(_proj|_dense)\.(weight|bias)$/.test(name) && /layers/.test(name),
    );
    const weights = names.flatMap((name) => [...model.readF32(name)]);
    expect(names).toHaveLength(2 * 6 * 2);
    expect(weights.filter((w) => w === 0).length).toBe(zerosOf(prune.sparsity, weights.length));
    model.close();
    for (const after of [5, 99]) {
      let asked = 0;
      const signal = Object.defineProperty(new AbortController().signal, "aborted", {
        get: () => ++asked > after,
      });
      await train(recipe, { ...options, out: stopped, signal });
    }
    const bytes = (folder: string) =>
      ["log.jsonl", "model.safetensors"].map((name) => readFileSync(join(folder, name)).toString("base64"));
    expect(bytes(stopped)).toEqual(bytes(whole));
  });

  it("refuses to prune what is frozen", async () => {
    const recipe = recipeOf(
      { sparsity: 0.5 },
      { plan: { freeze: ["encoder.layers.0"], prune: { sparsity: 0.5 } } },
    );
    const open = prepare(recipe, { ...options, cache: join(corpus.folder, "cache") });
    await expect(open.then(({ streams }) => closeStreams(streams))).rejects.toThrow(
      /is frozen; only weights that train/,
    );
  });
});
