import { mkdtempSync, rmSync, statSync } from "node:fs";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { shrinkRun } from "../src/methods/router/shrink.ts";
import { magnitudeMask } from "../src/params/mask.ts";
import { zerosOf } from "../src/params/select.ts";
import { random } from "../src/random.ts";
import { matricesOf } from "../src/train/masks.ts";
import { type OpenedModel, openModel } from "../src/train/open-model.ts";
import { exportOnnx } from "../src/use/onnx/export.ts";
import { OnnxModel } from "../src/use/onnx/model.ts";
import type { BenchOptions } from "./options.ts";
import { randomRun } from "./ours/random-run.ts";
import { median } from "./worker-process.ts";

const SECONDS = 10;
const RATE = 16_000;
/** Shares of feed-forward channels and of attention heads that are taken out of each layer. */
const CUTS = [
  [0.25, 0],
  [0.5, 0],
  [0.5, 0.5],
  [0.75, 0.75],
] as const;

/**
 * What sparsity buys after export, at wav2vec2-base's size with random weights: scattered zeros, and whole channels and heads
 * taken out. Forward passes over 10 s take turns, so that ratios mean something on a busy machine.
 */
export async function benchStructured({ json, rounds, threads, only }: BenchOptions): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "bench-structured-"));
  const load = loadavg()[0];
  try {
    const run = join(folder, "run");
    randomRun(run);
    const rows: { name: string; parameters: number; megabytes: number; onnx: OnnxModel; times: number[] }[] =
      [];
    const add = async (name: string, model: OpenedModel) => {
      const { files } = await exportOnnx(join(folder, `onnx-${rows.length}`), model, {
        opset: 21,
        quantize: false,
      });
      const megabytes = files.reduce((sum, file) => sum + statSync(file).size, 0) / 1e6;
      const onnx = await OnnxModel.open(files[0], { threads });
      rows.push({ name, parameters: model.store.weights.length, megabytes, onnx, times: [] });
    };
    await add("dense", openModel(run));
    await add("half of the weights of all matrices 0, scattered", scattered(openModel(run), 0.5));
    for (const [ffn, heads] of CUTS) {
      const name = `without ${100 * ffn} % of channels, ${100 * heads} % of heads`;
      if (!name.includes(only)) continue;
      const out = join(folder, `small-${rows.length}`);
      await shrinkRun(run, out, { ffn, heads, threads });
      await add(name, openModel(out));
    }
    const rng = random("structured");
    const audio = Float32Array.from({ length: SECONDS * RATE }, () => rng.normal());
    for (let round = 0; round <= rounds; round++)
      for (const { onnx, times } of rows) {
        const began = performance.now();
        await onnx.hear(audio);
        if (round > 0) times.push(performance.now() - began);
      }
    const [dense] = rows;
    for (const { name, parameters, megabytes, onnx, times } of rows) {
      await onnx.dispose();
      const row = {
        name: `structured: ${name}`,
        parametersM: Math.round(parameters / 1e5) / 10,
        onnxMB: Math.round(megabytes),
        forwardMs: Math.round(median(times)),
        faster: Math.round(100 * median(times.map((time, i) => dense.times[i] / time))) / 100,
        load,
      };
      console.log(
        json
          ? JSON.stringify(row)
          : `${row.name} | ${row.parametersM} M parameters, ${row.onnxMB} MB | ${row.forwardMs} ms over ${SECONDS} s, ${row.faster} times as fast as dense | load ${load.toFixed(1)}`,
      );
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The same model with so many of its smallest weights at 0. */
function scattered(model: OpenedModel, sparsity: number): OpenedModel {
  for (const { name } of matricesOf(model.store.specs.keys(), { modules: "both", layers: "all" })) {
    const weights = model.store.array(name);
    const kept = new Float32Array(weights.length);
    magnitudeMask([weights], [kept], zerosOf(sparsity, weights.length));
    for (let i = 0; i < weights.length; i++) weights[i] *= kept[i];
  }
  return model;
}
