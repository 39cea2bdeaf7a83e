import fc from "fast-check";
import { describe, expect, test } from "vitest";
import * as ops from "../../src/ops/index.ts";
import {
  addDim,
  bindDim,
  type Dim,
  floorDiv,
  mulDim,
  sameDim,
  subDim,
  symbol,
} from "../../src/tensor/dims.ts";
import { type Graph, print, verify } from "../../src/tensor/graph.ts";
import { type Tensor, topological } from "../../src/tensor/tensor.ts";
import { trainingGraph } from "../../src/train/program.ts";
import { tinyModel } from "../tiny/tiny-model.ts";

describe("symbolic sizes", () => {
  interface Pair {
    dim: Dim;
    at: (batch: number, frames: number) => number;
  }
  const leaf = fc.oneof(
    fc.integer({ min: 0, max: 9 }).map((n): Pair => ({ dim: n, at: () => n })),
    fc.constant<Pair>({ dim: symbol("batch"), at: (batch) => batch }),
    fc.constant<Pair>({ dim: symbol("frames"), at: (_, frames) => frames }),
  );
  const join = (a: Pair, b: Pair, kind: number, by: number): Pair => {
    if (kind === 0) return { dim: addDim(a.dim, b.dim), at: (n, m) => a.at(n, m) + b.at(n, m) };
    if (kind === 1) return { dim: mulDim(a.dim, b.dim), at: (n, m) => a.at(n, m) * b.at(n, m) };
    if (kind === 2) return { dim: subDim(a.dim, b.dim), at: (n, m) => a.at(n, m) - b.at(n, m) };
    return { dim: floorDiv(a.dim, by), at: (n, m) => Math.floor(a.at(n, m) / by) };
  };
  const expression = fc
    .array(fc.tuple(leaf, fc.nat(3), fc.integer({ min: 1, max: 5 })), { minLength: 1, maxLength: 5 })
    .map((parts) => parts.slice(1).reduce((sum, [next, kind, by]) => join(sum, next, kind, by), parts[0][0]));
  const sizes = fc.tuple(fc.integer({ min: 1, max: 50 }), fc.integer({ min: 1, max: 999 }));
  const bound = (dim: Dim, [n, m]: readonly [number, number]) =>
    bindDim(
      dim,
      new Map([
        ["batch", n],
        ["frames", m],
      ]),
    );

  test("an expression has the value that its arithmetic has", () => {
    fc.assert(
      fc.property(expression, sizes, ({ dim, at }, [n, m]) => bound(dim, [n, m]) === at(n, m)),
      { seed: 1, numRuns: 1000 },
    );
  });

  test("equal sums and products are equal whatever their order; x - x is 0", () => {
    fc.assert(
      fc.property(expression, expression, expression, ({ dim: a }, { dim: b }, { dim: c }) => {
        expect(sameDim(addDim(a, b), addDim(b, a))).toBe(true);
        expect(sameDim(mulDim(a, addDim(b, c)), addDim(mulDim(a, b), mulDim(a, c)))).toBe(true);
        expect(subDim(a, a)).toBe(0);
        expect(sameDim(subDim(addDim(a, b), b), a)).toBe(true);
      }),
      { seed: 1, numRuns: 300 },
    );
  });

  test("what divides exactly comes out of a floor", () => {
    const n = symbol("n");
    expect(sameDim(floorDiv(addDim(mulDim(n, 2), 1), 2), n)).toBe(true);
    expect(`${floorDiv(addDim(n, 4), 2)}`).toContain("floor((n)/2)");
    expect(() => bindDim(n, new Map())).toThrow("axis 'n' has no value");
  });
});

describe("errors of shape inference name the operation, its arguments and all shapes", () => {
  const x = (...shape: Dim[]) => ops.input("x", shape);
  const int = ops.input("i", [3], "i32");
  test.each<[string, () => unknown, RegExp]>([
    ["add", () => ops.add(x(2, 3), x(4)), /^add: a \[2, 3\] f32, b \[4\] f32: the shapes do not broadcast/],
    ["mul", () => ops.mul(x(3), int), /^mul: a \[3\] f32, b \[3\] i32: dtypes differ/],
    [
      "matMul",
      () => ops.matMul(x(2, 3), x(4, 5)),
      /^matMul: a \[2, 3\] f32, b \[4, 5\] f32: inner sizes 3 and 4/,
    ],
    ["reshape", () => ops.reshape(x(symbol("n"), 4), [3, 4]), /^reshape: x \[n, 4\] f32: .* \[3, 4\]/],
    [
      "concat",
      () => ops.concat([x(2, 3), x(3, 3)], 1),
      /^concat: input 0 \[2, 3\] f32, input 1 \[3, 3\] f32/,
    ],
    ["transpose", () => ops.transpose(x(2, 3), [0, 0]), /^transpose: x \[2, 3\] f32: perm \[0,0\]/],
    ["expand", () => ops.expand(x(2), [3]), /^expand: x \[2\] f32: does not broadcast to \[3\]/],
    [
      "conv1d",
      () => ops.conv1d(x(1, 3, 9), x(4, 2, 3)),
      /^conv1d: x \[1, 3, 9\] f32, weight \[4, 2, 3\] f32/,
    ],
    [
      "layerNorm",
      () => ops.layerNorm(x(2, 4), x(3), x(4)),
      /^layerNorm: x .*weight \[3\] f32, bias \[4\] f32/,
    ],
    ["where", () => ops.where(x(2), 1, 0), /^where: condition \[2\] f32/],
    ["reduceSum", () => ops.reduceSum(x(2), [1]), /^reduceSum: x \[2\] f32: has no axes \[1\]/],
    [
      "lstm",
      () => ops.lstm(x(5, 2, 8), x(8, 3), x(5, 2, 1), false),
      /^lstm: projected \[5, 2, 8\] f32, recurrent/,
    ],
    [
      "ctcLoss",
      () => ops.ctcLoss(x(2, 9, 4), x(2, 3), int, int, { blank: 0, zeroInfinity: false }),
      /^ctcLoss: logits \[2, 9, 4\] f32, labels \[2, 3\] f32/,
    ],
  ])("%s", (_, build, sentence) => expect(build).toThrow(sentence));

  test("differentiating what has no slope says why", () => {
    const y = ops.sumAll(ops.sign(x(3)));
    expect(() => ops.gradients(y, [y.node.inputs[0].node.inputs[0]])).toThrow(/^sign has no gradient: it is/);
    const v = x(3);
    expect(() => ops.gradients(v, [v])).toThrow(/loss must be a scalar, got \[3\]/);
  });
});

describe("graphs", () => {
  const n = symbol("n");
  const a = ops.input("a", [n, 2]);
  const y = ops.reduceSum(ops.mul(a, ops.constant([2], [1, 2])), [1]);
  const graph: Graph = { inputs: [{ name: "a", tensor: a }], outputs: [{ name: "y", tensor: y }], late: [] };

  test("print is a listing, one line a node", () => {
    expect(print(graph).split("\n")).toEqual([
      "input a [n, 2] f32",
      expect.stringMatching(/^%0 = constant\(\) \[2\] f32 \{.*\[1,2\].*\}$/),
      "%1 = mul(a, %0) [n, 2] f32",
      '%2 = reduceSum(%1) [n] f32 {"axes":[1],"keep":false}',
      "output y = %2",
    ]);
  });

  const broken = (change: (tensor: Tensor) => Partial<Tensor>): Graph => {
    const node = { ...y.node, outputs: [] as Tensor[] };
    const tensor = { ...y, node, ...change(y) };
    node.outputs.push(tensor);
    return { ...graph, outputs: [{ name: "y", tensor }] };
  };
  test.each<[string, Graph, RegExp]>([
    [
      "a wrong shape",
      broken(() => ({ shape: [n, 7] })),
      /reduceSum infers \[n\] f32 but carries \[n, 7\] f32/,
    ],
    ["a wrong dtype", broken(() => ({ dtype: "i32" })), /carries \[n\] i32/],
    ["an input that is not declared", { ...graph, inputs: [] }, /input 'a' is not declared/],
    ["a name twice", { ...graph, outputs: [{ name: "a", tensor: y }] }, /the name 'a' stands twice/],
    ["a late output that is none", { ...graph, late: ["z"] }, /late output 'z' does not exist/],
  ])("verify finds %s and says after which pass", (_, faulty, sentence) => {
    expect(() => verify(faulty, "folding")).toThrow(/^after folding: /);
    expect(() => verify(faulty, "folding")).toThrow(sentence);
    expect(verify(graph, "folding")).toBe(graph);
  });
});

test("a frozen prefix makes no backward nodes, and frozen parameters no gradients", () => {
  const { table, traced } = tinyModel();
  const nodes = (trained: (name: string) => boolean) => {
    const { outputs } = trainingGraph(table, traced, { trained });
    return {
      names: outputs.map(({ name }) => name),
      nodes: topological(outputs.map(({ tensor }) => tensor)),
    };
  };
  const backward = (part: readonly { op: { name: string } }[], name: string) =>
    part.filter(({ op }) => op.name === name).length;
  const forward = topological([traced.loss]);
  const all = nodes(() => true);
  const head = nodes((name) => name.startsWith("lm_head"));
  const noExtractor = nodes((name) => !name.includes("feature_extractor"));
  // The convolution of the second layer passes a gradient on only if something below it trains.
  expect(backward(all.nodes, "conv1dInput")).toBeGreaterThan(backward(noExtractor.nodes, "conv1dInput"));
  expect(head.names.sort()).toEqual(["grad.lm_head.bias", "grad.lm_head.weight", "loss"]);
  const beyondLoss = (part: readonly object[]) => part.length - forward.length;
  expect(beyondLoss(head.nodes)).toBeLessThan(0.4 * beyondLoss(all.nodes));
  expect(backward(head.nodes, "softmax")).toBeLessThanOrEqual(backward(forward, "softmax") + 1);
  for (const op of ["conv1dInput", "crossCorrelate", "tanh"])
    expect(backward(head.nodes, op)).toBe(backward(forward, op));
});
