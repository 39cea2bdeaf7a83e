import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { readOnnx } from "../../src/tensor/onnx/read.ts";
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
