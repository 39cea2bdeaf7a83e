import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeEach, describe, expect, test } from "vitest";
import { UserError } from "../../src/errors.ts";
import { loadStrict, openModelFolder, openWeights } from "../../src/weights/model-folder.ts";
import { writeSafetensors } from "../../src/weights/safetensors.ts";

const root = mkdtempSync(join(tmpdir(), "voxsmith-model-folder-"));
afterAll(() => rmSync(root, { recursive: true }));

let folder: string;
let counter = 0;
beforeEach(() => {
  folder = join(root, `case-${counter++}`);
  mkdirSync(folder);
});

const entry = (name: string, ...values: number[]) => ({
  name,
  dtype: "F32" as const,
  shape: [values.length],
  data: Float32Array.from(values),
});
const put = (name: string, text: string) => writeFileSync(join(folder, name), text);

/** Two shards: "a" and "c" in the first, "b" in the second. */
function writeShards(map: Record<string, unknown>): void {
  writeSafetensors(join(folder, "model-1.safetensors"), [entry("a", 1), entry("c", 3, 4)]);
  writeSafetensors(join(folder, "model-2.safetensors"), [entry("b", 2)]);
  put("model.safetensors.index.json", JSON.stringify({ metadata: { total_size: 16 }, weight_map: map }));
}
const goodMap = { a: "model-1.safetensors", b: "model-2.safetensors", c: "model-1.safetensors" };

describe("folders", () => {
  test("config and one file; a lone file", () => {
    writeSafetensors(join(folder, "model.safetensors"), [entry("a", 1, 2)]);
    put("config.json", '{"hidden_size": 8}');
    const model = openModelFolder(folder);
    expect(model.config).toEqual({ hidden_size: 8 });
    expect([...model.weights.readF32("a")]).toEqual([1, 2]);
    model.weights.close();
    expect([...openWeights(join(folder, "model.safetensors")).infos.keys()]).toEqual(["a"]);
  });

  test("shards read as one", () => {
    writeShards(goodMap);
    const weights = openWeights(folder);
    expect([...weights.infos.keys()].sort()).toEqual(["a", "b", "c"]);
    expect(["a", "b", "c"].flatMap((name) => [...weights.readF32(name)])).toEqual([1, 2, 3, 4]);
    expect(weights.readNumbers("c").shape).toEqual([2]);
    expect(() => weights.readF32("d")).toThrow(UserError);
    weights.close();
  });

  test.each<[string, Record<string, unknown>, RegExp]>([
    [
      "a tensor the index forgets",
      { a: goodMap.a, b: goodMap.b },
      /holds "c", which model\.safetensors\.index/,
    ],
    [
      "a tensor in the wrong shard",
      { ...goodMap, b: goodMap.a },
      /model-1\.safetensors: holds no tensor "b"/,
    ],
    [
      "a shard that is absent",
      { ...goodMap, b: "model-3.safetensors" },
      /model-3\.safetensors: does not exist/,
    ],
    ["a path out of the folder", { ...goodMap, b: "../model.safetensors" }, /not a file name/],
    ["a number", { ...goodMap, b: 2 }, /not a file name/],
  ])("shards: %s", (_, map, message) => {
    writeShards(map);
    expect(() => openWeights(folder)).toThrow(UserError);
    expect(() => openWeights(folder)).toThrow(message);
  });

  test("what is not a model is refused by a sentence", () => {
    expect(() => openModelFolder(join(folder, "none"))).toThrow(/none: does not exist/);
    expect(() => openModelFolder(folder)).toThrow(/config\.json: does not exist/);
    put("config.json", "{");
    expect(() => openModelFolder(folder)).toThrow(/config\.json: is not valid JSON/);
    put("config.json", "[]");
    expect(() => openModelFolder(folder)).toThrow(/config\.json: must hold a JSON object/);
    put("config.json", "{}");
    expect(() => openModelFolder(folder)).toThrow(/holds none of model\.safetensors/);
    put("model.safetensors.index.json", "{}");
    expect(() => openModelFolder(folder)).toThrow(/must hold an object "weight_map"/);
  });
});

describe("loadStrict", () => {
  const shapes = (names: Record<string, number[]>) => new Map(Object.entries(names));

  function open(...names: string[]) {
    const path = join(folder, "model.safetensors");
    writeSafetensors(
      path,
      names.map((name, i) => entry(name, i, i)),
    );
    return openWeights(path);
  }

  test("gives every wanted tensor under its own name, in the model's order", () => {
    const view = loadStrict(open("x.a", "x.b", "junk"), shapes({ b: [2], a: [2] }), (name) =>
      name === "junk" ? undefined : name.slice(2),
    );
    expect([...view.infos.keys()]).toEqual(["b", "a"]);
    expect(view.infos.get("b")!.name).toBe("b");
    expect([...view.readF32("a")]).toEqual([0, 0]);
    expect(view.readNumbers("b").data).toEqual(Float32Array.of(1, 1));
    expect(() => view.readF32("junk")).toThrow(UserError);
  });

  test("one error lists what is missing, left over and misshapen", () => {
    const source = open("a", "b", "c");
    let message = "";
    try {
      loadStrict(source, shapes({ a: [2], b: [1, 2], d: [2], e: [2] }));
    } catch (error) {
      expect(error).toBeInstanceOf(UserError);
      message = (error as Error).message;
    }
    expect(message).toBe(
      `${source.path}: the tensors do not fit the model; 2 missing: "d", "e"; 1 left over: "c"; ` +
        `1 of another shape: "b" [2] instead of [1, 2]`,
    );
  });

  test("two tensors for one place are refused; long lists are capped", () => {
    expect(() => loadStrict(open("a", "A"), shapes({ a: [2] }), (name) => name.toLowerCase())).toThrow(
      /1 left over: "a" \(a second "a"\)/,
    );
    const many = Object.fromEntries(Array.from({ length: 30 }, (_, i) => [`t${i}`, [2]]));
    expect(() => loadStrict(open(), shapes(many))).toThrow(/30 missing: "t0".*"t7" and 22 more$/);
  });
});
