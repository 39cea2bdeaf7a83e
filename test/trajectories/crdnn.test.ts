import { expect, test } from "vitest";
import { firstState, remember, write } from "../../src/nn/attention-decoder.ts";
import { crdnn, pooledFrames, pooledValid } from "../../src/nn/crdnn.ts";
import { validFrames } from "../../src/nn/layers.ts";
import { recurrentLm, recurrentLmStep } from "../../src/nn/recurrent-lm.ts";
import { smoothedCrossEntropy } from "../../src/nn/translation.ts";
import * as ops from "../../src/ops/index.ts";
import { ParameterTable } from "../../src/params/params.ts";
import { f32, i32, type Value } from "../../src/runtime/program.ts";
import { symbol } from "../../src/tensor/dims.ts";
import type { Tensor } from "../../src/tensor/tensor.ts";
import { against, expectClose, fixture, runOnce, type Stored, stored } from "./reference.ts";

// What PyTorch makes of utterances one at a time, held against ours in a padded batch: values and gradients.

interface Case<Config> {
  config: Config;
  parameters: Record<string, Stored>;
  gradients: Record<string, Stored>;
}

const reference = fixture<{
  crdnn: Case<Parameters<typeof crdnn>[2]> & { lengths: number[] } & Record<"x" | "y" | "dy" | "dx", Stored>;
  decoder: Case<Parameters<typeof remember>[2]> & { frames: number[]; counts: number[] } & Record<
      "previous" | "labels" | "encoded" | "dencoded" | "logits" | "attentions" | "losses",
      Stored
    >;
  languageModel: Case<Parameters<typeof recurrentLm>[1]> & { counts: number[] } & Record<
      "previous" | "labels" | "logits" | "losses",
      Stored
    >;
}>("crdnn.json");

const integers = ({ shape, data }: Stored): Value => i32(shape, [...data]);

/** Runs with the case's parameters and compares the gradient of each. */
async function check(
  c: Case<unknown>,
  table: ParameterTable,
  loss: Tensor,
  outputs: Record<string, Tensor>,
  inputs: readonly Tensor[],
  feeds: Record<string, Value>,
): Promise<Record<string, Value>> {
  expect([...table.specs.keys()].sort()).toEqual(Object.keys(c.parameters).sort());
  const names = [...table.inputs.keys()];
  const { wrt } = ops.gradients(loss, [...table.inputs.values(), ...inputs.filter((t) => t.dtype === "f32")]);
  const gradients = Object.fromEntries(names.map((name, i) => [`d.${name}`, wrt[i]!]));
  for (const [i, input] of inputs.filter((t) => t.dtype === "f32").entries()) {
    const dx = wrt[names.length + i];
    if (dx !== undefined) gradients[`d.${(input.node.attrs as { name: string }).name}`] = dx;
  }
  const values = Object.fromEntries(names.map((name) => [name, stored(c.parameters[name])]));
  const all = [...table.inputs.values(), ...inputs];
  const results = await runOnce({ ...outputs, ...gradients }, all, { ...values, ...feeds });
  for (const name of names) expectClose(results[`d.${name}`], c.gradients[name], 1e-5);
  return results;
}

test("a CRDNN, three lengths in one batch", async () => {
  const c = reference.crdnn;
  const table = new ParameterTable();
  const [batch, frames] = [symbol("batch"), symbol("frames")];
  const x = ops.input("x", [batch, frames, 9]);
  const dy = ops.input("dy", [batch, pooledFrames(frames, 2), 5]);
  const counts = ops.input("counts", [batch], "i32");
  const valid = validFrames(counts, frames);
  const y = crdnn(x, valid, c.config, table);
  const kept = ops.where(ops.reshape(pooledValid(valid, 2), [...y.shape.slice(0, 2), 1]), y, 0);
  const results = await check(c, table, against(kept, dy), { y: kept }, [x, dy, counts], {
    ...{ x: stored(c.x), dy: stored(c.dy), counts: i32([3], c.lengths) },
  });
  expectClose(results.y, c.y, 1e-5);
  expectClose(results["d.x"], c.dx, 1e-5);
});

const smoothing = (rate: number, symbols: number) => (rate * (symbols - 1)) / symbols;

test("a location-aware attention decoder, two lengths in one batch", async () => {
  const c = reference.decoder;
  const { symbols } = c.config;
  const table = new ParameterTable();
  const [batch, length] = [symbol("batch"), symbol("length")];
  const encoded = ops.input("encoded", [batch, symbol("frames"), 3]);
  const [frames, counts] = ["frames", "counts"].map((name) => ops.input(name, [batch], "i32"));
  const [previous, labels] = ["previous", "labels"].map((name) => ops.input(name, [batch, length], "i32"));
  const memory = remember(encoded, frames, c.config, table);
  const { logits, states } = write(previous, memory, firstState(memory, c.config), c.config, table);
  const sums = smoothedCrossEntropy(logits, labels, counts, smoothing(0.1, symbols));
  const each = ops.div(sums, ops.cast(counts, "f32"));
  const feeds = { frames: i32([2], c.frames), counts: i32([2], c.counts), encoded: stored(c.encoded) };
  const results = await check(
    c,
    table,
    ops.reduceMean(each, [0]),
    { logits, each, attentions: ops.transpose(states.attention, [1, 0, 2]) },
    [encoded, frames, counts, previous, labels],
    { ...feeds, previous: integers(c.previous), labels: integers(c.labels) },
  );
  expectClose(results.each, c.losses, 1e-5);
  expectClose(results["d.encoded"], c.dencoded, 1e-5);
  // Behind an utterance's last symbol PyTorch computed nothing.
  for (const [name, want] of [
    ["logits", c.logits],
    ["attentions", c.attentions],
  ] as const) {
    const [, steps, width] = want.shape;
    const data = Array.from(results[name].data as Float32Array, (v, i) =>
      Math.floor(i / width) % steps < c.counts[Math.floor(i / (steps * width))] ? v : 0,
    );
    expectClose({ ...results[name], data: Float32Array.from(data) }, want, 1e-5);
  }
});

test("a recurrent language model, whole sequences and symbol by symbol", async () => {
  const c = reference.languageModel;
  const { rnnLayers, rnnNeurons } = c.config;
  const table = new ParameterTable();
  const [batch, length] = [symbol("batch"), symbol("length")];
  const counts = ops.input("counts", [batch], "i32");
  const [previous, labels] = ["previous", "labels"].map((name) => ops.input(name, [batch, length], "i32"));
  const logits = recurrentLm(previous, c.config, table);
  const losses = smoothedCrossEntropy(logits, labels, counts, 0);
  const mean = ops.div(ops.sumAll(losses), ops.sumAll(ops.cast(counts, "f32")));
  const feeds = { counts: i32([2], c.counts), previous: integers(c.previous), labels: integers(c.labels) };
  const inputs = [counts, previous, labels];
  const results = await check(c, table, mean, { losses, logits }, inputs, feeds);
  expectClose(results.losses, c.losses, 1e-5);

  // The first sequence again, a symbol at a time.
  const one = new ParameterTable();
  const newest = ops.input("newest", [1], "i32");
  const states = Array.from({ length: rnnLayers }, (_, i) => ({
    hidden: ops.input(`hidden.${i}`, [1, rnnNeurons]),
    cell: ops.input(`cell.${i}`, [1, rnnNeurons]),
  }));
  const step = recurrentLmStep(newest, states, c.config, one);
  const outputs: Record<string, Tensor> = { logits: step.logits };
  for (const [i, { hidden, cell }] of step.states.entries())
    Object.assign(outputs, { [`next.hidden.${i}`]: hidden, [`next.cell.${i}`]: cell });
  const given = [...one.inputs.values(), newest, ...states.flatMap(({ hidden, cell }) => [hidden, cell])];
  const weights = Object.fromEntries([...one.specs.keys()].map((name) => [name, stored(c.parameters[name])]));
  let memory: Record<string, Value> = Object.fromEntries(
    states.flatMap((_, i) =>
      [`hidden.${i}`, `cell.${i}`].map((name) => [name, f32([1, rnnNeurons], new Float32Array(rnnNeurons))]),
    ),
  );
  for (const [at, token] of c.previous.data.slice(0, 4).entries()) {
    const made = await runOnce(outputs, given, { ...weights, newest: i32([1], [token]), ...memory });
    expectClose(made.logits, { shape: [1, 5], data: c.logits.data.slice(5 * at, 5 * at + 5) }, 1e-5);
    memory = Object.fromEntries(Object.keys(memory).map((name) => [name, made[`next.${name}`]]));
  }
});
