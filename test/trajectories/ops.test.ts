import { describe, expect, test } from "vitest";
import { ACTIVATIONS, linear, maskedMean, validFrames } from "../../src/nn/layers.ts";
import { crossEntropy, ctc } from "../../src/nn/losses.ts";
import * as ops from "../../src/ops/index.ts";
import { ParameterTable } from "../../src/params/params.ts";
import { f32, i32, type Value } from "../../src/runtime/program.ts";
import { symbol } from "../../src/tensor/dims.ts";
import type { Tensor } from "../../src/tensor/tensor.ts";
import { against, expectClose, fixture, runOnce, type Stored, stored } from "./reference.ts";

interface CtcCase {
  name: string;
  blank: number;
  zeroInfinity: boolean;
  frames: number[];
  targets: number[][];
  logits: Stored;
  losses: { shape: number[]; data: (number | null)[] };
  sum: number | null;
  gradSum: Stored | null;
  mean: number | null;
  gradMean: Stored | null;
}
interface Norm {
  groups?: number;
  eps: number;
  x: Stored;
  weight: Stored;
  bias: Stored;
  dy: Stored;
  y: Stored;
  dx: Stored;
  dweight: Stored;
  dbias: Stored;
}
interface Pooled {
  frames: number[];
  labels: number[];
  reduction: "mean" | "sum";
  loss: number;
  hidden: Stored;
  weight: Stored;
  bias: Stored;
  logits: Stored;
  dhidden: Stored;
  dweight: Stored;
  dbias: Stored;
}
const reference = fixture<{
  ctc: CtcCase[];
  pooledCrossEntropy: Pooled[];
  layerNorm: Norm[];
  groupNorm: Norm[];
  activations: { name: string; x: Stored; y: Stored; slope: Stored }[];
}>("ops.json");

function ctcInputs([batch, frames, vocabulary]: readonly number[], targets: readonly number[][]) {
  const widest = Math.max(1, ...targets.map((t) => t.length));
  const tensors = {
    logits: ops.input("logits", [symbol("batch"), symbol("frames"), vocabulary]),
    labels: ops.input("labels", [symbol("batch"), symbol("labels")], "i32"),
    frames: ops.input("frames", [symbol("batch")], "i32"),
    targets: ops.input("targets", [symbol("batch")], "i32"),
  };
  const feed = (logits: Float32Array, valid: readonly number[]): Record<string, Value> => ({
    logits: f32([batch, frames, vocabulary], logits),
    labels: i32(
      [batch, widest],
      targets.flatMap((t) => [...t, ...new Array<number>(widest - t.length).fill(0)]),
    ),
    frames: i32([batch], valid),
    targets: i32(
      [batch],
      targets.map((t) => t.length),
    ),
  });
  return { tensors, feed };
}

describe("CTC", () => {
  test.each(reference.ctc)("$name", async (c) => {
    const { tensors: t, feed } = ctcInputs(c.logits.shape, c.targets);
    const options = { blank: c.blank, zeroInfinity: c.zeroInfinity };
    const of = (reduction: "sum" | "mean") =>
      ctc(t.logits, t.labels, t.frames, t.targets, { ...options, reduction });
    const [sum, mean] = [of("sum"), of("mean")];
    const outputs = {
      losses: ops.ctcLoss(t.logits, t.labels, t.frames, t.targets, options),
      sum,
      mean,
      gradSum: ops.gradients(sum, [t.logits]).wrt[0]!,
      gradMean: ops.gradients(mean, [t.logits]).wrt[0]!,
    };
    const got = await runOnce(outputs, Object.values(t), feed(Float32Array.from(c.logits.data), c.frames));
    for (const [b, want] of c.losses.data.entries()) {
      const loss = Number(got.losses.data[b]);
      // PyTorch says infinity where there is no alignment; JSON says null.
      if (want === null) expect(loss).toBe(Number.POSITIVE_INFINITY);
      else expect(Math.abs(loss - want) / (1 + Math.abs(want))).toBeLessThan(1e-5);
    }
    for (const reduction of ["sum", "mean"] as const) {
      const want = c[reduction];
      const total = Number(got[reduction].data[0]);
      if (want === null) expect(total).toBe(Number.POSITIVE_INFINITY);
      else expect(Math.abs(total - want) / (1 + Math.abs(want))).toBeLessThan(1e-5);
    }
    const possible = c.losses.data.every((loss) => loss !== null);
    if (possible) {
      expectClose(got.gradSum, c.gradSum!, 1e-4);
      expectClose(got.gradMean, c.gradMean!, 1e-4);
    }
    // An impossible alignment has no gradient rather than NaN, as the others of its batch must train on.
    expect(Array.from(got.gradSum.data as Float32Array).every(Number.isFinite)).toBe(true);
  });

  // Counted over all paths by hand, independently of any library.
  const uniform = (frames: number, vocabulary: number) =>
    Array.from({ length: frames }, () => new Array<number>(vocabulary).fill(1 / vocabulary));
  const rows = [
    [0.6, 0.3, 0.1],
    [0.2, 0.5, 0.3],
    [0.1, 0.2, 0.7],
    [0.7, 0.1, 0.2],
  ];
  test.each([
    { p: uniform(3, 3), y: [1], loss: 1.5040773967762742 },
    { p: uniform(4, 3), y: [1, 2], loss: 1.6863989535702288 },
    { p: uniform(4, 3), y: [1, 1], loss: 2.7850112422383386 },
    { p: uniform(5, 4), y: [1, 2, 3], loss: 3.5992672954242493 },
    { p: rows, y: [1, 2], loss: 0.8739498913846301 },
    { p: rows, y: [2], loss: 1.4854519326531093 },
    { p: rows, y: [1, 1], loss: 4.219907785197447 },
  ])("all paths counted: labels $y, $loss", async ({ p, y, loss }) => {
    const { tensors: t, feed } = ctcInputs([1, p.length, p[0].length], [y]);
    const losses = ops.ctcLoss(t.logits, t.labels, t.frames, t.targets, { blank: 0, zeroInfinity: false });
    const logits = Float32Array.from(p.flat(), Math.log);
    const got = await runOnce({ losses }, Object.values(t), feed(logits, [p.length]));
    expect(Number(got.losses.data[0])).toBeCloseTo(loss, 5);
  });
});

test.each(reference.pooledCrossEntropy)("cross-entropy over valid frames, $reduction", async (c) => {
  const [batch, frames, dim] = c.hidden.shape;
  const table = new ParameterTable();
  const hidden = ops.input("hidden", [symbol("batch"), symbol("frames"), dim]);
  const counts = ops.input("counts", [symbol("batch")], "i32");
  const labels = ops.input("labels", [symbol("batch")], "i32");
  const pooled = maskedMean(hidden, validFrames(counts, symbol("frames")));
  const logits = linear(pooled, table.at("head"), c.weight.shape[0]);
  const losses = crossEntropy(logits, labels);
  const loss = c.reduction === "mean" ? ops.reduceMean(losses, [0]) : ops.reduceSum(losses, [0]);
  const [weight, bias] = ["head.weight", "head.bias"].map((name) => table.inputs.get(name)!);
  const [dhidden, dweight, dbias] = ops.gradients(loss, [hidden, weight, bias]).wrt as Tensor[];
  const got = await runOnce(
    { loss, logits, dhidden, dweight, dbias },
    [hidden, counts, labels, weight, bias],
    {
      hidden: f32([batch, frames, dim], Float32Array.from(c.hidden.data)),
      counts: i32([batch], c.frames),
      labels: i32([batch], c.labels),
      "head.weight": stored(c.weight),
      "head.bias": stored(c.bias),
    },
  );
  expect(Number(got.loss.data[0])).toBeCloseTo(c.loss, 5);
  for (const name of ["logits", "dhidden", "dweight", "dbias"] as const) expectClose(got[name], c[name]);
});

async function checkNorm(c: Norm, norm: (x: Tensor, weight: Tensor, bias: Tensor) => Tensor): Promise<void> {
  const names = ["x", "weight", "bias", "dy"] as const;
  const [x, weight, bias, dy] = names.map((name) => ops.input(name, c[name].shape));
  const y = norm(x, weight, bias);
  const [dx, dweight, dbias] = ops.gradients(against(y, dy), [x, weight, bias]).wrt as Tensor[];
  const feeds = Object.fromEntries(names.map((name) => [name, stored(c[name])]));
  const got = await runOnce({ y, dx, dweight, dbias }, [x, weight, bias, dy], feeds);
  for (const name of ["y", "dx", "dweight", "dbias"] as const) expectClose(got[name], c[name], 1e-5);
}

test.each(reference.layerNorm.map((c, i) => ({ i, c })))("layer norm #$i", ({ c }) =>
  checkNorm(c, (x, weight, bias) => ops.layerNorm(x, weight, bias, c.eps)),
);

// wav2vec 2.0 has as many groups as channels, which is what instanceNorm computes.
test.each(reference.groupNorm.filter(({ groups, x }) => groups === x.shape[1]))(
  "group norm of $groups groups",
  (c) => checkNorm(c, (x, weight, bias) => ops.instanceNorm(x, weight, bias, c.eps)),
);

const activation: Record<string, string> = { gelu: "gelu", geluTanh: "gelu_new", silu: "silu" };
test.each(reference.activations)("$name", async (c) => {
  const x = ops.input("x", c.x.shape);
  const y = ACTIVATIONS[activation[c.name]](x);
  const [slope] = ops.gradients(ops.sumAll(y), [x]).wrt as Tensor[];
  const got = await runOnce({ y, slope }, [x], { x: stored(c.x) });
  expectClose(got.y, c.y);
  expectClose(got.slope, c.slope);
});

interface LstmCase {
  name: string;
  lengths: number[];
  x: Stored;
  y: Stored;
  dy: Stored;
  dx: Stored;
  parameters: Record<string, Stored>;
  dparameters: Record<string, Stored>;
}

test.each(fixture<{ cases: LstmCase[] }>("lstm.json").cases)("LSTM, $name", async (c) => {
  const [batch, frames, inner] = c.x.shape;
  const x = ops.input("x", [symbol("batch"), symbol("frames"), inner]);
  const counts = ops.input("counts", [symbol("batch")], "i32");
  const dy = ops.input("dy", [symbol("batch"), symbol("frames"), c.y.shape[2]]);
  const parameters = Object.entries(c.parameters).map(([name, { shape }]) => ops.input(name, shape));
  const named = new Map(Object.keys(c.parameters).map((name, i) => [name, parameters[i]]));
  const timeMajor = (t: Tensor) => ops.transpose(t, [1, 0, 2]);
  const mask = ops.cast(validFrames(counts, symbol("frames")), "f32");
  const valid = timeMajor(ops.reshape(mask, [symbol("batch"), symbol("frames"), 1]));
  const direction = (suffix: string) => {
    const p = (name: string) => named.get(`${name}_l0${suffix}`)!;
    const bias = ops.add(p("bias_ih"), p("bias_hh"));
    const projected = ops.affine(timeMajor(x), p("weight_ih"), bias);
    return ops.lstm(projected, p("weight_hh"), valid, suffix !== "");
  };
  const both = named.has("weight_hh_l0_reverse") ? ["", "_reverse"] : [""];
  // PyTorch's packed sequences leave zeros behind an utterance's end.
  const y = ops.mul(timeMajor(ops.concat(both.map(direction), 2)), timeMajor(valid));
  const gradients = ops.gradients(against(y, dy), [x, ...parameters]).wrt as Tensor[];
  const names = ["x", ...named.keys()];
  const got = await runOnce(
    { y, ...Object.fromEntries(names.map((name, i) => [`d${name}`, gradients[i]])) },
    [x, counts, dy, ...parameters],
    {
      x: stored(c.x),
      dy: stored(c.dy),
      counts: i32([batch], c.lengths),
      ...Object.fromEntries(Object.entries(c.parameters).map(([name, value]) => [name, stored(value)])),
    },
  );
  expect(got.y.shape).toEqual([batch, frames, c.y.shape[2]]);
  expectClose(got.y, c.y);
  expectClose(got.dx, c.dx, 1e-5);
  for (const [name, want] of Object.entries(c.dparameters)) expectClose(got[`d${name}`], want, 1e-5);
});
