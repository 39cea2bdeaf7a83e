import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { InferenceSession, Tensor as OrtTensor } from "onnxruntime-node";
import { describe, expect, test } from "vitest";
import { UserError } from "../../src/errors.ts";
import * as ops from "../../src/ops/index.ts";
import { random } from "../../src/random.ts";
import { load } from "../../src/runtime/cpu.ts";
import { readOnnxFile } from "../../src/runtime/onnx-file.ts";
import { f32 } from "../../src/runtime/program.ts";
import { optimise } from "../../src/tensor/compile.ts";
import { symbol } from "../../src/tensor/dims.ts";
import {
  GraphSchema,
  ModelSchema,
  type TensorData,
  TensorDataSchema,
} from "../../src/tensor/onnx/onnx_pb.ts";
import { type OnnxGraph, readOnnx } from "../../src/tensor/onnx/read.ts";
import { type Initializer, writeOnnx } from "../../src/tensor/onnx/write.ts";

const FRAMES = 5;
const draw = (size: number, name: string) => {
  const rng = random(1, name);
  return Float32Array.from({ length: size }, () => rng.normal());
};
const weights = { weight: draw(24, "weight"), recurrent: draw(16, "recurrent") };
const x = draw(FRAMES * 2 * 3, "x");

/** A layer with a subgraph, symbolic axes, attributes of several kinds and constants. */
function graph() {
  const frames = symbol("frames");
  const input = ops.input("x", [frames, 2, 3]);
  const weight = ops.input("weight", [8, 3]);
  const recurrent = ops.input("recurrent", [8, 2]);
  const valid = ops.expand(ops.constant([1, 1, 1], [1]), [frames, 2, 1]);
  const states = ops.lstm(ops.affine(input, weight), recurrent, valid, false);
  const y = ops.layerNorm(ops.gelu(states), ops.constant([2], [1, 2]), ops.constant([2], [0, 0.5]));
  return optimise(
    {
      inputs: [input, weight, recurrent].map((tensor, i) => ({
        name: ["x", "weight", "recurrent"][i],
        tensor,
      })),
      outputs: [{ name: "y", tensor: y }],
      late: [],
    },
    ops.constant,
  );
}

const write = (initializers?: Map<string, Initializer>, contrib = true) =>
  writeOnnx(graph(), { target: { contrib }, initializers, metadata: { task: "digits" } });
const inside = () => new Map(Object.entries(weights).map(([name, data]) => [name, { data }]));
const outside = (location: string) => {
  let offset = 64;
  return new Map(
    Object.entries(weights).map(([name, data]) => {
      const external = { location, offset, length: data.byteLength };
      offset += data.byteLength;
      return [name, { external }];
    }),
  );
};
/** The data file that `outside` describes. */
function dataFile(): Uint8Array {
  const parts = Object.values(weights).map((a) => new Uint8Array(a.buffer, a.byteOffset, a.byteLength));
  return Buffer.concat([new Uint8Array(64), ...parts]);
}

async function run(model: Uint8Array, feeds = {}): Promise<Float32Array> {
  const program = await load(model, { threads: 1 });
  const { y } = await program.run({ x: f32([FRAMES, 2, 3], x), ...feeds });
  await program.dispose();
  return y.data as Float32Array;
}

describe("reading back what was written", () => {
  test("structure: names, axes, operator sets, attributes, a subgraph, constants", () => {
    const { graph: read, operatorSets, metadata, irVersion } = readOnnx(write());
    expect([irVersion, operatorSets.get(""), operatorSets.get("com.microsoft")]).toEqual([10, 21, 1]);
    expect(metadata).toEqual(new Map([["task", "digits"]]));
    expect(read.inputs).toEqual([
      { name: "x", type: "f32", shape: ["frames", 2, 3] },
      { name: "weight", type: "f32", shape: [8, 3] },
      { name: "recurrent", type: "f32", shape: [8, 2] },
    ]);
    expect(read.outputs).toEqual([{ name: "y", type: "f32", shape: ["frames", 2, 2] }]);
    const scan = read.nodes.find(({ type }) => type === "Scan")!;
    expect(scan.attributes.get("num_scan_inputs")).toBe(2n);
    expect(scan.attributes.get("scan_input_directions")).toEqual([0n, 0n]);
    const body = scan.attributes.get("body") as OnnxGraph;
    expect(body.nodes.map(({ type }) => type)).toContain("Gemm");
    expect(body.inputs[0].shape).toEqual([2, 2]);
    const norm = read.nodes.find(({ type }) => type === "LayerNormalization")!;
    expect(norm.attributes.get("epsilon")).toBeCloseTo(1e-5, 10);
    const gain = read.initializers.get(norm.inputs[1])!;
    expect(gain).toEqual({ type: "f32", shape: [2], data: Float32Array.of(1, 2) });
    const gelu = read.nodes.find(({ type }) => type === "Gelu")!;
    expect(gelu.domain).toBe("com.microsoft");
    expect(readOnnx(write(undefined, false)).operatorSets.has("com.microsoft")).toBe(false);
  });

  test("initializers, stored inside or in a file beside the model", () => {
    const folder = mkdtempSync(join(tmpdir(), "onnx-"));
    writeFileSync(join(folder, "model.onnx"), write(outside("data/weights.bin")));
    mkdirSync(join(folder, "data"));
    writeFileSync(join(folder, "data/weights.bin"), dataFile());
    writeFileSync(join(folder, "whole.onnx"), write(inside()));
    const files = ["model.onnx", "whole.onnx"].map((name) => readOnnxFile(join(folder, name)));
    for (const read of [readOnnx(write(inside())), ...files]) {
      expect(read.graph.inputs.map(({ name }) => name)).toEqual(["x"]);
      expect(read.graph.initializers.get("weight")).toEqual({
        type: "f32",
        shape: [8, 3],
        data: weights.weight,
      });
      expect(read.graph.initializers.get("recurrent")!.data).toEqual(weights.recurrent);
    }
  });

  test("the runtime computes the same from inputs, initializers and external data", async () => {
    const fed = await run(write(), {
      weight: f32([8, 3], weights.weight),
      recurrent: f32([8, 2], weights.recurrent),
    });
    expect(await run(write(inside()))).toEqual(fed);
    const folder = mkdtempSync(join(tmpdir(), "onnx-"));
    writeFileSync(join(folder, "model.onnx"), write(outside("weights.bin")));
    writeFileSync(join(folder, "weights.bin"), dataFile());
    // As any program would load the exported folder.
    const session = await InferenceSession.create(join(folder, "model.onnx"));
    const { y } = await session.run({ x: new OrtTensor("float32", x, [FRAMES, 2, 3]) });
    for (const [i, value] of fed.entries()) expect((y.data as Float32Array)[i]).toBeCloseTo(value, 5);
    await session.release();
  });

  test.each([
    ["floatData", 1, [1.5, -2], Float32Array.of(1.5, -2)],
    ["int32Data", 6, [7, -8], Int32Array.of(7, -8)],
    ["int32Data", 2, [7, 255], Uint8Array.of(7, 255)],
    ["int32Data", 9, [0, 1], Uint8Array.of(0, 1)],
    ["int64Data", 7, [2n ** 40n, -1n], BigInt64Array.of(2n ** 40n, -1n)],
    ["doubleData", 11, [1e300, 0], Float64Array.of(1e300, 0)],
    ["uint64Data", 12, [4294967295n, 0n], Uint32Array.of(4294967295, 0)],
    ["uint64Data", 13, [2n ** 63n, 0n], BigUint64Array.of(2n ** 63n, 0n)],
  ])("values in %s of element type %i", (list, dataType, values, expected) => {
    const model = withTensor({ dataType, dims: [2n], [list]: values });
    expect(readOnnx(model).graph.initializers.get("t")!.data).toEqual(expected);
  });
});

function withTensor(tensor: Omit<Partial<TensorData>, "$typeName" | "$unknown">): Uint8Array {
  const initializer = [create(TensorDataSchema, { name: "t", ...tensor })];
  return toBinary(
    ModelSchema,
    create(ModelSchema, { irVersion: 10n, graph: create(GraphSchema, { initializer }) }),
  );
}

const elsewhere = (pairs: Record<string, string>) =>
  withTensor({
    dataType: 1,
    dims: [2n],
    dataLocation: 1,
    externalData: Object.entries(pairs).map(([key, value]) => ({
      $typeName: "voxsmith.onnx.Pair",
      key,
      value,
    })),
  });

describe("faults are sentences", () => {
  test.each([
    [new Uint8Array(0), /is not an ONNX file \(it has no graph\)/],
    [new TextEncoder().encode("{}"), /is not an ONNX file/],
    [write(inside()).subarray(0, 900), /is not an ONNX file/],
    [
      withTensor({ dataType: 1, dims: [3n], rawData: new Uint8Array(8) }),
      /"t" \[3\] f32 needs 12 bytes, but the file has 8/,
    ],
    [
      withTensor({ dataType: 1, dims: [3n], floatData: [1] }),
      /"t" \[3\] f32 needs 3 values, but the file has 1/,
    ],
    [withTensor({ dataType: 1, dims: [1n << 40n, 1n << 40n] }), /needs .* values, but the file has 0/],
    [withTensor({ dataType: 1, dims: [-1n] }), /"t" has an axis of size -1/],
    [withTensor({ dataType: 10, dims: [1n] }), /"t" has element type 10, which is not supported/],
    [elsewhere({}), /says not in which file/],
    [elsewhere({ location: "w" }), /"t" is stored in w, and no way to read it was given/],
    [elsewhere({ location: "w", offset: "-4" }), /"t" has the offset "-4", not a whole number/],
    [elsewhere({ location: "w", length: "9" }), /"t" needs 8 bytes, but its place in w has 9/],
  ])("case %#", (bytes, sentence) => {
    expect(() => readOnnx(bytes, { where: "m.onnx" })).toThrow(UserError);
    expect(() => readOnnx(bytes, { where: "m.onnx" })).toThrow(sentence);
    expect(() => readOnnx(bytes, { where: "m.onnx" })).toThrow(/^m\.onnx: /);
  });

  test("a data file outside the model's folder, one that is missing, one that is short", () => {
    const folder = mkdtempSync(join(tmpdir(), "onnx-"));
    const path = join(folder, "m.onnx");
    const read = (pairs: Record<string, string>) => {
      writeFileSync(path, elsewhere(pairs));
      return () => readOnnxFile(path);
    };
    writeFileSync(join(folder, "short"), new Uint8Array(7));
    for (const location of ["../w", "/etc/hostname", "a/../../w", "..\\w", "C:\\w"])
      expect(read({ location })).toThrow(/outside its own folder/);
    expect(read({ location: "none" })).toThrow(/none: cannot be read/);
    expect(read({ location: "short", length: "8" })).toThrow(/ends at byte 7, before 8/);
    expect(read({ location: "short", offset: "9007199254740000", length: "8" })).toThrow(/ends at byte 7/);
    expect(() => readOnnxFile(join(folder, "absent.onnx"))).toThrow(UserError);
  });

  test("damaged files never give anything but a UserError", () => {
    const good = write(inside());
    fc.assert(
      fc.property(
        fc.nat(good.length - 1),
        fc.integer({ min: 1, max: 255 }),
        fc.nat(good.length),
        (at, by, cut) => {
          const bytes = good.slice(0, Math.max(cut, at + 1));
          bytes[at] ^= by;
          try {
            readOnnx(bytes);
          } catch (error) {
            expect(error).toBeInstanceOf(UserError);
          }
        },
      ),
      { seed: 1, numRuns: 500 },
    );
  });
});
