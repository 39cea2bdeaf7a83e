import * as ops from "../src/ops/index.ts";
import { optimise } from "../src/tensor/compile.ts";
import { onnxModel } from "../src/tensor/onnx/write.ts";
import { compileTraining, trainingGraph } from "../src/train/program.ts";
import type { BenchOptions } from "./options.ts";
import { baseConfig } from "./ours/model.ts";
import { type TrainingSettings, traceStep } from "./ours/training.ts";

/** From the model's code to a session that can run, for a training step of wav2vec2-base: its nodes, and seconds of each build. */
export async function benchBuild({ json, rounds, threads, only }: BenchOptions): Promise<void> {
  for (const dropout of ["zero", "default"] as const)
    for (const mode of ["fast", "small"] as const) {
      const name = `build: wav2vec2-base, frozen extractor, ${dropout === "zero" ? "no" : "default"} dropout`;
      if (!`${name} ${mode}`.includes(only)) continue;
      const settings: TrainingSettings = { mode, train: "frozen-extractor", threads };
      const config = baseConfig(dropout);
      const seconds: number[] = [];
      for (let round = 0; round < rounds; round++) {
        const start = performance.now();
        const { table, step, options } = traceStep(config, settings);
        const program = await compileTraining(table, step, options);
        seconds.push(Math.round(performance.now() - start) / 1000);
        await program.dispose();
      }
      const { table, step, options } = traceStep(config, settings);
      const graph = optimise(trainingGraph(table, step, options), ops.constant);
      const nodes = onnxModel(graph, { target: { contrib: true } }).graph!.node.length;
      if (json) console.log(JSON.stringify({ name, mode, nodes, seconds }));
      else
        console.log(`${name} | ${mode} | ${nodes} nodes | ${seconds.map((s) => s.toFixed(2)).join(", ")} s`);
    }
}
