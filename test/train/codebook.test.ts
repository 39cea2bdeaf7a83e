import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import * as ops from "../../src/ops/index.ts";
import { ParameterTable } from "../../src/params/params.ts";
import { symbol } from "../../src/tensor/dims.ts";
import { openListener } from "../../src/train/listener.ts";
import { closeStreams, prepare } from "../../src/train/prepare.ts";
import { parseRecipe } from "../../src/train/recipe.ts";
import { train } from "../../src/train/trainer.ts";
import { upstreamOf } from "../../src/upstreams/index.ts";
import { type TensorEntry, writeSafetensors } from "../../src/weights/safetensors.ts";
import { fixture } from "../trajectories/reference.ts";
import { type TinyCorpus, tinyCorpus, tinyRecipe } from "./tiny-corpus.ts";

// scripts/reference/codebook-labels.py: the same weights and audio by the same formulas, in transformers and PyTorch.
const reference = fixture<{
  config: Record<string, unknown>;
  clusters: number;
  size: number;
  bias: number[];
  waves: { samples: number; step: number; labels: number[]; margins: number[] }[];
}>("codebook.json");

const folder = mkdtempSync(join(tmpdir(), "codebook-"));
let corpus: TinyCorpus;

/** w[i] by the parameter's name, as the script fills its modules. */
function filled(name: string, shape: readonly number[]): TensorEntry {
  const size = shape.reduce((a, b) => a * b, 1);
  const code = [...name].reduce((sum, c) => sum + c.charCodeAt(0), 0) % 97;
  const base =
    name.includes("layer_norm") && name.endsWith("weight") ? 1 : name.endsWith("original0") ? 1.5 : 0;
  const data = Float32Array.from({ length: size }, (_, i) => base + 0.3 * Math.sin(code + 1.7 * i));
  return { name, shape, dtype: "F32", data };
}

beforeAll(() => {
  corpus = tinyCorpus(1);
  const { config, clusters, size, bias } = reference;
  const full = { model_type: "hubert", ...config };
  const upstream = upstreamOf(full, "codebook");
  const table = new ParameterTable();
  upstream.forward({ audio: ops.input("audio", [1, symbol("samples")]) }, table.at(upstream.prefix));
  writeFileSync(join(folder, "config.json"), JSON.stringify(full));
  const weights = [...table.specs.values()].map(({ name, shape }) => filled(name, shape));
  writeSafetensors(join(folder, "model.safetensors"), [
    ...weights,
    filled("final_proj.weight", [size, 16]),
    { name: "final_proj.bias", shape: [size], dtype: "F32", data: Float32Array.from(bias) },
    filled("label_embs_concat", [clusters, size]),
  ]);
});
afterAll(() => {
  for (const each of [folder, corpus.folder]) rmSync(each, { recursive: true });
});

it("names the code that transformers and PyTorch name", async () => {
  const listener = await openListener(folder, "codebook");
  expect([listener.codes, listener.codeSize]).toEqual([reference.clusters, reference.size]);
  let [named, codes] = [0, new Set<number>()];
  for (const { samples, step, labels, margins } of reference.waves) {
    const wave = Float32Array.from(
      { length: samples },
      (_, i) => Math.sin(step * i) * Math.cos(0.0031 * i) + 0.5 * Math.sin(1e-4 * step * i * i),
    );
    const { data } = await listener.hidden(wave);
    expect(data.length).toBe(labels.length);
    for (const [t, label] of labels.entries()) {
      // Cosines nearer to each other than this may change places between float32 and float64.
      if (margins[t] < 1e-4) continue;
      expect(data[t]).toBe(label);
      named++;
      codes = codes.add(label);
    }
  }
  await listener.close();
  expect(named).toBeGreaterThan(90);
  expect(codes.size).toBeGreaterThan(3);
});

const recipeOf = (changes: Record<string, unknown> = {}) =>
  parseRecipe(
    tinyRecipe({
      upstream: { model: folder },
      objectives: { units: { loss: "masked-prediction", clusters: { of: "codebook" }, ...changes } },
      augment: { timeMask: { prob: 0.6, length: 2, minMasks: 2 }, channelMask: { prob: 0 } },
      ...{ optimizer: { name: "adam", lr: 0.01 }, batch: { size: 4 }, epochs: 8 },
    }),
    "tiny.yaml",
  );
const options = () => ({ data: corpus.folder, skipBad: false, log: () => {} });

it("labels by the model as it was, heard whole: the same at every start, whatever the run has learned since", async () => {
  const labelsOf = async () => {
    const { streams } = await prepare(recipeOf(), { ...options(), cache: folder });
    await closeStreams(streams);
    return streams[0].items.map(({ targets }) => [...targets.units]);
  };
  const before = await labelsOf();
  expect(before.flat().length).toBeGreaterThan(50);
  const signal = new AbortController().signal;
  let asked = 0;
  Object.defineProperty(signal, "aborted", { get: () => ++asked > 3 });
  const out = join(folder, "run");
  const stopped = await train(recipeOf(), { ...options(), out, signal });
  expect(stopped.status).toBe("interrupted");
  expect(stopped.step).toBeGreaterThan(0);
  expect(await labelsOf()).toEqual(before);
  const { status } = await train(recipeOf(), { ...options(), out });
  expect(status).toBe("finished");
  expect(await labelsOf()).toEqual(before);
}, 60_000);

it("a new linear head learns the model's own codes (Speech-FT, appendix E)", async () => {
  const { metrics } = await train(recipeOf({ logits: "linear" }), {
    ...options(),
    out: join(folder, "linear"),
  });
  expect(metrics["test.units.accuracy"]).toBeGreaterThan(2 / reference.clusters);
  expect(metrics["test.units.loss"]).toBeLessThan(Math.log(reference.clusters));
}, 60_000);
