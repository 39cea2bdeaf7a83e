import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { readAudio } from "../../src/audio/file.ts";
import { evaluateRun } from "../../src/train/evaluate-run.ts";
import { openModel } from "../../src/train/open-model.ts";
import { parseRecipe } from "../../src/train/recipe.ts";
import { train } from "../../src/train/trainer.ts";
import { Inference } from "../../src/use/inference.ts";
import { openWeights } from "../../src/weights/model-folder.ts";
import { tinyCorpus, tinyRecipe } from "../train/tiny-corpus.ts";

const fixtures = resolve(import.meta.dirname, "../fixtures");
const scratch = mkdtempSync(join(tmpdir(), "inference-"));
const corpus = tinyCorpus(2);
const both = join(scratch, "both");
const classes = join(scratch, "classes");

beforeAll(async () => {
  const objectives = { word: { loss: "cross-entropy", target: "labels.word" } };
  for (const [out, changes] of [
    [both, {}],
    [classes, { objectives }],
  ] as const)
    await train(parseRecipe(tinyRecipe({ epochs: 3, ...changes }), "tiny.yaml"), {
      data: corpus.folder,
      out,
      skipBad: false,
      log: () => {},
    });
});

/** A run's folder without what says that it is a run: what transformers sees. */
function asHuggingFace(run: string, ...without: string[]): string {
  const folder = mkdtempSync(join(scratch, "hf-"));
  for (const { name } of readdirSync(run, { withFileTypes: true }).filter((entry) => entry.isFile()))
    if (!["recipe.yaml", "run.json", "targets.json", "heads.safetensors", ...without].includes(name))
      copyFileSync(join(run, name), join(folder, name));
  return folder;
}

const wave = async () => (await readAudio(join(corpus.folder, "audio/s0-0.wav"))).samples;
const listen = async (path: string, options = {}) => {
  const inference = await Inference.open(path, { threads: 1, ...options });
  const heard = await inference.hear(await wave());
  await inference.dispose();
  return { ...heard, inference };
};
const far = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Array.from(a).reduce((worst, x, i) => Math.max(worst, Math.abs(x - b[i])), a.length === b.length ? 0 : 1e9);

describe("opening a model", () => {
  it("gives a run and its folder in Hugging Face's form the same scores", async () => {
    const run = await listen(both);
    expect(run.inference.objectives.map(({ name }) => name)).toEqual(["word", "letters"]);
    const hf = await listen(asHuggingFace(both));
    expect(hf.inference.objectives.map(({ name }) => name)).toEqual(["characters"]);
    expect(hf.inference.objectives[0].target).toMatchObject({
      vocabulary: { symbols: ["<pad>", "|", "a", "b", "c"], options: { blank: 0, letterCase: "lower" } },
    });
    expect(hf.scores.characters.data).toEqual(run.scores.letters.data);
  });

  it("reads transformers' pooled classifier, whose projector is folded into the head", async () => {
    const folder = asHuggingFace(classes);
    const run = await listen(classes);
    const hf = await listen(folder);
    expect(hf.inference.objectives[0].target).toMatchObject({ labels: { classes: ["ab", "cb"] } });
    expect(far(hf.scores.class.data as Float32Array, run.scores.word.data as Float32Array)).toBeLessThan(
      1e-5,
    );
  });

  it("gives transformers' logits and hidden states for a folder of its own", async () => {
    const folder = join(fixtures, "reference/wav2vec2-tiny");
    const inference = await Inference.open(folder, { threads: 1, layers: "all" });
    // No vocabulary: the CTC head's outputs mean nothing, so only hidden states are offered.
    expect(inference.objectives).toEqual([]);
    const [input, expected] = ["input", "expected"].map((name) =>
      openWeights(join(folder, `${name}.safetensors`)),
    );
    const [batch, samples] = input.infos.get("audio")!.shape;
    const lengths = Array.from(input.readNumbers("lengths").data as ArrayLike<number>, Number);
    const whole = lengths.indexOf(samples);
    expect(batch).toBeGreaterThan(whole);
    const row = input.readF32("audio").slice(whole * samples, (whole + 1) * samples);
    const { hidden } = await inference.hear(row, true);
    for (const [i, { data }] of hidden.entries()) {
      const all = expected.readF32(`hidden.${i}`);
      const size = all.length / batch;
      expect(far(data as Float32Array, all.subarray(whole * size, (whole + 1) * size))).toBeLessThan(1e-4);
    }
    await inference.dispose();
  });

  it("averages hidden states, or gives one", async () => {
    const all = await listen(both, { layers: "all", heads: [] });
    expect(all.inference.layers).toBe(3);
    expect(all.scores).toEqual({});
    const mean = (await listen(both, { layers: "mean" })).hidden[0].data as Float32Array;
    const states = all.hidden.map(({ data }) => data as Float32Array);
    const expected = mean.map((_, i) => (states[0][i] + states[1][i] + states[2][i]) / 3);
    expect(far(mean, expected)).toBeLessThan(1e-5);
    const one = await listen(both, { layers: 1, heads: [] });
    expect(far(one.hidden[0].data as Float32Array, states[1])).toBeLessThan(1e-5);
    await expect(Inference.open(both, { layers: 3 })).rejects.toThrow("has the hidden states 0 to 2");
  });

  it("knows upstreams without weights, fairseq's fine-tuned models and their symbols", async () => {
    const mel = await listen("log-mel", { layers: "all" });
    expect(mel.hidden[0].shape).toEqual([1, mel.frames, 240]);
    const { task, audio } = openModel(join(fixtures, "weights/checkpoints/wav2vec2-ctc-cfg.pt"));
    expect(task.objectives.map(({ path }) => path)).toEqual(["lm_head"]);
    expect(audio.sampleRate).toBe(16_000);
    const decoar = openModel(join(fixtures, "weights/checkpoints/decoar2.pt"));
    expect(decoar.audio).toEqual({ sampleRate: 16_000, normalize: false });
  });

  it("evaluates a run whose pre-trained model is gone", async () => {
    const model = asHuggingFace(classes);
    const out = join(scratch, "tuned");
    const options = { data: corpus.folder, skipBad: false, log: () => {} };
    const changes = { epochs: 1, upstream: { model } };
    const { metrics } = await train(parseRecipe(tinyRecipe(changes), "tiny.yaml"), { ...options, out });
    rmSync(model, { recursive: true });
    const again = await evaluateRun(out, "test", options);
    expect(again.metrics["word.loss"]).toBeCloseTo(metrics["test.word.loss"], 5);
  });

  it("refuses what does not fit with one sentence", () => {
    const vocabulary = asHuggingFace(both);
    writeFileSync(join(vocabulary, "vocab.json"), JSON.stringify({ "<pad>": 0, a: 1, b: 1 }));
    expect(() => openModel(vocabulary)).toThrow(/vocab\.json: the index of "b" is 1/);
    const short = asHuggingFace(both);
    writeFileSync(join(short, "vocab.json"), JSON.stringify({ "<pad>": 0, a: 9 }));
    expect(() => openModel(short)).toThrow(/below the 5 outputs/);
    const twice = asHuggingFace(classes);
    const config = JSON.parse(readFileSync(join(twice, "config.json"), "utf8"));
    writeFileSync(
      join(twice, "config.json"),
      JSON.stringify({ ...config, id2label: { 0: "same", 1: "same" } }),
    );
    expect(() => openModel(twice)).toThrow(/"id2label" names a class twice/);
    const empty = join(scratch, "empty");
    mkdirSync(empty);
    expect(() => openModel(empty)).toThrow(/config\.json/);
    expect(() => openModel(join(scratch, "absent"))).toThrow(/does not exist/);
    expect(() => openModel(asHuggingFace(both, "model.safetensors"))).toThrow(/holds none of/);
  });
});
