import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { fromBinary } from "@bufbuild/protobuf";
import { beforeAll, describe, expect, it } from "vitest";
import { readOnnxFile } from "../../src/runtime/onnx-file.ts";
import { type Graph, ModelSchema } from "../../src/tensor/onnx/onnx_pb.ts";
import { OPSETS } from "../../src/tensor/onnx/write.ts";
import { evaluateRun } from "../../src/train/evaluate-run.ts";
import { openModel } from "../../src/train/open-model.ts";
import { Inference } from "../../src/use/inference.ts";
import { evaluateOnnx } from "../../src/use/onnx/evaluate.ts";
import { checkExport, exportOnnx } from "../../src/use/onnx/export.ts";
import { OnnxModel } from "../../src/use/onnx/model.ts";
import { referenceDir } from "../shared.ts";
import { TINY_CONFIG } from "../train/tiny-corpus.ts";
import { corpus, far, scratch, signal, tinyRun } from "./trained.ts";

const bin = resolve(import.meta.dirname, "../../bin/voxsmith.js");
const plain = { opset: 21, quantize: false };
const lstm = { hidden: 8, layers: 1, bidirectional: true };
let run: string;
/** Wide enough for its products to be quantised. */
let wide: string;

beforeAll(async () => {
  const objectives = {
    word: { loss: "cross-entropy", target: "labels.word", head: { lstm } },
    letters: { loss: "ctc", target: "characters" },
    pitch: { loss: "mse", target: "labels.pitch", pool: "none" },
  };
  const upstream = { config: TINY_CONFIG, layers: "weighted" };
  run = await tinyRun("run", { objectives, upstream });
  const config = { ...TINY_CONFIG, hidden_size: 64, intermediate_size: 128, num_attention_heads: 4 };
  wide = await tinyRun("wide", { epochs: 8, upstream: { config } });
});

let count = 0;
const fresh = () => join(scratch, `export-${count++}`);

function operations(path: string): { domains: Set<string>; types: string[]; inputs: string[] } {
  const model = fromBinary(ModelSchema, readFileSync(path));
  const nodes = (graph: Graph): Graph["node"] =>
    graph.node.flatMap((node) => [node, ...node.attribute.flatMap(({ g }) => (g ? nodes(g) : []))]);
  const all = nodes(model.graph!);
  return {
    domains: new Set([...all.map(({ domain }) => domain), ...model.opsetImport.map(({ domain }) => domain)]),
    types: all.map(({ opType }) => opType),
    inputs: model.graph!.input.map(({ name }) => name),
  };
}

describe("export to ONNX", () => {
  it("writes a model of standard operations alone that says what the trainer's evaluation says", async () => {
    const folder = fresh();
    const model = openModel(run);
    const { files } = await exportOnnx(folder, model, plain);
    expect(files).toEqual([join(folder, "onnx/model.onnx")]);
    const { domains, inputs } = operations(files[0]);
    expect([...domains]).toEqual([""]);
    // Weights are inside.
    expect(inputs).toEqual(["input_values"]);
    expect((await checkExport(files[0], model, { threads: 1 })).error).toBeLessThan(1e-5);
    const onnx = await OnnxModel.open(files[0]);
    expect(onnx.metadata.outputs).toMatchObject([
      {
        name: "logits",
        objective: "letters",
        kind: "sequence",
        blank: 0,
        symbols: ["<pad>", "|", "a", "b", "c"],
      },
      { name: "word", objective: "word", kind: "class", classes: ["ab", "cb"] },
      { name: "pitch", objective: "pitch", kind: "number", label: "pitch" },
    ]);
    expect(onnx.metadata.audio).toEqual({
      input: "input_values",
      sampleRate: 16_000,
      channels: 1,
      normalize: true,
    });
    await onnx.dispose();
  });

  it("agrees with the evaluation of a run over its corpus", async () => {
    const folder = fresh();
    const { files } = await exportOnnx(folder, openModel(run), plain);
    const options = { data: corpus.folder, skipBad: false, log: () => {} };
    const ours = await evaluateRun(run, "test", options);
    const theirs = await evaluateOnnx(run, "test", files[0], options);
    // All test utterances have one pitch, so that its correlation is not defined.
    for (const [name, value] of Object.entries(theirs.metrics))
      if (!Number.isNaN(ours.metrics[name])) expect(value).toBeCloseTo(ours.metrics[name], 4);
    expect(Object.keys(theirs.metrics)).toEqual(
      Object.keys(ours.metrics).filter((name) => !name.endsWith(".loss")),
    );
    expect(theirs.utterances).toBe(ours.utterances);
    await expect(evaluateOnnx(wide, "test", files[0], options)).resolves.toBeDefined();
    const other = fresh();
    await exportOnnx(other, openModel("log-mel"), plain);
    await expect(evaluateOnnx(run, "test", join(other, "onnx/model.onnx"), options)).rejects.toThrow(
      'has no output for "word"',
    );
  });

  it("writes every operator set it offers", async () => {
    const model = openModel(run);
    const own = await Inference.of(model, { threads: 1 });
    const samples = signal(4000);
    const { scores } = await own.hear(samples, true);
    for (const opset of OPSETS) {
      const { files } = await exportOnnx(fresh(), model, { ...plain, opset });
      expect(readOnnxFile(files[0]).operatorSets.get("")).toBe(opset);
      expect(operations(files[0]).types.includes("Gelu")).toBe(opset >= 20);
      const onnx = await OnnxModel.open(files[0]);
      const { letters } = await onnx.hear(samples);
      expect(far(letters.data as Float32Array, scores.letters.data as Float32Array)).toBeLessThan(1e-4);
      await onnx.dispose();
    }
    await own.dispose();
  });

  it.for([
    ...(referenceDir("upstreams") ? readdirSync(referenceDir("upstreams")!) : []),
    "log-mel",
    "decoar2.pt",
  ])("exports %s", async (name) => {
    const path = name.endsWith(".pt")
      ? resolve(import.meta.dirname, "../fixtures/weights/checkpoints", name)
      : name === "log-mel"
        ? name
        : referenceDir("upstreams", name)!;
    const model = openModel(path);
    const { files } = await exportOnnx(fresh(), model, plain);
    expect([...operations(files[0]).domains]).toEqual([""]);
    const { error } = await checkExport(files[0], model, { threads: 1 });
    expect(error).toBeLessThan(1e-4);
  });

  it("computes weight norm once and for all", async () => {
    const { files } = await exportOnnx(fresh(), openModel(run), plain);
    const { initializers } = readOnnxFile(files[0]).graph;
    const names = [...initializers.keys()].filter((name) => name.includes("pos_conv_embed"));
    expect(names.sort()).toEqual(
      ["bias", "weight"].map((part) => `wav2vec2.encoder.pos_conv_embed.conv.${part}`),
    );
    const own = openModel(run).store;
    const path = "wav2vec2.encoder.pos_conv_embed.conv.parametrizations.weight";
    const [size, direction] = [own.array(`${path}.original0`), own.array(`${path}.original1`)];
    const kernel = size.length;
    const squares = size.map((_, k) => direction.reduce((s, v, i) => (i % kernel === k ? s + v * v : s), 0));
    const expected = direction.map((v, i) => (v * size[i % kernel]) / Math.sqrt(squares[i % kernel]));
    const stored = initializers.get("wav2vec2.encoder.pos_conv_embed.conv.weight")!;
    expect(far(stored.data as Float32Array, expected)).toBeLessThan(1e-6);
    // The vector that hides frames in training is no part of the model in use.
    expect(initializers.has("wav2vec2.masked_spec_embed")).toBe(false);
  });

  it("fixes all sizes, and hears no padding", async () => {
    const folder = fresh();
    const model = openModel(run);
    const { files } = await exportOnnx(folder, model, { ...plain, samples: 16_000 });
    const { inputs } = readOnnxFile(files[0]).graph;
    expect(inputs.map(({ name, shape }) => [name, shape])).toEqual([
      ["input_values", [1, 16_000]],
      ["attention_mask", [1, 16_000]],
    ]);
    expect(readOnnxFile(files[0]).graph.outputs.flatMap(({ shape }) => shape)).toEqual([
      1, 98, 5, 1, 2, 1, 1,
    ]);
    expect((await checkExport(files[0], model, { threads: 1 })).error).toBeLessThan(1e-5);
    const onnx = await OnnxModel.open(files[0]);
    await expect(onnx.hear(signal(16_001))).rejects.toThrow("takes 16000 samples (1 s) at most");
    await onnx.dispose();
    await expect(exportOnnx(fresh(), model, { ...plain, samples: 30 })).rejects.toThrow("too few");
  });

  it("puts many weights into a file beside the model", async () => {
    const folder = fresh();
    const model = openModel(run);
    const { files } = await exportOnnx(folder, model, { ...plain, largest: 1000 });
    const data = join(folder, "onnx/model.onnx_data");
    expect(files).toEqual([join(folder, "onnx/model.onnx"), data]);
    expect(statSync(files[0]).size).toBeLessThan(statSync(data).size * 3);
    expect((await checkExport(files[0], model, { threads: 1 })).error).toBeLessThan(1e-5);
    const config = JSON.parse(readFileSync(join(folder, "config.json"), "utf8"));
    expect(config["transformers.js_config"]).toEqual({ use_external_data_format: true });
    // Written again without, nothing stale stays behind.
    await exportOnnx(folder, model, plain);
    expect(existsSync(data)).toBe(false);
  });

  it("quantises products with 8-bit weights, of which the outputs stay near", async () => {
    const folder = fresh();
    const model = openModel(wide);
    const float = await exportOnnx(folder, model, plain);
    for (const largest of [undefined, 1000]) {
      const eight = await exportOnnx(folder, model, { ...plain, quantize: true, largest });
      // Per layer q, k, v, out and both halves of the feed-forward; the projection is too small.
      expect(eight.quantized).toBe(12);
      const { domains, types } = operations(eight.files[0]);
      expect([...domains]).toEqual([""]);
      expect(types.filter((type) => type === "MatMulInteger")).toHaveLength(12);
      // q, k and v share one quantised input.
      expect(types.filter((type) => type === "DynamicQuantizeLinear")).toHaveLength(8);
      const { initializers } = readOnnxFile(eight.files[0]).graph;
      const name = "wav2vec2.encoder.layers.0.attention.q_proj.weight";
      expect(initializers.has(name)).toBe(false);
      const [q, s] = [`${name}_quantized`, `${name}_scale`].map((each) => initializers.get(each)!);
      expect([q.type, q.shape, s.shape]).toEqual(["i8", [64, 64], [64]]);
      const weight = model.store.array(name);
      for (let i = 0; i < 64 * 64; i++) {
        const [n, k] = [Math.floor(i / 64), i % 64];
        const back = Number(q.data[k * 64 + n]) * Number(s.data[n]);
        expect(Math.abs(back - weight[i])).toBeLessThanOrEqual(Number(s.data[n]) / 2 + 1e-7);
      }
      const { error } = await checkExport(eight.files[0], model, { threads: 1 });
      expect(error).toBeGreaterThan(0);
      expect(error).toBeLessThan(0.05);
      expect(eight.bytes).toBeLessThan(0.6 * float.bytes);
    }
  });

  it("runs in onnxruntime-web", async () => {
    const packageName = "onnxruntime-web";
    const ort = await import(packageName).catch(() => undefined);
    if (ort === undefined) return console.log("skipped: onnxruntime-web is not installed (npm ci)");
    const folder = fresh();
    const model = openModel(wide);
    const own = await Inference.of(model, { threads: 1 });
    const samples = signal(8000);
    const { scores } = await own.hear(samples, true);
    await own.dispose();
    for (const [quantize, bar] of [
      [false, 1e-4],
      [true, 0.2],
    ] as const) {
      const { files } = await exportOnnx(folder, model, { ...plain, quantize });
      const session = await ort.InferenceSession.create(new Uint8Array(readFileSync(files[0])), {
        executionProviders: ["wasm"],
      });
      const results = await session.run({ input_values: new ort.Tensor("float32", samples, [1, 8000]) });
      const { data, dims } = results.logits as { data: Float32Array; dims: number[] };
      expect(dims).toEqual([...scores.letters.shape]);
      expect(far(data, scores.letters.data as Float32Array)).toBeLessThan(bar);
      await session.release();
    }
  });
});

describe("voxsmith export", () => {
  const cli = (...args: string[]) => spawnSync(process.execPath, [bin, ...args], { encoding: "utf8" });

  it("checks what it wrote, and eval takes it", () => {
    const folder = fresh();
    const written = cli("export", wide, "--to", "onnx", "--out", folder, "--quantize", "int8", "--json");
    expect(written.status).toBe(0);
    const result = JSON.parse(written.stdout);
    expect(result).toMatchObject({ opset: 21, quantized: 12, check: { seconds: 10 } });
    expect(readdirSync(folder).sort()).toEqual(
      [
        ...["config.json", "onnx", "preprocessor_config.json", "tokenizer.json"],
        ...["tokenizer_config.json", "vocab.json", "voxsmith.json"],
      ].sort(),
    );
    const [onnx] = result.files;
    const evaluated = cli("eval", wide, "--data", corpus.folder, "--onnx", onnx, "--json");
    expect(evaluated.status).toBe(0);
    expect(JSON.parse(evaluated.stdout).metrics).toHaveProperty("word.accuracy");
  });

  it("refuses with one sentence", () => {
    const { status, stderr } = cli("export", run, "--opset", "17", "--out", fresh());
    expect(status).toBe(2);
    expect(stderr).toBe(
      "voxsmith: option `--opset <n>` argument `17` is invalid. It must be one of 18, 19, 20, 21, 22, 23, 24.\n",
    );
  });

  it("takes no file of others", async () => {
    const foreign = join(scratch, "foreign.onnx");
    copyFileSync(join(import.meta.dirname, "onnx.test.ts"), foreign);
    await expect(OnnxModel.open(foreign)).rejects.toThrow("is not an ONNX file");
    writeFileSync(foreign, "");
    await expect(OnnxModel.open(foreign)).rejects.toThrow("was not written by");
    await expect(OnnxModel.open(join(scratch, "absent.onnx"))).rejects.toThrow("does not exist");
  });
});
