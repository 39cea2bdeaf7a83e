import { copyFileSync, mkdirSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { shrinkRun } from "../../../src/methods/router/shrink.ts";
import { evaluateRun } from "../../../src/train/evaluate-run.ts";
import { exportModel } from "../../../src/train/export.ts";
import { marginals, readMarginals } from "../../../src/train/mask-file.ts";
import { openModel } from "../../../src/train/open-model.ts";
import { parseRecipe } from "../../../src/train/recipe.ts";
import { train } from "../../../src/train/trainer.ts";
import { Inference } from "../../../src/use/inference.ts";
import { tinyCorpus, tinyRecipe } from "../../train/tiny-corpus.ts";

const corpus = tinyCorpus(2);
const folder = mkdtempSync(join(tmpdir(), "shrink-"));
const at = (name: string) => join(folder, name);
const options = { data: corpus.folder, skipBad: false, log: () => {}, threads: 1 };

beforeAll(async () => {
  await train(parseRecipe(tinyRecipe({ epochs: 1, plan: { mask: { sparsity: 0.5 } } }), "tiny.yaml"), {
    ...options,
    out: at("run"),
  });
});

describe("structured pruning", () => {
  it("leaves a smaller model that evaluates", async () => {
    const report = await shrinkRun(at("run"), at("small"), { ffn: 0.5, heads: 0.5, threads: 1 });
    expect([report.channels, report.heads]).toEqual([
      [32, 16],
      [2, 1],
    ]);
    // Two layers lose 16 channels (with a bias each) and a head of width 8 (three biases of 8).
    expect(report.before.parameters - report.after.parameters).toBe(
      2 * (16 * (2 * 16 + 1) + 4 * 8 * 16 + 3 * 8),
    );
    const { metrics } = await evaluateRun(at("small"), "test", options);
    expect(metrics["word.accuracy"]).toBeGreaterThanOrEqual(0);
    const { config } = openModel(at("small")).task.model;
    expect(config).toMatchObject({ intermediate_size: 16, num_attention_heads: 1, head_width: 8 });
  });

  it("takes out what is zero without changing what is heard", async () => {
    // Half of the channels and one of the two heads lead nowhere: they must be the ones to go.
    const model = openModel(at("run"));
    for (const name of model.store.specs.keys()) {
      const w = model.store.array(name);
      if (/intermediate_dense.weight$/.test(name))
        for (let c = 0; c < 32; c += 2) w.fill(0, c * 16, (c + 1) * 16);
      if (/output_dense.weight$/.test(name)) for (let i = 0; i < w.length; i++) if (i % 2 === 0) w[i] = 0;
      if (/(q|k|v)_proj.weight$/.test(name)) w.fill(0, 0, w.length / 2);
      if (/out_proj.weight$/.test(name)) for (let i = 0; i < w.length; i++) if (i % 16 < 8) w[i] = 0;
    }
    mkdirSync(at("zeroed"));
    exportModel(at("zeroed"), model.task, model.store, { spec: model.audio });
    for (const file of ["recipe.yaml", "run.json"])
      copyFileSync(join(at("run"), file), join(at("zeroed"), file));
    await shrinkRun(at("zeroed"), at("less"), { ffn: 0.5, heads: 0.5, threads: 1 });
    const wave = Float32Array.from({ length: 4000 }, (_, i) => Math.sin(i / 9));
    const heard = [];
    for (const name of ["zeroed", "less"]) {
      const inference = await Inference.open(at(name), { threads: 1 });
      heard.push((await inference.hear(wave)).scores);
      await inference.dispose();
    }
    for (const [name, { data }] of Object.entries(heard[0]))
      for (const [i, value] of (data as Float32Array).entries())
        expect((heard[1][name].data as Float32Array)[i]).toBeCloseTo(value, 5);
  });

  it("goes by the scores that a run learned, where it learned them", async () => {
    const path = join(at("run"), "masks.safetensors");
    await shrinkRun(at("run"), at("scored"), { ffn: 0.25, heads: 0, by: "scores", threads: 1 });
    const [whole, small] = [openModel(at("run")).store, openModel(at("scored")).store];
    const scores = readMarginals(path);
    for (const layer of [0, 1]) {
      const block = `wav2vec2.encoder.layers.${layer}.feed_forward`;
      const [into, from] = ["intermediate_dense", "output_dense"].map(
        (part) => scores.get(`${block}.${part}.weight`)!,
      );
      const share = (sums: Float32Array) => sums.map((x) => x / sums.reduce((a, b) => a + b, 0));
      const importance = share(into.outputs).map((x, c) => x + share(from.inputs)[c]);
      const kept = [...importance.keys()].sort((a, b) => importance[b] - importance[a]).slice(0, 24);
      const bias = whole.array(`${block}.intermediate_dense.bias`);
      expect([...small.array(`${block}.intermediate_dense.bias`)]).toEqual(
        kept.sort((a, b) => a - b).map((c) => bias[c]),
      );
    }
    // Only feed-forward blocks were masked.
    await expect(shrinkRun(at("run"), at("no"), { ffn: 0, heads: 0.5, by: "scores" })).rejects.toThrow(
      /no scores for .*attention/,
    );
    await expect(shrinkRun(at("zeroed"), at("no"), { ffn: 0.5, heads: 0, by: "scores" })).rejects.toThrow(
      /only runs with a `plan.mask` have scores/,
    );
  });

  it("adds up the magnitudes of a matrix by output and by input", () => {
    expect(marginals(Float32Array.of(1, -2, 3, 4, -5, 6), [2, 3])).toEqual({
      outputs: Float32Array.of(6, 15),
      inputs: Float32Array.of(5, 7, 9),
    });
  });

  it("refuses what is no run", async () => {
    await expect(
      shrinkRun(join(at("run"), "model.safetensors"), at("no"), { ffn: 0.5, heads: 0 }),
    ).rejects.toThrow();
  });
});
