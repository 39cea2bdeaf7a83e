import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import * as ops from "../../src/ops/index.ts";
import { optimise } from "../../src/tensor/compile.ts";
import { symbol } from "../../src/tensor/dims.ts";
import { readOnnx } from "../../src/tensor/onnx/read.ts";
import { recompute } from "../../src/tensor/passes/recompute.ts";
import { region, type Tensor, topological } from "../../src/tensor/tensor.ts";
import { compileTraining } from "../../src/train/program.ts";
import { gradientsInto, tinyBatch, tinyModel, tinyStore } from "../tiny/tiny-model.ts";

// With dropout: a recomputed layer must draw the very masks of its first pass.
const model = tinyModel({ dropout: 0.1 });
const folder = mkdtempSync(join(tmpdir(), "recompute-"));

/** One step, and how often the runtime's own optimised graph holds each type of node. */
async function step(name: string, layers: RegExp | undefined) {
  const store = tinyStore(model);
  const optimizedPath = join(folder, `${name}.onnx`);
  const program = await compileTraining(model.table, model.traced, {
    trained: () => true,
    threads: 1,
    optimizedPath,
    ...(layers ? { recompute: (region) => layers.test(region.name) } : {}),
  });
  const { loss } = await program.run({ ...store.values, ...tinyBatch(model) }, gradientsInto(store));
  await program.dispose();
  const count = new Map<string, number>();
  for (const { type } of readOnnx(readFileSync(optimizedPath)).graph.nodes)
    count.set(type, (count.get(type) ?? 0) + 1);
  return {
    loss: Number(loss.data[0]),
    gradients: store.gradients,
    of: (type: string) => count.get(type) ?? 0,
  };
}

test("gradients stay, and the runtime does not merge what is computed twice", async () => {
  const kept = await step("kept", undefined);
  const first = await step("first", /^encoder\.layers\.0$/);
  const both = await step("both", /^encoder\.layers\./);
  const everything = await step("everything", /./);
  for (const other of [first, both, everything]) {
    expect(other.loss).toBe(kept.loss);
    let [difference, size] = [0, 0];
    for (const [i, g] of kept.gradients.entries()) {
      difference += (g - other.gradients[i]) ** 2;
      size += g * g;
    }
    expect(Math.sqrt(difference / size)).toBeLessThan(1e-6);
  }
  // One softmax of attention for each layer that is recomputed: merged ones would leave the counts alike.
  expect(first.of("Softmax")).toBe(kept.of("Softmax") + 1);
  expect(both.of("Softmax")).toBe(kept.of("Softmax") + 2);
  expect(everything.of("Conv")).toBeGreaterThan(kept.of("Conv"));
  // Masks are drawn again, from hashes that are small enough to keep.
  expect(everything.of("GreaterOrEqual")).toBeGreaterThan(kept.of("GreaterOrEqual"));
  expect(everything.of("BitwiseXor")).toBe(kept.of("BitwiseXor"));
});

test("a clone waits for the gradient even where one of its inputs is made of parameters alone", () => {
  const x = ops.input("x", [symbol("batch"), 4]);
  const scale = ops.input("scale", [4]);
  const y = region("inner", () => ops.add(ops.tanh(ops.mul(ops.exp(scale), x)), 1));
  const loss = ops.reduceSum(y, [0, 1]);
  const { wrt, of } = ops.gradients(loss, [scale]);
  const graph = {
    inputs: [
      { name: "x", tensor: x },
      { name: "scale", tensor: scale },
    ],
    outputs: [
      { name: "loss", tensor: loss },
      { name: "grad", tensor: wrt[0]! },
    ],
    late: ["grad"],
  };
  const again = recompute(graph, { forward: [loss], gradientOf: of, chosen: () => true }, ops.after);
  const written = optimise(again, ops.constant).outputs.map(({ tensor }) => tensor);
  // What is merged with the forward pass, by us or by the runtime, is counted once.
  const count = (tensors: readonly Tensor[], name: string) =>
    topological(tensors).filter(({ op }) => op.name === name).length;
  const before = optimise(graph, ops.constant).outputs.map(({ tensor }) => tensor);
  expect(count(written, "exp")).toBe(count(before, "exp"));
  expect(count(written, "mul")).toBe(count(before, "mul") + 1);
  expect(count(written, "tanh")).toBe(count(before, "tanh") + 1);
});
