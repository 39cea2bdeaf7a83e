import { spawnSync } from "node:child_process";
import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { openSafetensors, writeSafetensors } from "../../src/weights/safetensors.ts";
import { TINY_CONFIG, tinyCorpus, tinyRecipe } from "../train/tiny-corpus.ts";

const bin = resolve(import.meta.dirname, "../../bin/voxsmith.js");
const voxsmith = (...args: string[]) => spawnSync(process.execPath, [bin, ...args], { encoding: "utf8" });

const corpus = tinyCorpus(2);
const out = join(corpus.folder, "runs", "tiny");
let good: string;

/** A copy of the corpus with a recipe in it, for `spoil` to damage; what `voxsmith train` then says. */
function trained(changes: Record<string, unknown>, spoil: (folder: string) => void, ...more: string[]) {
  const folder = mkdtempSync(join(tmpdir(), "bad-"));
  cpSync(corpus.folder, folder, { recursive: true });
  const recipe = join(folder, "recipe.yaml");
  writeFileSync(recipe, tinyRecipe({ epochs: 1, ...changes }));
  spoil(folder);
  const into = join(folder, "runs", "bad");
  const { status, stdout, stderr } = voxsmith("train", recipe, "--data", folder, "--out", into, ...more);
  const said = stderr.split("\n").filter((line) => line !== "" && !line.startsWith("reading audio"));
  return { folder, status, stdout, said, left: existsSync(into) };
}

const line = (folder: string, value: unknown) =>
  appendFileSync(
    join(folder, "manifest.jsonl"),
    `${typeof value === "string" ? value : JSON.stringify(value)}\n`,
  );
const manifestLines = (folder: string) =>
  readFileSync(join(folder, "manifest.jsonl"), "utf8").trim().split("\n");
const edited = (folder: string, change: (lines: Record<string, unknown>[]) => void) => {
  const lines = manifestLines(folder).map((text) => JSON.parse(text));
  change(lines);
  writeFileSync(join(folder, "manifest.jsonl"), lines.map((each) => `${JSON.stringify(each)}\n`).join(""));
};

beforeAll(() => {
  const recipe = join(corpus.folder, "good.yaml");
  writeFileSync(recipe, tinyRecipe({ epochs: 1 }));
  const { status, stderr } = voxsmith("train", recipe, "--data", corpus.folder, "--out", out);
  if (status !== 0) throw new Error(stderr);
  good = out;
});

/** A damaged copy of the good run's model, to start from. */
const model = (folder: string) => join(folder, "runs", "tiny");
const rewritten = (folder: string, change: (names: Map<string, number[]>) => void) => {
  const path = join(model(folder), "model.safetensors");
  const source = openSafetensors(path);
  const shapes = new Map([...source.infos].map(([name, { shape }]) => [name, shape]));
  change(shapes);
  const size = (shape: number[]) => shape.reduce((a, b) => a * b, 1);
  const entries = [...shapes].map(([name, shape]) => ({
    name,
    dtype: "F32" as const,
    shape,
    data: new Float32Array(size(shape)),
  }));
  source.close();
  writeSafetensors(path, entries);
};
const NORM = "wav2vec2.encoder.layer_norm.weight";

describe("voxsmith train refuses, with one sentence, status 2 and no run folder,", () => {
  it.each<[string, Record<string, unknown>, (folder: string) => void, RegExp]>([
    ["a truncated WAV", {}, (f) => truncateSync(join(f, "audio", "s1-0.wav"), 600), /"s1-0".*s1-0\.wav/],
    ["a file that is no sound", {}, (f) => writeFileSync(join(f, "audio", "s1-0.wav"), "hello"), /s1-0\.wav/],
    ["a line that is not JSON", {}, (f) => line(f, '{"id": '), /manifest\.jsonl:17: not a line of JSON/],
    [
      "a missing sound file",
      {},
      (f) => rmSync(join(f, "audio", "s1-0.wav")),
      /manifest\.jsonl:5: .*s1-0\.wav/,
    ],
    ["an unknown key", { optimiser: {} }, () => {}, /recipe\.yaml:1: optimiser: .*did you mean `optimizer`/],
    ["a missing manifest", {}, (f) => rmSync(join(f, "manifest.jsonl")), /manifest\.jsonl: no such manifest/],
    [
      "a speaker on both sides",
      { corpus: { manifest: "manifest.jsonl", split: { by: "random" } } },
      () => {},
      /speaker "s\d" is in both .*allowSpeakerOverlap/,
    ],
    [
      "a label that training does not have",
      {},
      (f) => edited(f, (lines) => Object.assign(lines[15], { labels: { word: "zz" } })),
      /"s3-3" has word .*zz/,
    ],
    [
      "a letter that training does not have",
      {},
      (f) => edited(f, (lines) => Object.assign(lines[15], { text: "abz" })),
      /"s3-3" has the symbol "z"/,
    ],
    [
      "targets longer than frames",
      {},
      (f) => edited(f, (lines) => Object.assign(lines[0], { text: "ab".repeat(40) })),
      /objective letters: 1 utterance \(s0-0\) has more targets than frames/,
    ],
    [
      "another sample rate where asked to",
      { corpus: { manifest: "manifest.jsonl", sampleRate: 8000, resample: false, split: { by: "field" } } },
      (f) =>
        edited(f, (lines) =>
          lines.forEach((each, i) => void Object.assign(each, { split: i < 12 ? "train" : "test" })),
        ),
      /sample rate is 16000 Hz, but only 8000 Hz is accepted/,
    ],
    [
      "a metric that does not exist",
      { evaluate: { best: "word.f1" } },
      () => {},
      /evaluate\.best: `word\.f1`/,
    ],
  ])("%s", (_, changes, spoil, sentence) => {
    const { status, stdout, said, left } = trained(changes, spoil);
    expect([said.length, status, stdout, left], said.join("\n")).toEqual([1, 2, "", false]);
    expect(said[0]).toMatch(sentence);
    expect(said[0]).toMatch(/^voxsmith: /);
  });

  it.each<[string, (folder: string) => void, RegExp]>([
    [
      "a missing tensor",
      (f) => rewritten(f, (t) => void t.delete(NORM)),
      /1 missing: "wav2vec2\.encoder\.layer_norm\.weight"/,
    ],
    ["a left-over tensor", (f) => rewritten(f, (t) => void t.set("wav2vec2.encoder.extra", [2])), /extra/],
    ["a misshapen tensor", (f) => rewritten(f, (t) => void t.set(NORM, [3])), /\[3\] instead of \[16\]/],
    [
      "a corrupt header",
      (f) => writeFileSync(join(model(f), "model.safetensors"), "abcdefgh{not json"),
      /model\.safetensors: /,
    ],
    ["no weights", (f) => rmSync(join(model(f), "model.safetensors")), /holds none of model\.safetensors/],
  ])("a checkpoint with %s", (_, spoil, sentence) => {
    expect(existsSync(good)).toBe(true);
    const folder = mkdtempSync(join(tmpdir(), "model-"));
    cpSync(corpus.folder, folder, { recursive: true });
    spoil(folder);
    const { status, said, left } = trained({ upstream: { model: model(folder) } }, () => {});
    expect([said.length, status, left], said.join("\n")).toEqual([1, 2, false]);
    expect(said[0]).toMatch(sentence);
  });
});

describe("voxsmith train and eval", () => {
  it("--skip-bad goes on and lists what was left out", () => {
    const spoil = (folder: string) => {
      line(folder, "not json");
      truncateSync(join(folder, "audio", "s1-0.wav"), 600);
      edited2(folder);
    };
    const edited2 = (folder: string) => {
      const lines = manifestLines(folder);
      lines[15] = JSON.stringify({ ...JSON.parse(lines[15]), text: "abz" });
      writeFileSync(join(folder, "manifest.jsonl"), `${lines.join("\n")}\n`);
    };
    const { status, said, folder } = trained({}, spoil, "--skip-bad", "--json");
    expect(status, said.join("\n")).toBe(0);
    const leftOut = said.filter((each) => each.startsWith("left out: "));
    expect(leftOut).toHaveLength(3);
    const info = JSON.parse(readFileSync(join(folder, "runs", "bad", "run.json"), "utf8"));
    expect(info.data.utterances).toEqual({ train: 7, valid: 4, test: 3 });
  });

  it("a finished run has a report and a card, and is evaluated as training did", () => {
    for (const name of ["report.html", "README.md"]) expect(existsSync(join(good, name))).toBe(true);
    const info = JSON.parse(readFileSync(join(good, "run.json"), "utf8"));
    const { status, stdout } = voxsmith("eval", good, "--data", corpus.folder, "--json");
    expect(status).toBe(0);
    const { metrics } = JSON.parse(stdout);
    for (const [name, value] of Object.entries(metrics))
      expect(value).toBeCloseTo(info.metrics[`test.${name}`], 6);
    expect(voxsmith("eval", good, "--split", "tset").stderr).toMatch(
      /--split tset: must be one of train, valid, test/,
    );
    const again = voxsmith("train", join(corpus.folder, "good.yaml"), "--data", corpus.folder, "--out", good);
    expect([again.status, again.stderr]).toEqual([2, expect.stringMatching(/holds a finished run/)]);
  });

  it("the tiny model's configuration is what the run exports", () => {
    const config = JSON.parse(readFileSync(join(good, "config.json"), "utf8"));
    expect(config).toMatchObject(TINY_CONFIG);
  });
});
