import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { gzipSync } from "node:zlib";
import { beforeAll, describe, expect, it } from "vitest";
import { command as exportCommand } from "../../../src/cli/export.ts";
import { command as lmCommand } from "../../../src/cli/lm.ts";
import { beamSearch } from "../../../src/decode/beam.ts";
import { lexiconScorer, readLexicon } from "../../../src/decode/lexicon.ts";
import { readArpa } from "../../../src/decode/ngram.ts";
import { evaluatePacks } from "../../../src/train/evaluate-packs.ts";
import { evaluateRun } from "../../../src/train/evaluate-run.ts";
import type { LmOptions } from "../../../src/train/lm-decoding.ts";
import { openModel, openPack } from "../../../src/train/open-model.ts";
import { packRun, readPack } from "../../../src/train/pack.ts";
import { parseRecipe } from "../../../src/train/recipe.ts";
import { RoutedModel } from "../../../src/train/routed.ts";
import type { SequenceTarget } from "../../../src/train/targets.ts";
import { train } from "../../../src/train/trainer.ts";
import { unpack } from "../../../src/train/unpack.ts";
import { Inference } from "../../../src/use/inference.ts";
import { evaluateOnnx } from "../../../src/use/onnx/evaluate.ts";
import { checkExport, exportOnnx } from "../../../src/use/onnx/export.ts";
import { OnnxModel } from "../../../src/use/onnx/model.ts";
import { checkRouted, exportRouted } from "../../../src/use/onnx/routed.ts";
import { readTask } from "../../../src/use/onnx/task-file.ts";
import { openWeights } from "../../../src/weights/model-folder.ts";
import { tinyCorpus, tinyRecipe } from "../../train/tiny-corpus.ts";

const corpus = tinyCorpus(2);
const folder = mkdtempSync(join(tmpdir(), "packs-"));
const at = (...parts: string[]) => join(folder, ...parts);
const options = { data: corpus.folder, skipBad: false, log: () => {} };
const run = (name: string, changes: Record<string, unknown>) =>
  train(parseRecipe(tinyRecipe({ name, epochs: 2, ...changes }), "tiny.yaml"), { ...options, out: at(name) });
const mask = { sparsity: 0.3, modules: "both" };

beforeAll(async () => {
  await run("backbone", {});
  await run("other", { seed: 5 });
  // Named by the words that the route sends them.
  await run("ab", { upstream: { model: at("backbone") }, plan: { mask } });
  const split = { by: "speakers", valid: ["s2"], test: ["s3"] };
  await run("cb", {
    ...{ upstream: { model: at("backbone") }, plan: { mask: { sparsity: 0.1 } }, seed: 2 },
    // A class more than the other task has.
    corpus: { manifest: "manifest.jsonl", split, classes: { word: ["ab", "cb", "none"] } },
  });
  for (const name of ["ab", "cb"]) packRun(at(name), at(`${name}.pack`));
}, 60_000);

describe("a mask pack", () => {
  it("reports its size and how much of it magnitude pruning would have chosen", () => {
    const report = packRun(at("ab"), at("again.pack"));
    expect(readFileSync(at("again.pack"))).toEqual(readFileSync(at("ab.pack")));
    expect(report.bytes).toBe(statSync(at("ab.pack")).size);
    expect(report.matrices).toHaveLength(12);
    expect(report.weights).toBe(2 * (4 * 16 * 16 + 2 * 16 * 32));
    expect(report.rawBytes).toBe(report.weights / 8);
    expect(report.maskBytes).toBeLessThanOrEqual(report.rawBytes);
    expect(report.overlap).toBeGreaterThan(0.5);
    expect(report.overlap).toBeLessThan(1);
    expect(report.sparsity).toBeCloseTo(0.3, 2);
  });

  it("evaluates as the run that it came from", async () => {
    for (const name of ["ab", "cb"]) {
      const of = await evaluateRun(at(name), "test", { ...options, threads: 1 });
      const packed = await evaluatePacks([at(`${name}.pack`)], "test", { ...options, threads: 1 });
      expect(packed.tasks).toEqual([{ name, utterances: of.utterances, metrics: of.metrics }]);
    }
  });

  it("unpacks into the run's own model, bit for bit", async () => {
    unpack(at("ab.pack"), at("unpacked"));
    for (const name of ["model.safetensors", "heads.safetensors", "config.json", "recipe.yaml"])
      expect([name, readFileSync(at("unpacked", name))]).toEqual([name, readFileSync(at("ab", name))]);
    const { metrics } = await evaluateRun(at("unpacked"), "test", { ...options, threads: 1 });
    expect(metrics).toEqual((await evaluateRun(at("ab"), "test", { ...options, threads: 1 })).metrics);
  });

  it("opens as a model wherever one is asked for", async () => {
    const [packed, own] = [await Inference.open(at("ab.pack")), await Inference.open(at("ab"))];
    const wave = Float32Array.from({ length: 4000 }, (_, i) => Math.sin(i / 9));
    expect((await packed.hear(wave)).scores).toEqual((await own.hear(wave)).scores);
    await packed.dispose();
    await own.dispose();
    expect(openModel(at("ab.pack")).recipe!.name).toBe("ab");
  });

  it("refuses another backbone, and what is no pack or a damaged one", async () => {
    expect(() => unpack(at("ab.pack"), at("wrong"), at("other"))).toThrow(/belongs to another backbone/);
    expect(() => packRun(at("ab"), at("x.pack"), at("other"))).toThrow(/belongs to another backbone/);
    await expect(
      evaluatePacks([at("ab.pack")], "test", { ...options, backbone: at("other") }),
    ).rejects.toThrow(/belongs to another backbone/);
    expect(() => packRun(at("backbone"), at("x.pack"))).toThrow(/has no masks.safetensors/);
    expect(() => readPack(at("ab", "model.safetensors"))).toThrow(/is no mask pack/);
    const bytes = readFileSync(at("ab.pack"));
    const header = Number(bytes.readBigUInt64LE(0));
    const {
      data_offsets: [start, end],
    } = Object.entries(JSON.parse(bytes.toString("utf8", 8, 8 + header))).find(([key]) =>
      key.startsWith("mask:"),
    )![1] as { data_offsets: number[] };
    bytes[8 + header + ((start + end) >> 1)] ^= 4;
    writeFileSync(at("damaged.pack"), bytes);
    expect(() => unpack(at("damaged.pack"), at("wrong"))).toThrow(/damaged/);
  });

  it("shares one backbone with others: each utterance is routed to the masks of its label", async () => {
    const paths = [at("ab.pack"), at("cb.pack")];
    const both = await evaluatePacks(paths, "test", { ...options, route: "word", threads: 1 });
    expect(both.tasks.map(({ name, utterances }) => [name, utterances])).toEqual([
      ["ab", 2],
      ["cb", 2],
    ]);
    for (const name of ["ab", "cb"]) {
      const alone = await evaluateRun(at(name), "test", { ...options, threads: 1 });
      const wanted = new Map(alone.predictions.map(({ index, answers }) => [index, answers]));
      const mine = both.predictions.filter(({ task }) => task === name);
      // The tiny corpus lists its two words in turn.
      for (const { id, answers } of mine) {
        const [index] = [...wanted].find(([, a]) => JSON.stringify(a) === JSON.stringify(answers)) ?? [];
        expect([id, index]).not.toEqual([id, undefined]);
      }
    }
    await expect(evaluatePacks(paths, "test", options)).rejects.toThrow(/--route/);
    await expect(evaluatePacks(paths, "test", { ...options, route: "pitch" })).rejects.toThrow(
      /the packs are named/,
    );
  });

  it("goes out to ONNX with its masks in the weights, and says what the trainer's evaluation says", async () => {
    const model = openPack(at("ab.pack"), at("backbone"));
    const { files } = await exportOnnx(at("dense"), model, { opset: 21, quantize: false });
    expect((await checkExport(files[0], model, { threads: 1 })).error).toBeLessThan(1e-5);
    const zeros = model.store
      .array("wav2vec2.encoder.layers.0.attention.q_proj.weight")
      .filter((w) => w === 0);
    expect(zeros.length).toBeGreaterThan(0);
  });

  it("goes out with others as one model, whose masks and heads are inputs", async () => {
    const packs = [at("ab.pack"), at("cb.pack")];
    const plain = { opset: 21, quantize: false };
    const file = await exportRouted(at("routed"), packs, plain);
    expect(file.files).toHaveLength(3);
    expect((await checkRouted(file, packs, { threads: 1 })).error).toBeLessThan(1e-5);
    const onnx = await OnnxModel.open(file.files[0], { threads: 1 });
    expect(onnx.metadata.task!.masks).toHaveLength(12);
    expect(onnx.metadata.task!.parameters).toContainEqual({
      name: "heads.word.weight",
      shape: ["classes.word", 16],
    });
    const wave = Float32Array.from({ length: 4000 }, (_, i) => Math.sin(i / 9));
    await expect(onnx.hear(wave)).rejects.toThrow(/masks and heads of a task/);
    const [ab, cb] = ["ab", "cb"].map((name) => readTask(file.tasks[name]));
    // cb masks only feed-forward blocks: of attention it keeps all.
    const attention = cb.feeds["wav2vec2.encoder.layers.0.attention.q_proj.weight.mask"];
    expect(attention.data.every((flag) => flag === 1)).toBe(true);
    expect((await onnx.hear(wave, ab.feeds)).word.shape).toEqual([1, 2]);
    expect((await onnx.hear(wave, cb.feeds)).word.shape).toEqual([1, 3]);
    expect(cb.outputs).toMatchObject([{ name: "logits" }, { name: "word", classes: ["ab", "cb", "none"] }]);
    await onnx.dispose();
    // The file says on the corpus what each run says.
    for (const name of ["ab", "cb"]) {
      const own = await evaluateRun(at(name), "test", { ...options, threads: 1 });
      const { metrics } = await evaluateOnnx(at(name), "test", file.files[0], { ...options, threads: 1 });
      for (const [metric, value] of Object.entries(metrics))
        expect(value).toBeCloseTo(own.metrics[metric], 6);
    }
    await expect(exportRouted(at("x"), packs, { ...plain, quantize: true })).rejects.toThrow(/--quantize/);
  });

  it("is exported by the command", async () => {
    const bin = resolve(import.meta.dirname, "../../../bin/voxsmith.js");
    const packs = ["--pack", at("ab.pack"), "--pack", at("cb.pack")];
    const args = ["export", ...packs, "--mask-inputs", "--out", at("cli"), "--threads", "1", "--json"];
    const both = spawnSync(process.execPath, [bin, ...args], { encoding: "utf8" });
    expect([both.status, both.stderr]).toEqual([0, ""]);
    const { tasks, check } = JSON.parse(both.stdout);
    expect(tasks).toEqual({ ab: at("cli/tasks/ab.safetensors"), cb: at("cli/tasks/cb.safetensors") });
    expect(check.error).toBeLessThan(1e-4);
    await expect(exportCommand().parseAsync(packs, { from: "user" })).rejects.toThrow(/with --mask-inputs/);
  });

  it("is heard with a language model, plain or compiled, as beam search over the model's scores says", async () => {
    const words = [
      "\\data\\",
      "ngram 1=4",
      "ngram 2=1",
      "",
      "\\1-grams:",
      "-99 <s> -0.1",
      "-1 </s>",
      "-0.5 ab -0.2",
    ];
    const arpa = [...words, "-0.7 cb", "", "\\2-grams:", "-0.1 <s> ab", "", "\\end\\", ""].join("\n");
    writeFileSync(at("words.arpa"), arpa);
    writeFileSync(at("words.arpa.gz"), gzipSync(arpa));
    writeFileSync(at("lexicon.txt"), "ab a b |\ncb c b |\n");
    await lmCommand().parseAsync(["compile", at("words.arpa.gz"), at("words.ngram")], { from: "user" });
    const heard = async (decoding: LmOptions) => {
      const { predictions } = await evaluateRun(at("ab"), "test", { ...options, threads: 1, decoding });
      return predictions.map(({ answers }) => (answers.letters as { heard: string[] }).heard.join(""));
    };
    const lexicon = at("lexicon.txt");
    const found = await heard({ lm: at("words.ngram"), lexicon });
    for (const text of found) expect(text).toMatch(/^\|*((ab|cb)\|+)*(ab|cb)?$/);
    // Words that the labels spell need no lexicon.
    expect(await heard({ lm: at("words.arpa") })).toEqual(found);

    const inference = await Inference.open(at("ab"), { threads: 1 });
    const { target } = inference.objectives.find(({ name }) => name === "letters")!;
    const { symbols } = (target as SequenceTarget).vocabulary;
    const entries = readLexicon(readFileSync(lexicon, "utf8").split("\n"), symbols);
    const settings = { weight: 0.3, wordScore: 2, separator: symbols.indexOf("|") };
    const scorer = lexiconScorer(entries, readArpa(arpa), settings);
    const wanted: string[] = [];
    for (const id of ["s3-0", "s3-1", "s3-2", "s3-3"]) {
      const wave = await inference.read(join(corpus.folder, "audio", `${id}.wav`));
      const { scores, frames } = await inference.hear(wave);
      const [best] = beamSearch(scores.letters.data as Float32Array, frames, symbols.length, {
        width: 5,
        scorer,
      });
      wanted.push(best.tokens.map((token) => symbols[token]).join(""));
    }
    await inference.dispose();
    const decoding = { lm: at("words.ngram"), lexicon, beam: 5, lmWeight: 0.3, wordScore: 2 };
    expect(await heard(decoding)).toEqual(wanted);
    expect(wanted.some((text) => text !== "")).toBe(true);

    const packed = await evaluatePacks([at("ab.pack")], "test", { ...options, threads: 1, decoding });
    expect(
      packed.predictions.map(({ answers }) => (answers.letters as { heard: string[] }).heard.join("")),
    ).toEqual(wanted);
    writeFileSync(at("other.arpa"), arpa.replaceAll("ab", "xyz").replaceAll("cb", "q"));
    await expect(heard({ lm: at("other.arpa") })).rejects.toThrow(/none of its words is made of the letters/);
  });

  it("changes the task in a loaded model to exactly the unpacked weights", () => {
    const model = RoutedModel.open([at("ab.pack"), at("cb.pack")]);
    for (const name of ["ab", "cb", "ab"]) {
      const feeds = model.use(name);
      const file = openWeights(at(name));
      for (const key of file.infos.keys())
        if (key in feeds) expect([key, feeds[key].data]).toEqual([key, file.readF32(key)]);
      file.close();
    }
    const { backbone, tasks } = model.memory();
    for (const bytes of Object.values(tasks)) expect(bytes).toBeLessThan(backbone / 4);
  });
});
