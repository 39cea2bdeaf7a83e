import { spawnSync } from "node:child_process";
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { encodeWav } from "../../src/audio/wav.ts";
import { Grader } from "../../src/methods/severity/grade.ts";
import type { PredictionLine } from "../../src/train/finish.ts";
import { parseRecipe, readRecipe } from "../../src/train/recipe.ts";
import { train } from "../../src/train/trainer.ts";
import { tinyCorpus, tinyRecipe } from "../train/tiny-corpus.ts";

const bin = resolve(import.meta.dirname, "../../bin/voxsmith.js");
const scratch = mkdtempSync(join(tmpdir(), "grade-"));
const run = join(scratch, "run");
const corpus = tinyCorpus(4);
let predictions: PredictionLine[];

beforeAll(async () => {
  const recipe = parseRecipe(
    tinyRecipe({
      optimizer: { name: "adam", lr: 0.01 },
      schedule: { name: "linear" },
      epochs: 75,
      evaluate: { every: 100 },
    }),
    "tiny.yaml",
  );
  await train(recipe, { data: corpus.folder, out: run, skipBad: false, log: () => {} });
  const lines = readFileSync(join(run, "predictions.jsonl"), "utf8").trim().split("\n");
  predictions = lines.map((line) => JSON.parse(line));
});

/** The run's folder without some of its files. */
function without(...names: string[]): string {
  const folder = mkdtempSync(join(scratch, "copy-"));
  for (const entry of readdirSync(run, { withFileTypes: true }))
    if (entry.isFile() && !names.includes(entry.name))
      copyFileSync(join(run, entry.name), join(folder, entry.name));
  return folder;
}

const audio = (id: string) => join(corpus.folder, "audio", `${id}.wav`);

describe("grading one recording", () => {
  it("says what the evaluation of the run said, which heard it in a batch with others", async () => {
    const grader = await Grader.open(run, { threads: 1 });
    let symbols = 0;
    for (const { id, answers } of predictions) {
      const { classes, heard, seconds } = await grader.gradeFile(audio(id));
      const word = answers.word;
      const letters = answers.letters;
      if (word.kind !== "class" || letters.kind !== "sequence") throw new Error("other kinds of answers");
      expect(classes.word.predicted).toBe(word.predicted);
      for (const { label, value } of classes.word.probabilities)
        expect(value).toBeCloseTo(word.probabilities[label], 4);
      expect(heard.letters.map(({ symbol }) => symbol)).toEqual(letters.heard);
      symbols += letters.heard.length;
      let last = 0;
      for (const { startSeconds, endSeconds, score } of heard.letters) {
        expect(startSeconds).toBeGreaterThanOrEqual(last);
        expect(endSeconds).toBeGreaterThan(startSeconds);
        expect(score).toBeGreaterThan(0);
        expect(score).toBeLessThanOrEqual(1);
        last = endSeconds;
      }
      expect(last).toBeLessThanOrEqual(seconds + 1e-9);
    }
    expect(symbols).toBeGreaterThan(0);
    await grader.dispose();
  });

  it("needs neither the corpus nor the checkpoints, and resamples", async () => {
    const grader = await Grader.open(without("predictions.jsonl", "log.jsonl"), { threads: 1 });
    const { samples } = await grader.gradeFile(audio(predictions[0].id));
    const path = join(scratch, "at-48-kHz.wav");
    const fast = Float32Array.from({ length: 3 * samples.length }, (_, i) => samples[Math.floor(i / 3)]);
    writeFileSync(path, encodeWav(fast, 48_000));
    expect((await grader.gradeFile(path)).seconds).toBeCloseTo(samples.length / 16_000, 3);
    await grader.dispose();
  });

  it("refuses what it cannot grade with one sentence", async () => {
    const grader = await Grader.open(run, { threads: 1 });
    const path = join(scratch, "click.wav");
    writeFileSync(path, encodeWav(new Float32Array(30), 16_000));
    await expect(grader.gradeFile(path)).rejects.toThrow(`${path}: 0.002 s is too short for a single frame`);
    await expect(grader.grade(new Float32Array(30))).rejects.toThrow("30 samples are too few");
    await expect(grader.gradeFile(join(scratch, "absent.wav"))).rejects.toThrow("there is no such file");
    await grader.dispose();
    for (const name of ["config.json", "targets.json", "model.safetensors", "heads.safetensors"]) {
      const folder = without(name);
      await expect(Grader.open(folder)).rejects.toThrow(join(folder, name));
    }
    const folder = without();
    writeFileSync(join(folder, "targets.json"), "{}");
    await expect(Grader.open(folder)).rejects.toThrow(/targets\.json: has no "word"/);
  });
});

describe("voxsmith demo", () => {
  it("has a recipe that reads, with test speakers of its own", () => {
    const recipe = readRecipe(resolve(import.meta.dirname, "../../recipes/demo/severity.yaml"));
    expect(recipe.corpus.synthetic?.graded).toBe(true);
    expect(recipe.corpus.split).toMatchObject({ by: "field", allowSpeakerOverlap: false });
    expect(Object.keys(recipe.objectives)).toEqual(["severity", "phonemes"]);
  });

  it("does not replace a finished run unasked", () => {
    const { status, stderr } = spawnSync(process.execPath, [bin, "demo", "--out", run], { encoding: "utf8" });
    expect(stderr).toMatch(/holds a finished run, see .*report\.html; --overwrite makes it anew/);
    expect(status).toBe(2);
  });
});
