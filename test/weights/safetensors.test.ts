import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { UserError } from "../../src/errors.ts";
import { openSafetensors, parseSafetensors, writeSafetensors } from "../../src/weights/safetensors.ts";
import { repeatedKey } from "../../src/weights/safetensors-format.ts";
import { halfToFloat } from "../../src/weights/tensor-file.ts";
import { referenceDir } from "../shared.ts";

const folder = mkdtempSync(join(tmpdir(), "voxsmith-safetensors-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** A file with this header text and this many data bytes 0, 1, 2, ... */
function fileOf(header: string | object, dataBytes = 0): Uint8Array {
  const json = new TextEncoder().encode(typeof header === "string" ? header : JSON.stringify(header));
  const bytes = new Uint8Array(8 + json.length + dataBytes);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(json.length), true);
  bytes.set(json, 8);
  for (let i = 0; i < dataBytes; i++) bytes[8 + json.length + i] = i;
  return bytes;
}

const f32 = (shape: number[], start: number, end: number) => ({
  dtype: "F32",
  shape,
  data_offsets: [start, end],
});

describe("refusals name the file and the tensor", () => {
  test.each<[string, Uint8Array, RegExp]>([
    ["an empty file", new Uint8Array(0), /^m\.st: is 0 bytes long/],
    ["a gigabyte header", new Uint8Array([0, 0, 0, 0, 1, 0, 0, 0]), /header of 4294967296 bytes; the limit/],
    ["a header past the end", new Uint8Array([9, 0, 0, 0, 0, 0, 0, 0, 123]), /only 9 bytes long/],
    ["text", fileOf("not json"), /not valid JSON/],
    ["invalid UTF-8", fileOf('{"\u00e9":1}').with(10, 0xff), /not valid JSON/],
    ["a byte order mark", fileOf("\ufeff{}"), /not valid JSON/],
    ["an array", fileOf("[]"), /not a JSON object/],
    ["leading space", fileOf(" {}"), /not a JSON object/],
    ["a null entry", fileOf({ a: null }), /tensor "a" is not described/],
    [
      "an unknown dtype",
      fileOf({ a: { dtype: "F8_E4M3", shape: [1], data_offsets: [0, 1] } }, 1),
      /"a" has dtype "F8_E4M3"/,
    ],
    [
      "an inherited dtype",
      fileOf({ a: { dtype: "toString", shape: [1], data_offsets: [0, 1] } }, 1),
      /has dtype "toString"/,
    ],
    ["a negative size", fileOf({ a: f32([-1], 0, 4) }, 4), /"a" has shape/],
    ["a fractional size", fileOf({ a: f32([0.5, 2], 0, 4) }, 4), /"a" has shape/],
    ["an overflowing shape", fileOf({ a: f32([2 ** 40, 2 ** 40], 0, 4) }, 4), /"a" has shape/],
    [
      "three offsets",
      fileOf({ a: { dtype: "F32", shape: [1], data_offsets: [0, 4, 8] } }, 4),
      /data_offsets/,
    ],
    ["offsets that run back", fileOf({ a: f32([1], 8, 4) }, 8), /takes -4 bytes/],
    ["a size that does not fit", fileOf({ a: f32([2], 0, 4) }, 4), /takes 4 bytes, but F32 \[2\] needs 8/],
    ["overlap", fileOf({ a: f32([2], 0, 8), b: f32([1], 4, 8) }, 8), /"b" overlaps another/],
    ["two on one place", fileOf({ a: f32([2], 0, 8), b: f32([2], 0, 8) }, 8), /overlaps another/],
    ["a hole", fileOf({ a: f32([1], 0, 4), b: f32([1], 8, 12) }, 12), /hole of 4 bytes before tensor "b"/],
    ["a hole at the start", fileOf({ a: f32([1], 4, 8) }, 8), /hole of 4 bytes before tensor "a"/],
    ["trailing bytes", fileOf({ a: f32([1], 0, 4) }, 5), /1 bytes after its last tensor/],
    ["truncated data", fileOf({ a: f32([4], 0, 16) }, 12), /ends inside tensor "a"/],
    [
      "a repeated tensor",
      fileOf(
        '{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}',
      ),
      /"a" twice/,
    ],
    [
      "a key repeated by an escape",
      fileOf(
        '{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"\\u0061":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}',
      ),
      /"a" twice/,
    ],
    [
      "a repeated inner key",
      fileOf('{"a":{"dtype":"F64","dtype":"F32","shape":[0],"data_offsets":[0,0]}}'),
      /"dtype" twice/,
    ],
    ["metadata of numbers", fileOf({ __metadata__: { format: 1 } }), /__metadata__/],
  ])("%s", (_, bytes, message) => {
    expect(() => parseSafetensors(bytes, "m.st")).toThrow(UserError);
    expect(() => parseSafetensors(bytes, "m.st")).toThrow(message);
    const path = join(folder, "bad.safetensors");
    writeFileSync(path, bytes);
    expect(() => openSafetensors(path)).toThrow(UserError);
  });

  test("a deeply nested header is refused, not a stack overflow", () => {
    const bytes = fileOf(`{"a":${"[".repeat(200_000)}${"]".repeat(200_000)}}`);
    expect(() => parseSafetensors(bytes)).toThrow(UserError);
  });

  test("a missing file, a folder, an absent tensor and an integer read as float", () => {
    expect(() => openSafetensors(join(folder, "none.safetensors"))).toThrow(
      /none\.safetensors: does not exist/,
    );
    expect(() => openSafetensors(folder)).toThrow(/is not a file/);
    const file = parseSafetensors(
      fileOf({ a: { dtype: "I32", shape: [1], data_offsets: [0, 4] } }, 4),
      "m.st",
    );
    expect(() => file.readF32("b")).toThrow(/m\.st: holds no tensor "b"/);
    expect(() => file.readF32("a")).toThrow(/m\.st: tensor "a" has dtype I32/);
  });

  test("every truncation of a good file", () => {
    const path = join(folder, "whole.safetensors");
    writeSafetensors(path, [{ name: "a", dtype: "F32", shape: [2, 2], data: new Float32Array(4) }]);
    const whole = new Uint8Array(readFileSync(path));
    for (let size = 0; size < whole.length; size++) {
      expect(() => parseSafetensors(whole.subarray(0, size)), `${size} bytes`).toThrow(UserError);
    }
    expect(parseSafetensors(whole).infos.size).toBe(1);
  });
});

test("any change of one byte of a file is either refused by a sentence or still reads", () => {
  const path = join(folder, "mutate.safetensors");
  writeSafetensors(path, [
    { name: "a", dtype: "F32", shape: [2], data: new Float32Array(2) },
    { name: "b", dtype: "I64", shape: [], data: new BigInt64Array(1) },
  ]);
  const whole = new Uint8Array(readFileSync(path));
  fc.assert(
    fc.property(fc.nat(whole.length - 1), fc.nat(255), (place, value) => {
      const bytes = whole.slice();
      bytes[place] = value;
      try {
        const file = parseSafetensors(bytes);
        for (const name of file.infos.keys()) file.readNumbers(name);
      } catch (error) {
        expect(error).toBeInstanceOf(UserError);
      }
    }),
    { numRuns: 2000 },
  );
});

test("repeatedKey agrees with a plain walk over generated JSON", () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      expect(repeatedKey(JSON.stringify(value, null, 1))).toBeUndefined();
      const text = `{"k":${JSON.stringify(value)},"x":[1,{"k":0}],"k" :2}`;
      expect(repeatedKey(text)).toBe("k");
    }),
  );
});

describe("round trip", () => {
  const arrays = fc.record({
    F64: fc.float64Array({ noNaN: true, maxLength: 9 }),
    F32: fc.float32Array({ noNaN: true, maxLength: 9 }),
    I64: fc.bigInt64Array({ maxLength: 9 }),
    I32: fc.int32Array({ maxLength: 9 }),
    I16: fc.int16Array({ maxLength: 9 }),
    I8: fc.int8Array({ maxLength: 9 }),
    U8: fc.uint8Array({ maxLength: 9 }),
  });

  test("every element type, any name, any metadata", () => {
    const path = join(folder, "round.safetensors");
    const name = fc.string({ unit: "binary" }).filter((text) => text !== "__metadata__");
    fc.assert(
      fc.property(arrays, name, fc.dictionary(fc.string(), fc.string()), (data, stem, metadata) => {
        const entries = (Object.keys(data) as (keyof typeof data)[]).map((dtype) => ({
          name: `${stem}${dtype}`,
          dtype,
          shape: [1, data[dtype].length],
          data: data[dtype],
        }));
        writeSafetensors(path, entries, metadata);
        const file = openSafetensors(path);
        expect({ ...file.metadata }).toEqual({ ...metadata });
        expect(file.infos.size).toBe(entries.length);
        for (const { name, dtype, shape, data } of entries) {
          expect(file.readNumbers(name)).toEqual({ dtype, shape, data });
        }
        file.close();
      }),
      { numRuns: 25 },
    );
  });

  test("reads into the caller's array in place, and lazily made data", () => {
    const path = join(folder, "lazy.safetensors");
    const made: string[] = [];
    writeSafetensors(
      path,
      ["b", "a"].map((name) => ({
        name,
        dtype: "F32" as const,
        shape: [3],
        data: () => Float32Array.of(1, 2, made.push(name)),
      })),
    );
    expect(made).toEqual(["a", "b"]);
    const file = openSafetensors(path);
    const flat = new Float32Array(5);
    const view = flat.subarray(1, 4);
    expect(file.readF32("b", view)).toBe(view);
    expect([...flat]).toEqual([0, 1, 2, 2, 0]);
    expect(() => file.readF32("b", flat)).toThrow(RangeError);
    file.close();
  });

  test("a failed write leaves the old file and no temporary one", () => {
    const path = join(folder, "keep.safetensors");
    const good = { name: "a", dtype: "F32" as const, shape: [1], data: Float32Array.of(7) };
    writeSafetensors(path, [good]);
    expect(() => writeSafetensors(path, [good, { ...good, name: "b", shape: [2] }])).toThrow(RangeError);
    expect(() => writeSafetensors(path, [good, good])).toThrow(/twice/);
    expect(openSafetensors(path).readF32("a")[0]).toBe(7);
    expect(readdirSync(folder).filter((name) => name.endsWith(".tmp"))).toEqual([]);
  });
});

describe("narrow floating types", () => {
  test("float16 against the definition, every bit pattern", () => {
    // Oracle: order and spacing of IEEE 754 binary16, independent of how the bits are taken apart.
    let previous = -1;
    for (let bits = 0; bits < 0x7c00; bits++) {
      const value = halfToFloat(bits);
      expect(value > previous && halfToFloat(bits | 0x8000) === -value).toBe(true);
      previous = value;
    }
    expect([0x0001, 0x0400, 0x3c00, 0x3555, 0x7bff].map(halfToFloat)).toEqual([
      2 ** -24,
      2 ** -14,
      1,
      0.333251953125,
      65504,
    ]);
    expect([halfToFloat(0x7c00), halfToFloat(0xfc00), halfToFloat(0x7e01)]).toEqual([
      Number.POSITIVE_INFINITY,
      Number.NEGATIVE_INFINITY,
      Number.NaN,
    ]);
  });

  test("F16, BF16 and F64 tensors longer than one conversion chunk read as float32", () => {
    const path = join(folder, "narrow.safetensors");
    const count = 300_000;
    const values = Float32Array.from({ length: count }, (_, i) => (i % 128) - 64);
    const brain = Uint16Array.from(new Uint32Array(values.buffer), (word) => word >>> 16);
    const half = new Map([...Array(0x10000).keys()].reverse().map((bits) => [halfToFloat(bits), bits]));
    writeSafetensors(path, [
      { name: "b", dtype: "BF16", shape: [count], data: brain },
      { name: "h", dtype: "F16", shape: [count], data: Uint16Array.from(values, (x) => half.get(x)!) },
      { name: "d", dtype: "F64", shape: [count], data: Float64Array.from(values) },
    ]);
    const file = openSafetensors(path);
    const same = (data: ArrayBufferView) => Buffer.from(data.buffer).equals(Buffer.from(values.buffer));
    for (const name of ["b", "h", "d"]) expect(same(file.readF32(name)), name).toBe(true);
    expect(same(file.readNumbers("b").data)).toBe(true);
    file.close();
  });
});

const upstreams = referenceDir("upstreams");
test.skipIf(!upstreams)("files of the Python library are rewritten byte for byte", () => {
  const models = readdirSync(upstreams!);
  expect(models.length).toBeGreaterThan(0);
  for (const model of models) {
    for (const name of ["model", "input"]) {
      const original = join(upstreams!, model, `${name}.safetensors`);
      const copy = join(folder, "copy.safetensors");
      const file = openSafetensors(original);
      writeSafetensors(
        copy,
        [...file.infos.values()].map((info) => ({ ...info, data: () => file.readNumbers(info.name).data })),
        file.metadata,
      );
      file.close();
      expect(readFileSync(copy).equals(readFileSync(original)), `${model}/${name}`).toBe(true);
    }
  }
});
