import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { UserError } from "../../src/errors.ts";
import { openModelFolder, openWeights } from "../../src/weights/model-folder.ts";
import { type Instance, TensorRef } from "../../src/weights/pickle-globals.ts";
import { memorySource } from "../../src/weights/tensor-file.ts";
import {
  openTorchArchive,
  openTorchStateDict,
  readTorchArchive,
  stateDict,
} from "../../src/weights/torch-archive.ts";
import { referenceDir } from "../shared.ts";
import {
  archive,
  bytes,
  dict,
  global,
  legacy,
  little,
  pickle,
  tensor,
  value,
  zip,
} from "./archive-builder.ts";

const fixtures = join(import.meta.dirname, "../fixtures/weights/torch");

const read = (data: Uint8Array) => readTorchArchive(memorySource(data, "m.pt"));

/** Bytes of buffers that were made and are still held, or not collected yet. */
function roomFor(run: () => void): number {
  const before = process.memoryUsage().arrayBuffers;
  run();
  return process.memoryUsage().arrayBuffers - before;
}

interface Expected {
  dtype: string;
  shape: number[];
  data: string[];
}
const expected: Record<string, Expected> = JSON.parse(readFileSync(join(fixtures, "expected.json"), "utf8"));

describe("files of torch.save", () => {
  test.each(["zip.pt", "zip-protocol-3.pt", "zip-protocol-4.pt", "zip-protocol-5.pt", "legacy.pt"])(
    "%s: every element type and every view",
    (name) => {
      const file = openTorchStateDict(join(fixtures, name));
      expect([...file.infos.keys()]).toEqual(Object.keys(expected));
      for (const [name, { dtype, shape, data }] of Object.entries(expected)) {
        const tensor = file.readNumbers(name);
        expect({ dtype: tensor.dtype, shape: tensor.shape }, name).toEqual({ dtype, shape });
        const wanted = data.map((text) =>
          dtype === "I64" ? BigInt(text) : Number(text.replace("inf", "Infinity")),
        );
        expect([...tensor.data], name).toEqual(wanted);
        if (dtype === "F64" || dtype.endsWith("F16") || dtype === "F32") {
          expect([...file.readF32(name)]).toEqual((wanted as number[]).map(Math.fround));
        }
      }
      file.close();
    },
  );

  test("a module's state dict, whose dict carries attributes", () => {
    const file = openWeights(join(fixtures, "module.bin"));
    expect(file.infos.get("1.num_batches_tracked")).toEqual({
      name: "1.num_batches_tracked",
      dtype: "I64",
      shape: [],
      byteLength: 8,
    });
    expect(file.readF32("1.running_var")).toEqual(Float32Array.of(1, 1, 1));
    expect(() => file.readF32("1.num_batches_tracked")).toThrow(/dtype I64/);
    file.close();
  });

  test.each(["nested.pt", "nested-legacy.pt"])("%s: plain data around a tensor", (name) => {
    const archive = openTorchArchive(join(fixtures, name));
    const root = archive.root as Map<unknown, unknown>;
    expect(root.get("text")).toBe("grüße\n");
    expect(root.get("bytes")).toEqual(Uint8Array.of(0, 255));
    expect(root.get("numbers")).toEqual([
      0,
      -1,
      255,
      65536,
      -(2 ** 31),
      2 ** 40,
      2n ** 70n,
      1.5,
      Number.POSITIVE_INFINITY,
      true,
      null,
    ]);
    expect(root.get("tuple")).toEqual([1, [2, [3, []]]]);
    expect(root.get("set")).toEqual(new Set([7]));
    expect(root.get("size")).toEqual([2, 3]);
    expect(root.get(7)).toBe("integer key");
    const deep = (root.get("deep") as Map<string, TensorRef>).get("tensor")!;
    expect(deep).toBeInstanceOf(TensorRef);
    expect(archive.tensors(new Map([["t", deep]])).readF32("t")).toEqual(Float32Array.of(-1, -0.875, -0.75));
    archive.close();
    expect(() => openTorchStateDict(join(fixtures, name))).toThrow(
      /not a plain map of tensors \(it holds text, /,
    );
  });

  test.each([
    [
      "code.pt",
      /code\.pt: names "posix\.system", which is not among the plain things we read; nothing was run/,
    ],
    ["code-legacy.pt", /names "posix\.system"/],
    ["whole-module.pt", /names "torch\.nn\.modules\.container\.Sequential"/],
    ["script.pt", /is a TorchScript program/],
  ])("%s is refused by name", (name, message) => {
    expect(() => openTorchArchive(join(fixtures, name))).toThrow(UserError);
    expect(() => openTorchArchive(join(fixtures, name))).toThrow(message);
  });

  test.each([
    ...["zip.pt", "nested.pt", "module.bin"],
    ...["legacy.pt", "nested-legacy.pt", "code.pt", "code-legacy.pt"],
  ])("%s cut short at each byte is refused, in little time and memory", (name) => {
    const whole = new Uint8Array(readFileSync(join(fixtures, name)));
    const began = performance.now();
    let room = 0;
    for (let size = 0; size < whole.length; size++) {
      const refused = () => expect(() => read(whole.subarray(0, size)), `${size} bytes`).toThrow(UserError);
      room = Math.max(room, roomFor(refused));
    }
    expect(room).toBeLessThan(1 << 20);
    expect(performance.now() - began).toBeLessThan(20_000);
    if (!name.startsWith("code")) read(whole);
  });
});

const upstreams = referenceDir("upstreams");
test.skipIf(!upstreams)("the reference folders read identically from .safetensors and .bin", () => {
  const models = readdirSync(upstreams!);
  expect(models).toHaveLength(7);
  for (const model of models) {
    const { weights } = openModelFolder(join(upstreams!, model));
    expect(weights.path).toMatch(/model\.safetensors$/);
    const archive = openWeights(join(upstreams!, model, "pytorch_model.bin"));
    expect([...archive.infos.keys()].sort()).toEqual([...weights.infos.keys()].sort());
    for (const [name, info] of weights.infos) {
      expect(archive.infos.get(name), `${model} ${name}`).toEqual(info);
      expect(
        Buffer.from(archive.readF32(name).buffer).equals(Buffer.from(weights.readF32(name).buffer)),
      ).toBe(true);
    }
    weights.close();
    archive.close();
  }
});

describe("hostile pickles", () => {
  const four = new Uint8Array(16);
  const one = { elements: 4, shape: [4], strides: [1] };
  const system = bytes(global("os", "system"), "(", value("true"), "tR");

  test("the builder itself makes readable files", () => {
    const pickled = pickle(dict({ w: tensor(one) }));
    for (const data of [archive(pickled, { 0: four }), legacy(pickled, [["0", 4, four]])]) {
      const { root } = read(data);
      expect((root as Map<string, TensorRef>).get("w")!.shape).toEqual([4]);
    }
  });

  test.each([
    ["os", "system"],
    ["posix", "system"],
    ["nt", "system"],
    ["builtins", "eval"],
    ["builtins", "exec"],
    ["__builtin__", "eval"],
    ["builtins", "getattr"],
    ["builtins", "__import__"],
    ["subprocess", "Popen"],
    ["importlib", "import_module"],
    ["torch.hub", "load"],
    ["torch.jit", "load"],
    ["torch.storage", "_load_from_bytes"],
    ["torch", "load"],
    ["numpy", "load"],
    ["operator", "attrgetter"],
    ["_operator", "attrgetter"],
    ["functools", "partial"],
    ["runpy", "run_path"],
    ["omegaconf", "../../os"],
    ["omegaconfx", "y"],
    ["toString", "call"],
    ["constructor", "constructor"],
    ["__proto__", "x"],
  ])("a name off the list is refused whether or not it is called: %s.%s", (module, name) => {
    if (module === "omegaconf") {
      // Any name of a configuration package is only ever a label.
      expect((read(archive(pickle(global(module, name), ")R"))).root as Instance).className).toBe(
        "omegaconf.../../os",
      );
      return;
    }
    expect(() => read(archive(pickle(global(module, name))))).toThrow(
      `"${module.replace("__builtin__", "builtins")}.${name}"`,
    );
    const modern = bytes(0x80, 4, 0x8c, module.length, module, 0x8c, name.length, name, 0x93, ".");
    expect(() => read(archive(modern))).toThrow(UserError);
  });

  test.each<[string, Uint8Array, RegExp]>([
    ["a call of a call's result", pickle(system, ")R"), /names "os\.system"/],
    ["a call of text", pickle(value("eval"), ")R"), /calls something that is not a name/],
    [
      "a call of a storage class",
      pickle(global("torch", "FloatStorage"), "(", value(9), "tR"),
      /bare torch\.FloatStorage/,
    ],
    ["a call of int", pickle(global("builtins", "int"), ")R"), /bare builtins\.int/],
    ["attributes of a list", pickle("]}b"), /sets attributes/],
    [
      "named arguments",
      pickle(global("argparse", "Namespace"), ")", dict({ x: value(1) }), 0x92),
      /named arguments/,
    ],
    ["an old opcode that instantiates", pickle("(ios\nsystem\n"), /instruction "i"/],
    ["OBJ", pickle("(", "o"), /instruction "o"/],
    ["text persistent ids", pickle("P0\n"), /instruction "P"/],
    ["an extension registry", pickle(0x82, 1), /instruction 0x82/],
    ["out-of-band buffers", pickle(0x97), /instruction 0x97/],
    ["protocol 6", bytes(0x80, 6, "N."), /unknown protocol/],
    ["an empty stack", pickle(), /the stack is empty/],
    ["a mark as value", pickle("("), /a mark where a value belongs/],
    ["no mark", pickle("t"), /no mark/],
    ["an unset memo", pickle("h", 3), /memo 3 is empty/],
    ["items for a list", pickle("]", value(1), value(2), "s"), /no dict/],
    ["an odd number of items", pickle("}(", value(1), "u"), /no dict/],
    ["a gigabyte of text that is not there", pickle("X", little(2 ** 30, 4), "x"), /ends too early/],
    ["an exabyte of text", bytes(0x80, 4, 0x8d, little(2n ** 62n, 8), "."), /ends too early/],
    ["an integer of 2^31 bytes", pickle(0x8b, little(2 ** 31, 4)), /integer of/],
    ["a name without end", pickle("c", "x".repeat(2000)), /name that does not end/],
    ["another file's storage", pickle("(", value("module"), value("os"), "tQ"), /what is no storage/],
    [
      "a storage of an unknown type",
      pickle(tensor({ ...one, type: "ComplexFloatStorage" })),
      /ComplexFloatStorage/,
    ],
    ["a storage of a plain class", pickle(tensor({ ...one, type: "float32" })), /type "torch\.float32"/],
    ["a storage that is absent", pickle(tensor({ ...one, key: "../x" })), /lacks the storage "\.\.\/x"/],
    [
      "a storage larger than its record",
      pickle(tensor({ ...one, elements: 5 })),
      /of 16 bytes where 20 are needed/,
    ],
    ["a shape past the storage", pickle(tensor({ ...one, shape: [5] })), /reaches past its storage/],
    ["an offset past the storage", pickle(tensor({ ...one, offset: 1 })), /reaches past/],
    ["an offset far past", pickle(tensor({ ...one, offset: 2 ** 53 - 1, shape: [0] })), /reaches past/],
    ["a stride past the storage", pickle(tensor({ ...one, strides: [2] })), /reaches past/],
    ["a negative stride", pickle(tensor({ ...one, strides: [-1] })), /not described/],
    ["a negative size", pickle(tensor({ ...one, shape: [-4] })), /not described/],
    [
      "more dimensions than PyTorch has",
      pickle(tensor({ ...one, shape: Array(65).fill(1), strides: Array(65).fill(1) })),
      /not described/,
    ],
    ["one stride too few", pickle(tensor({ ...one, strides: [] })), /sizes unlike strides/],
    ["an expanded terabyte", pickle(tensor({ ...one, shape: [2 ** 40], strides: [0] })), /reaches past/],
    [
      "sizes whose product overflows to nothing",
      pickle(tensor({ ...one, shape: [...Array(30).fill(2 ** 50), 0], strides: Array(31).fill(0) })),
      /reaches past/,
    ],
    [
      "a parameter of no tensor",
      pickle(global("torch._utils", "_rebuild_parameter"), "(NN", "tR"),
      /no tensor/,
    ],
    ["sizes from text", pickle(global("torch", "Size"), "(", value("ab"), "tR"), /not built from a list/],
    [
      "bytes in another encoding",
      pickle(global("_codecs", "encode"), "(", value("a"), value("rot13"), "tR"),
      /encoding/,
    ],
  ])("%s", (_, pickled, message) => {
    for (const data of [archive(pickled, { 0: four }), legacy(pickled, [["0", 4, four]])]) {
      // Whatever sizes it names, no room is made for what is not there.
      expect(roomFor(() => expect(() => read(data)).toThrow(UserError))).toBeLessThan(1 << 20);
    }
    expect(() => read(archive(pickled, { 0: four }))).toThrow(message);
  });

  /** Time is bounded: each of these would take minutes or gigabytes if work were not counted. */
  const quick = (data: Uint8Array, message?: RegExp) => {
    const before = performance.now();
    if (message) expect(() => read(data)).toThrow(message);
    else read(data);
    expect(performance.now() - before).toBeLessThan(20_000);
  };
  const repeat = (part: Uint8Array, times: number) => new Uint8Array(Buffer.alloc(part.length * times, part));

  test("recursion: lists nested a million deep are only data", () => {
    quick(archive(pickle(")", repeat(bytes(0x85), 1_000_000))));
  });

  test("a bomb of shared references stays as small as its file", () => {
    // Each level is a pair of the one below: 2^60 leaves in the sense of a naive walk.
    quick(archive(pickle(")", repeat(bytes("q", 0, "h", 0, 0x86), 60))));
  });

  test.each<[string, Uint8Array]>([
    ["endless instructions", repeat(bytes("N0"), 3_000_000)],
    ["pushes without end", repeat(bytes("]"), 5_000_000)],
    [
      "a long list made into a set again and again",
      bytes(
        "](",
        repeat(value(1), 100_000),
        "eq",
        0,
        global("builtins", "set"),
        "q",
        1,
        repeat(bytes("h", 1, "h", 0, 0x85, "R0"), 100),
      ),
    ],
    [
      "long text encoded again and again",
      bytes(
        "X",
        little(1 << 20, 4),
        new Uint8Array(1 << 20),
        "q",
        0,
        global("_codecs", "encode"),
        "q",
        1,
        value("latin1"),
        "q",
        2,
        repeat(bytes("h", 1, "h", 0, "h", 2, 0x86, "R0"), 9),
      ),
    ],
  ])("work is counted: %s", (_, instructions) => {
    quick(archive(pickle(instructions, "N")), /absurdly large/);
  });

  test("attributes set again and again are not copied", () => {
    const items = bytes("}(", repeat(bytes("NN"), 100_000), "uq", 0);
    const again = repeat(bytes("h", 0, "b"), 200_000);
    quick(archive(pickle(items, global("argparse", "Namespace"), ")R", again)));
  });

  test("cycles are read as cycles", () => {
    const { root } = read(archive(pickle("]q", 0, "h", 0, "a")));
    expect((root as unknown[])[0]).toBe(root);
  });
});

describe("hostile archives", () => {
  const good = pickle(dict({}));
  const data = { name: "a/data.pkl", data: good };
  const bomb = { name: "a/data/0", data: new Uint8Array(8) };

  test.each<[string, Uint8Array, RegExp]>([
    ["an empty file", new Uint8Array(0), /neither a ZIP archive nor a pickle/],
    ["text", bytes("hello world"), /neither/],
    ["a script before the archive", bytes("#!/bin/sh\n", zip([data])), /neither/],
    ["a comment that hides an archive", zip([data], { comment: "x".repeat(22) }), /does not end as a ZIP/],
    ["bytes after the archive", bytes(zip([data]), "\0\0\0\0"), /does not end as a ZIP/],
    ["two archives in one", bytes(zip([data]), zip([data])), /overlaps|between|damaged|no record|ZIP/],
    ["a compressed record", zip([{ ...data, says: { method: 8 } }]), /compressed record "a\/data\.pkl"/],
    [
      "a zip bomb",
      zip([data, { ...bomb, says: { method: 8, size: 2 ** 32 - 2, packed: 8 } }]),
      /compressed record/,
    ],
    ["stored, yet of two sizes", zip([{ ...data, says: { packed: 1 } }]), /compressed record/],
    ["an encrypted record", zip([{ ...data, says: { flags: 1 } }]), /encrypted record/],
    ["overlapping records", zip([data, { ...bomb, says: { size: 2 ** 20 } }]), /overlaps another/],
    [
      "two records on one place",
      zip([data, { ...bomb, says: { header: 0, localName: "a/data/0" } }]),
      /calls itself/,
    ],
    ["a record past the end", zip([data, { ...bomb, says: { header: 2 ** 31 } }]), /truncated\?/],
    [
      "a record with another name inside",
      zip([{ ...data, says: { localName: "a/evil.pkl" } }]),
      /calls itself "a\/evil/,
    ],
    ["a record twice", zip([data, data]), /"a\/data\.pkl" twice/],
    ["two pickles", zip([data, { ...data, name: "b/data.pkl" }]), /no single data\.pkl/],
    ["no pickle", zip([bomb]), /no single data\.pkl/],
    ["more records than there are", zip([data], { count: 60_000 }), /damaged ZIP directory/],
    ["fewer records than there are", zip([data, bomb], { count: 1 }), /another length/],
    ["a directory elsewhere", zip([data], { start: 0 }), /between its ZIP directory and the end/],
    ["a gigabyte of directory", zip([data], { directory: 2 ** 30 }), /between its ZIP directory and the end/],
    ["a directory that begins before the file", zip([data], { start: 2 ** 31 }), /ZIP/],
    ["an archive behind a pickle", bytes(pickle(value(1)), archive(good)), /not one of torch\.save/],
    ["an archive behind a legacy file", bytes(legacy(good), archive(good)), /bytes after its last storage/],
    ["big-endian data", zip([data, { name: "a/byteorder", data: bytes("big") }]), /big-endian/],
  ])("%s", (_, file, message) => {
    expect(roomFor(() => expect(() => read(file)).toThrow(UserError))).toBeLessThan(1 << 20);
    expect(() => read(file)).toThrow(message);
  });

  test("a pickle beyond any checkpoint's is refused before it is read", () => {
    const file = archive(new Uint8Array((64 << 20) + 1));
    expect(roomFor(() => expect(() => read(file)).toThrow(/pickle of 67108865 bytes/))).toBeLessThan(1 << 20);
  });

  test("sizes and places in 64 bits, true and false", () => {
    expect((read(zip([data, bomb], { wide: {} })).root as Map<string, unknown>).size).toBe(0);
    const refused = (wide: { endAt?: number | bigint; fields?: number }, says = {}) =>
      expect(() => read(zip([data, { ...bomb, says }], { wide }))).toThrow(UserError);
    refused({ endAt: 0 });
    refused({ endAt: 2n ** 63n });
    refused({ endAt: 2 ** 40 });
    refused({ fields: 2 });
    refused({ fields: 0 });
    refused({}, { size: 2 ** 52 });
    refused({}, { header: 2 ** 52 });
  });

  const one = pickle(dict({ w: tensor({ elements: 4, shape: [4], strides: [1] }) }));
  const four = new Uint8Array(16);
  test("legacy: a storage that is a view of another", () => {
    const file = (view: [number, number]) =>
      legacy(pickle(dict({ w: tensor({ elements: 4, shape: [2], strides: [1], view }) })), [
        ["0", 4, new Uint8Array(Float32Array.of(5, 6, 7, 8).buffer)],
      ]);
    expect(stateDict(read(file([1, 3]))).readF32("w")).toEqual(Float32Array.of(6, 7));
    expect(() => read(file([2, 3]))).toThrow(/view that reaches past its storage/);
    expect(() => read(file([-1, 3]))).toThrow(/view that reaches past its storage/);
    expect(() => read(file([3, 1]))).toThrow(/tensor \[2\] that reaches past its storage/);
  });

  test.each<[string, Uint8Array, RegExp]>([
    ["a plain pickle", pickle(value(1)), /not one of torch\.save/],
    ["a storage larger than the file", legacy(one, [["0", 2 ** 40, four]]), /ends inside the storage "0"/],
    ["a storage of 2^63 elements", legacy(one, [["0", 2n ** 63n, four]]), /ends inside the storage/],
    [
      "a storage smaller than its tensors",
      legacy(one, [["0", 3, four.subarray(4)]]),
      /smaller than its tensors/,
    ],
    [
      "a storage that no tensor uses",
      legacy(one, [
        ["0", 4, four],
        ["1", 4, four],
      ]),
      /no tensor uses/,
    ],
    [
      "a storage twice",
      legacy(one, [
        ["0", 4, four],
        ["0", 4, four],
      ]),
      /one twice/,
    ],
    ["a missing storage", legacy(one), /lacks the storage "0"/],
    [
      "bytes at the end",
      bytes(legacy(one, [["0", 4, four]]), "PK\x05\x06"),
      /4 bytes after its last storage/,
    ],
  ])("legacy: %s", (_, file, message) => {
    expect(() => read(file)).toThrow(UserError);
    expect(() => read(file)).toThrow(message);
  });
});

describe("fuzz: whatever the bytes, a sentence or a result", () => {
  function survives(data: Uint8Array): void {
    try {
      const { infos, readNumbers } = stateDict(read(data));
      for (const name of infos.keys()) readNumbers(name);
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      expect(error.message).toMatch(/^m\.pt: /);
    }
  }

  test.each(["zip.pt", "legacy.pt", "nested.pt", "nested-legacy.pt"])("changed bytes of %s", (name) => {
    const whole = new Uint8Array(readFileSync(join(fixtures, name)));
    const edits = fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(edits, (edits) => {
        const data = whole.slice();
        for (const [at, byte] of edits) data[at] = byte;
        survives(data);
      }),
      { numRuns: 600 },
    );
  });

  test("random programs of valid instructions", () => {
    const known = "(.012JKMNXUBC])tladsueqrhjcRbQ\x81\x85\x86\x87\x88\x89\x8a\x8f\x90\x91\x92\x93\x94\x95";
    const instruction = fc.constantFrom(...known).map((char) => bytes(char));
    const useful = fc.constantFrom(
      value(3),
      value("storage"),
      value([1, 2]),
      global("torch._utils", "_rebuild_tensor_v2"),
      global("collections", "OrderedDict"),
      global("argparse", "Namespace"),
      tensor({ elements: 4, shape: [2, 2], strides: [1, 2] }),
      bytes("K", 1),
      bytes("q", 0),
      bytes("h", 0),
    );
    fc.assert(
      fc.property(
        fc.array(fc.oneof(instruction, useful, fc.uint8Array({ maxLength: 3 })), { maxLength: 40 }),
        (parts) => {
          survives(archive(pickle(...parts), { 0: new Uint8Array(16) }));
          survives(legacy(pickle(...parts), [["0", 4, new Uint8Array(16)]]));
        },
      ),
      { numRuns: 1500 },
    );
  });
});
