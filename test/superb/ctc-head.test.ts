import { expect, test } from "vitest";
import { validFrames } from "../../src/nn/layers.ts";
import * as ops from "../../src/ops/index.ts";
import { ParameterTable } from "../../src/params/params.ts";
import { random } from "../../src/random.ts";
import { compile } from "../../src/runtime/cpu.ts";
import { f32, i32 } from "../../src/runtime/program.ts";
import { ctcLearner, headFor } from "../../src/superb/ctc-task.ts";
import { symbol } from "../../src/tensor/dims.ts";
import type { Tensor } from "../../src/tensor/tensor.ts";
import { evaluationGraph } from "../../src/train/program.ts";
import { ParameterStore } from "../../src/train/store.ts";

const dim = 4;
const learner = ctcLearner({
  head: {
    stack: 2,
    delays: [
      { width: 6, context: 5, dilation: 1 },
      { width: 6, context: 3, dilation: 2 },
    ],
  },
  ...{ symbols: 4, blank: 0, targets: [[1, 2], [3, 1, 2], [2]] },
  read: (item, symbols) => ({ item, symbols }),
  metrics: () => ({}),
});

test("a head of time-delay layers over stacked frames hears no padding, and drops what is no whole frame", async () => {
  const table = new ParameterTable();
  const inputs: Tensor[] = [];
  const declare = (tensor: Tensor) => {
    inputs.push(tensor);
    return tensor;
  };
  const [batch, width] = [symbol("batch"), symbol("frames")];
  const x = declare(ops.input("features", [batch, width, dim]));
  const counts = declare(ops.input("frames", [batch], "i32"));
  const input = { x, frames: counts, valid: validFrames(counts, width) };
  const head = table.at("head");
  const scores = learner.scores(input, head, declare);
  const loss = learner.loss(scores, input, head, declare);
  const store = new ParameterStore(table.specs, () => false);
  store.initialise(3);
  const program = await compile(evaluationGraph(table, { scores, loss }, inputs), { threads: 1 });
  const rng = random(5, "frames");
  const frames = [9, 21, 14];
  const waves = frames.map((count) => Float32Array.from({ length: count * dim }, () => rng.normal()));
  const run = async (items: number[]) => {
    const longest = Math.max(...items.map((item) => frames[item]));
    // What stands behind a recording's end is noise: nobody may hear it.
    const data = Float32Array.from({ length: items.length * longest * dim }, () => 9 * rng.normal());
    for (const [row, item] of items.entries()) data.set(waves[item], row * longest * dim);
    const own = items.map((item) => frames[item]);
    const out = await program.run({
      ...store.values,
      features: f32([items.length, longest, dim], data),
      frames: i32([items.length], own),
      ...learner.feeds(items, own),
    });
    const [, rows, symbols] = out.scores.shape;
    expect(rows).toBe(Math.floor(longest / 2));
    const values = items.map((item, row) => {
      const from = row * rows * symbols;
      const all = out.scores.data as Float32Array;
      return [...all.subarray(from, from + Math.floor(frames[item] / 2) * symbols)];
    });
    const read = items.map((item, row) => {
      const all = (out.scores.data as Float32Array).subarray(
        row * rows * symbols,
        (row + 1) * rows * symbols,
      );
      return learner.read(item, { values: all, shape: [rows, symbols], frames: frames[item] });
    });
    return { values, read, loss: (out.loss.data as Float32Array)[0] };
  };
  const together = await run([0, 1, 2]);
  let sum = 0;
  for (const item of [0, 1, 2]) {
    const alone = await run([item]);
    sum += alone.loss;
    for (const [i, value] of alone.values[0].entries())
      expect(together.values[item][i]).toBeCloseTo(value, 5);
    expect(together.read[item]).toEqual(alone.read[0]);
  }
  expect(together.loss).toBeCloseTo(sum, 4);
  await program.dispose();
});

test("frames are joined up to a length in seconds, and never fewer than one", () => {
  const stacks = (hops: number[], longest?: number) =>
    hops.map((hop) => headFor({ stack: 2, longest }, hop).stack);
  // Log mel, wav2vec 2.0, models/nano, and longer than the bound.
  expect(
    stacks(
      [160, 320, 640, 1280].map((samples) => samples / 16_000),
      0.04,
    ),
  ).toEqual([2, 2, 1, 1]);
  expect(stacks([0.01, 0.04])).toEqual([2, 2]);
  expect(headFor({}, 0.02).stack).toBe(1);
});
