import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parse, stringify } from "yaml";
import { buildVocabulary } from "../../src/corpus/vocab.ts";
import { evaluateRun } from "../../src/train/evaluate-run.ts";
import { readSentences, Sentences } from "../../src/train/lm-text.ts";
import { openModel, readTargets } from "../../src/train/open-model.ts";
import { parseRecipe } from "../../src/train/recipe.ts";
import { isRecurrentLm, readRecurrentLm } from "../../src/train/recurrent-lm.ts";
import type { SequenceTarget } from "../../src/train/targets.ts";
import { type LmTraining, trainRecurrentLm } from "../../src/train/train-recurrent-lm.ts";
import { train } from "../../src/train/trainer.ts";
import { Inference } from "../../src/use/inference.ts";
import { exportable } from "../../src/use/onnx/graph.ts";
import { Transcriber } from "../../src/use/transcribe.ts";
import { spellingCorpus, spellingRecipe } from "./spelling.ts";

// A CRDNN with CTC and an attention decoder on sentences of tones, which it must learn to spell; and a recurrent language
// model over the same pieces that joins in.

const folder = mkdtempSync(join(tmpdir(), "attention-"));
const out = join(folder, "run");
const options = { data: folder, skipBad: false, log: () => {} };
const read = (text: object, overrides: string[] = []) =>
  parseRecipe(JSON.stringify(text), join(folder, "recipe.yaml"), overrides);

beforeAll(async () => {
  spellingCorpus(folder, 16);
  await train(read(spellingRecipe), { ...options, out });
}, 300_000);
afterAll(() => rmSync(folder, { recursive: true }));

test("learns to spell sentences, which a beam search reads back", async () => {
  const { metrics, predictions } = await evaluateRun(out, "train", options);
  expect(metrics["attention.wer"]).toBeLessThan(0.1);
  expect(metrics["attention.loss"]).toBeLessThan(0.2);
  expect(metrics["ctc.loss"]).toBeLessThan(1);
  const [{ answers }] = predictions;
  expect(answers.attention.kind).toBe("sequence");
});

test("CTC behind the CRDNN hears the pooled frames", async () => {
  const inference = await Inference.open(out, { threads: 1 });
  // A decoder that writes symbol by symbol is not among the heads that are read off frames.
  expect(inference.objectives.map(({ name }) => name)).toEqual(["ctc"]);
  // Log-mel frames are 10 ms apart, and two become one.
  expect(inference.hop).toBe(320);
  const { frames, scores } = await inference.hear(new Float32Array(8000));
  expect([frames, scores.ctc.shape[1]]).toEqual([24, 24]);
  await inference.dispose();
  const transcriber = await Transcriber.open(out, { threads: 1 });
  const { words, seconds } = await transcriber.transcribe(join(folder, "audio", "1.wav"));
  for (const { start, end } of words) expect(start < end && end <= seconds).toBe(true);
  await transcriber.dispose();
  // Nor is it a part of an exported model; where it is alone there is nothing to export.
  const { task } = openModel(out);
  expect(exportable(task).map(({ name }) => name)).toEqual(["ctc"]);
  const alone = { ...task, objectives: task.objectives.filter(({ name }) => name === "attention") };
  expect(() => exportable(alone)).toThrow("writes symbol by symbol");
});

const vocabularyOf = (path: string) => (readTargets(path).get("attention") as SequenceTarget).vocabulary;

async function lmTraining(changes: Partial<LmTraining> = {}): Promise<LmTraining> {
  const vocabulary = vocabularyOf(out);
  const [train, valid] = [new Sentences(), new Sentences()];
  await readSentences(join(folder, "manifest.jsonl"), vocabulary, train);
  await readSentences(join(folder, "manifest.jsonl"), vocabulary, valid);
  const config = {
    symbols: vocabulary.size,
    embedding: 8,
    rnnLayers: 1,
    rnnNeurons: 24,
    dnnNeurons: [16],
    dropout: 0,
  };
  return {
    ...{ out: join(folder, "lm"), config, vocabulary, train, valid, epochs: 30, batch: 8, lr: 0.02, seed: 1 },
    ...{ threads: 1, log: () => {} },
    ...changes,
  };
}

test("a recurrent language model over the same pieces is trained, resumed, and joins in", async () => {
  const whole = await trainRecurrentLm(await lmTraining({ out: join(folder, "whole") }));
  // Two words of three each: 9 sentences, so that a symbol's perplexity is far below the number of pieces.
  expect(whole.perplexity).toBeLessThan(2.2);
  // Stopped after some updates and gone on with, it ends in the same model.
  const stop = new AbortController();
  let lines = 0;
  const write = process.stderr.write;
  process.stderr.write = ((text: string) => {
    if (String(text).includes("epoch") && ++lines === 3) stop.abort();
    return true;
  }) as typeof write;
  const stopped = await trainRecurrentLm(await lmTraining({ signal: stop.signal })).finally(() => {
    process.stderr.write = write;
  });
  expect(stopped.status).toBe("interrupted");
  expect(isRecurrentLm(join(folder, "lm"))).toBe(false);
  await expect(trainRecurrentLm(await lmTraining({ lr: 0.01 }))).rejects.toThrow("other text or settings");
  const resumed = await trainRecurrentLm(await lmTraining());
  expect(resumed).toEqual(whole);
  expect(readRecurrentLm(join(folder, "lm")).vocabulary.symbols).toEqual(vocabularyOf(out).symbols);

  const decoding = { lm: join(folder, "lm"), beam: 6, lmWeight: 0.3 };
  const { metrics } = await evaluateRun(out, "train", { ...options, decoding });
  expect(metrics["attention.wer"]).toBeLessThan(0.1);
  // With nothing but the language model left, all sentences are its favourite one: not even where one may end is asked of the sound.
  const file = join(out, "recipe.yaml");
  const written = readFileSync(file, "utf8");
  const recipe = parse(written);
  Object.assign(recipe.objectives.attention.search, { eosThreshold: 1e12, coverage: 0 });
  writeFileSync(file, stringify(recipe));
  const alone = await evaluateRun(out, "train", { ...options, decoding: { ...decoding, lmWeight: 1000 } });
  writeFileSync(file, written);
  expect(alone.metrics["attention.wer"]).toBeGreaterThan(0.4);
  const heard = alone.predictions.map(
    ({ answers: { attention } }) => attention.kind === "sequence" && attention.text.heard,
  );
  expect(new Set(heard).size).toBe(1);
}, 180_000);

test("says what does not fit", async () => {
  const vocabulary = buildVocabulary([{ id: "x", audio: "", text: "abc" }], { unit: "characters" });
  const [train, valid] = [new Sentences(), new Sentences()];
  writeFileSync(join(folder, "text.txt"), "ab\n\nabd\ncab\n");
  await expect(readSentences(join(folder, "text.txt"), vocabulary, train)).rejects.toThrow(
    /text\.txt:3" has the symbol "d"/,
  );
  expect(await readSentences(join(folder, "text.txt"), vocabulary, valid, { skipBad: true })).toBe(1);
  expect([valid.count, [...valid.at(1)]]).toEqual([2, [...vocabulary.encodeSymbols(["c", "a", "b"])]]);
  const other = await lmTraining({ out: join(folder, "other"), vocabulary, train: valid, valid, epochs: 1 });
  await trainRecurrentLm({ ...other, config: { ...other.config, symbols: vocabulary.size } });
  await expect(
    evaluateRun(out, "train", { ...options, decoding: { lm: join(folder, "other") } }),
  ).rejects.toThrow("--lm: is over");

  const { attention } = spellingRecipe.objectives;
  const worker = { loss: "worker", signal: "mel" };
  const load = train_;
  await expect(load({ ...spellingRecipe, objectives: { attention, worker } })).rejects.toThrow(
    "crdnn: stands behind",
  );
  const deep = { ...spellingRecipe, crdnn: { channels: [2, 2, 2, 2], frequencyPooling: 4 } };
  await expect(load(deep)).rejects.toThrow(
    "crdnn.frequencyPooling: leaves nothing of 240 features after 4 blocks",
  );
});

const train_ = (text: object) => train(read(text), { ...options, out: join(folder, "never") });
