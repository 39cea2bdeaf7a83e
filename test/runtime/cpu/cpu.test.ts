import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import * as ops from "../../../src/ops/index.ts";
import { compile, load } from "../../../src/runtime/cpu.ts";
import { f32, i32, type Value } from "../../../src/runtime/program.ts";
import { symbol } from "../../../src/tensor/dims.ts";
import { readOnnx } from "../../../src/tensor/onnx/read.ts";
import { compileTraining } from "../../../src/train/program.ts";
import { gradientsInto, tinyBatch, tinyModel, tinyStore } from "../../tiny/tiny-model.ts";

const numbers = ({ data }: Value) => data as Float32Array;
function distance(a: Float32Array, b: Float32Array): number {
  const norm = (x: Float32Array) => Math.sqrt(x.reduce((sum, v) => sum + v * v, 0));
  return norm(a.map((v, i) => v - b[i])) / Math.max(norm(b), 1e-6);
}

describe("a model's training step", () => {
  const model = tinyModel({ dropout: 0.1 });
  async function gradientsOf(options: object): Promise<{ loss: number; gradients: Float32Array }> {
    const store = tinyStore(model);
    const all = { trained: () => true, threads: 1, ...options };
    const program = await compileTraining(model.table, model.traced, all);
    const { loss } = await program.run({ ...store.values, ...tinyBatch(model) }, gradientsInto(store));
    await program.dispose();
    return { loss: numbers(loss)[0], gradients: store.gradients };
  }

  test("the standard operator set alone gives what the runtime's own node types give", async () => {
    const folder = mkdtempSync(join(tmpdir(), "cpu-"));
    const plain = { optimization: "disabled" as const };
    const paths = [join(folder, "own.onnx"), join(folder, "standard.onnx")];
    const own = await gradientsOf({ ...plain, optimizedPath: paths[0] });
    const standard = await gradientsOf({ ...plain, contrib: false, optimizedPath: paths[1] });
    const domains = paths.map((path) => readOnnx(readFileSync(path)).graph.nodes.map(({ domain }) => domain));
    expect(domains[0]).toContain("com.microsoft");
    expect(new Set(domains[1])).toEqual(new Set([""]));
    expect(Math.abs(own.loss / standard.loss - 1)).toBeLessThan(1e-5);
    expect(distance(own.gradients, standard.gradients)).toBeLessThan(1e-5);
  });

  test("the runtime's own optimisation changes nothing but rounding, and repeats are bit-identical", async () => {
    const [raw, optimised, again] = [
      await gradientsOf({ optimization: "disabled" }),
      await gradientsOf({}),
      await gradientsOf({}),
    ];
    expect(distance(optimised.gradients, raw.gradients)).toBeLessThan(1e-5);
    expect(again).toEqual(optimised);
  });

  test("memory that is reserved for it, or refused, changes nothing of what it computes", async () => {
    const sizes = new Map([
      ["batch", 64],
      ["samples", 4000],
      ["labels", 20],
    ]);
    const [plain, reserved] = [await gradientsOf({}), await gradientsOf({ largest: sizes })];
    expect(reserved).toEqual(plain);
    const x = ops.input("x", [2]);
    const program = await compile({
      inputs: [{ name: "x", tensor: x }],
      outputs: [{ name: "y", tensor: ops.exp(x) }],
      late: [],
    });
    // A thousand terabytes.
    program.reserve(1e15);
    const { y } = await program.run({ x: f32([2], Float32Array.of(0, 1)) });
    expect(Array.from(numbers(y))).toEqual([1, Math.fround(Math.E)]);
    await program.dispose();
  });
});

describe("feeds and outputs", () => {
  const n = symbol("n");
  const x = ops.input("x", [n, 3]);
  const count = ops.input("count", [n], "i32");
  const graph = {
    inputs: [
      { name: "x", tensor: x },
      { name: "count", tensor: count },
    ],
    outputs: [
      { name: "y", tensor: ops.mul(x, 2) },
      { name: "next", tensor: ops.add(count, ops.scalar(1, "i32")) },
    ],
    late: [],
  };
  const good = { x: f32([2, 3], Float32Array.of(1, 2, 3, 4, 5, 6)), count: i32([2], [7, 8]) };

  test("outputs are written where they were asked for, or returned as new arrays of any type", async () => {
    const program = await compile(graph, { threads: 1 });
    expect([program.inputs, program.outputs]).toEqual([
      ["x", "count"],
      ["y", "next"],
    ]);
    const y = f32([2, 3], new Float32Array(6));
    const results = await program.run(good, { y });
    expect(results.y).toBe(y);
    expect([...y.data]).toEqual([2, 4, 6, 8, 10, 12]);
    expect(results.next).toEqual(i32([2], [8, 9]));
    // In place: an output over its own input, and another length the next time.
    const z = f32([1, 3], Float32Array.of(1, 2, 3));
    await program.run({ x: z, count: i32([1], [0]) }, { y: z });
    expect([...z.data]).toEqual([2, 4, 6]);
    const empty = await program.run({ x: f32([0, 3], new Float32Array(0)), count: i32([0], []) });
    expect(empty.y).toEqual(f32([0, 3], new Float32Array(0)));
    await program.dispose();
    await program.dispose();
  });

  test("a bound run reads and writes the same arrays each time, and asks for all of them", async () => {
    const program = await compile(graph, { threads: 1 });
    const places = () => ({ y: f32([2, 3], new Float32Array(6)), next: i32([2], [0, 0]) });
    const [feeds, into] = [{ ...good, x: f32([2, 3], Float32Array.of(1, 2, 3, 4, 5, 6)) }, places()];
    const run = program.bind(feeds, into);
    await run();
    expect([...into.y.data, ...into.next.data]).toEqual([2, 4, 6, 8, 10, 12, 8, 9]);
    feeds.x.data[0] = -1;
    const other = places();
    await Promise.all([run(), program.bind(good, other)(), run()]);
    expect([...into.y.data]).toEqual([-2, 4, 6, 8, 10, 12]);
    expect([...other.y.data]).toEqual([2, 4, 6, 8, 10, 12]);
    expect(() => program.bind({ x: good.x }, into)).toThrow(/no value for the graph's input 'count'/);
    expect(() => program.bind(good, { y: into.y })).toThrow(/no place for the graph's output 'next'/);
    await program.dispose();
  });

  test.each([
    ["a missing input", { x: good.x }, /no value for the graph's input 'count'/],
    [
      "values that do not fill their shape",
      { ...good, x: f32([2, 3], new Float32Array(5)) },
      /'x' has shape \[2,3\] but 5 values/,
    ],
    [
      "a size that the graph does not have",
      { ...good, x: f32([3, 2], new Float32Array(6)) },
      /x.*Expected: 3/s,
    ],
    ["another rank", { ...good, x: f32([6], new Float32Array(6)) }, /rank.*x/is],
    ["another type", { ...good, count: f32([2], new Float32Array(2)) }, /count|data type/i],
  ])("%s is answered with a sentence, and the program lives on", async (_, feeds, sentence) => {
    const program = await compile(graph, { threads: 1 });
    await expect(program.run(feeds)).rejects.toThrow(sentence);
    expect([...numbers((await program.run(good)).y)]).toEqual([2, 4, 6, 8, 10, 12]);
    await program.dispose();
  });

  test("bytes that are no model are refused", async () => {
    await expect(load(new Uint8Array(100), { threads: 1 })).rejects.toThrow(/model|protobuf/i);
  });
});
