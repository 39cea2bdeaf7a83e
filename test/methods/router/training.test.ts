import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { zerosOf } from "../../../src/params/select.ts";
import { evaluateRun } from "../../../src/train/evaluate-run.ts";
import { countBits, readMasks } from "../../../src/train/mask-file.ts";
import { closeStreams, type Prepared, prepare } from "../../../src/train/prepare.ts";
import { parseRecipe } from "../../../src/train/recipe.ts";
import { train } from "../../../src/train/trainer.ts";
import { openWeights } from "../../../src/weights/model-folder.ts";
import { tinyCorpus, tinyRecipe } from "../../train/tiny-corpus.ts";

const corpus = tinyCorpus(2);
const fresh = () => join(mkdtempSync(join(tmpdir(), "router-")), "run");
const recipeOf = (mask: Record<string, unknown>, changes: Record<string, unknown> = {}) =>
  parseRecipe(tinyRecipe({ plan: { mask }, epochs: 3, ...changes }), "tiny.yaml");
const options = { data: corpus.folder, skipBad: false, log: () => {} };
const FFN = /layers\.(\d+)\.feed_forward\.(intermediate_dense|output_dense)\.weight$/;

async function prepared<T>(
  mask: Record<string, unknown>,
  use: (p: Prepared) => T,
  changes: Record<string, unknown> = {},
): Promise<T> {
  const all = await prepare(recipeOf(mask, changes), { ...options, cache: join(corpus.folder, "cache") });
  try {
    return use(all);
  } finally {
    await closeStreams(all.streams);
  }
}

describe("a plan of masks", () => {
  it("trains scores, heads and the mask embedding, and nothing else", async () => {
    await prepared({}, ({ store, masks }) => {
      const trained = [...store.specs.keys()].filter((name) => store.isTrained(name)).sort();
      const matrices = masks!.matrices.map(({ name }) => name);
      expect(matrices).toHaveLength(4);
      expect(matrices.every((name) => FFN.test(name))).toBe(true);
      expect(trained).toEqual(
        [
          ...["heads.word.bias", "heads.word.weight", "lm_head.bias", "lm_head.weight"],
          ...["wav2vec2.masked_spec_embed", ...matrices],
        ].sort(),
      );
      // The scores take the weights' places: no buffer is longer for them.
      const sizes = trained.map((name) => store.specs.get(name)!.shape.reduce((a, b) => a * b, 1));
      expect(store.trainedSize).toBe(sizes.reduce((a, b) => a + b, 0));
      expect(store.gradients.length).toBe(store.trainedSize);
    });
  });

  it("trains what its options add, and refuses what fits nothing", async () => {
    await prepared({ alsoTrain: ["encoder.layer_norm"] }, ({ store }) => {
      expect(store.isTrained("wav2vec2.encoder.layer_norm.bias")).toBe(true);
      expect(store.isTrained("wav2vec2.masked_spec_embed")).toBe(false);
    });
    await expect(prepared({ alsoTrain: ["encoder.nothing"] }, () => 0)).rejects.toThrow(/fits no parameter/);
    await expect(prepared({ layers: [7] }, () => 0)).rejects.toThrow(/no layer 7/);
  });

  it("with sparsity 0 is the model itself, and rates and scopes count as they say", async () => {
    const dense = await prepared({ sparsity: 0 }, ({ store }) => copyOf(store));
    const plain = await prepared({}, ({ store, masks }) => {
      const w: Map<string, Float32Array> = copyOf(store);
      for (const { name } of masks!.matrices) {
        const effective = store.array(name);
        expect(effective.filter((x) => x === 0).length).toBe(zerosOf(0.1, effective.length));
        w.set(name, masks!.weights(name));
      }
      return w;
    });
    for (const [name, values] of dense) expect([name, values]).toEqual([name, plain.get(name)]);

    const rates = [{ match: "encoder.layers.*.output_dense.weight", sparsity: 0.5 }];
    await prepared({ rates }, ({ store, masks }) => {
      for (const { name } of masks!.matrices) {
        const zeros = store.array(name).filter((x) => x === 0).length;
        expect(zeros).toBe(zerosOf(name.includes("output_dense") ? 0.5 : 0.1, 512));
      }
    });
    await prepared({ scope: "global", modules: "both", sparsity: 0.3 }, ({ store, masks }) => {
      const counts = masks!.matrices.map(({ name }) => store.array(name).filter((x) => x === 0).length);
      const entries = masks!.matrices.reduce((sum, { name }) => sum + store.array(name).length, 0);
      expect(counts.reduce((a, b) => a + b, 0)).toBe(zerosOf(0.3, entries));
    });
  });

  it("learns by moving masks alone, and leaves a dense model and its masks", async () => {
    const out = fresh();
    const recipe = recipeOf(
      { sparsity: 0.4, modules: "both" },
      { epochs: 25, optimizer: { name: "adam", lr: 0.01 } },
    );
    const { metrics } = await train(recipe, { ...options, out });
    const start = await prepared({ sparsity: 0.4, modules: "both" }, ({ store, masks }) => ({
      frozen: copyOf(store),
      masks: new Map(masks!.bits().map((m) => [m.name, m.bits])),
      weights: new Map(masks!.matrices.map(({ name }) => [name, masks!.weights(name).slice()])),
    }));
    const stored = readMasks(join(out, "masks.safetensors"));
    const model = openWeights(out);
    let moved = 0;
    for (const { name, bits, kept, shape } of stored.masks) {
      const size = shape[0] * shape[1];
      expect(size - kept).toBe(zerosOf(0.4, size));
      const effective = model.readF32(name);
      const w = start.weights.get(name)!;
      for (let i = 0; i < size; i++) expect(effective[i]).toBe((bits[i >> 3] >> (i & 7)) & 1 ? w[i] : 0);
      const before = start.masks.get(name)!;
      moved += countBits(bits.map((byte, i) => byte ^ before[i]));
    }
    expect(moved).toBeGreaterThan(20);
    for (const name of model.infos.keys())
      if (/layer_norm|feature_extractor|q_proj.bias/.test(name))
        expect([name, model.readF32(name)]).toEqual([name, start.frozen.get(name)]);
    model.close();
    expect(stored.own).toContain("lm_head.weight");
    const log = readFileSync(join(out, "log.jsonl"), "utf8")
      .trim()
      .split("\n")
      .map((l) => JSON.parse(l));
    const losses = log.flatMap((line) => (line.event === "train" ? [line.loss] : []));
    expect(losses.at(-1)).toBeLessThan(0.8 * losses[0]);
    const again = await evaluateRun(out, "test", { ...options, threads: 1 });
    for (const [name, value] of Object.entries(again.metrics)) expect(value).toBe(metrics[`test.${name}`]);
  });

  it("resumed, it is the uninterrupted run bit for bit", async () => {
    const files = ["log.jsonl", "model.safetensors", "heads.safetensors", "masks.safetensors"];
    const bytes = (folder: string) =>
      files.map((name) => readFileSync(join(folder, name)).toString("base64"));
    const recipe = recipeOf({ sparsity: 0.3 }, { epochs: 4, checkpoint: { everySteps: 2 } });
    const [whole, stopped] = [fresh(), fresh()];
    await train(recipe, { ...options, out: whole });
    for (const after of [3, 2, 99]) {
      let asked = 0;
      const signal = Object.defineProperty(new AbortController().signal, "aborted", {
        get: () => ++asked > after,
      });
      await train(recipe, { ...options, out: stopped, signal });
    }
    expect(bytes(stopped)).toEqual(bytes(whole));
  });
});

const copyOf = (store: Prepared["store"]): Map<string, Float32Array> =>
  new Map([...store.specs.keys()].map((name) => [name, store.array(name).slice()]));
