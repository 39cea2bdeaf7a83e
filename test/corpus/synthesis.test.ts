import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { readAudio } from "../../src/audio/file.ts";
import { type Phone, readManifest } from "../../src/corpus/manifest.ts";
import { splitCorpus } from "../../src/corpus/splits.ts";
import { listVoices, phonemize, synthesize } from "../../src/corpus/synthesis.ts";
import { synthesizeCorpus } from "../../src/corpus/synthetic-corpus.ts";
import { UserError } from "../../src/errors.ts";
import { buildInto } from "./built.ts";

const folder = mkdtempSync(join(tmpdir(), "voxsmith-synthesis-"));
afterAll(() => rmSync(folder, { recursive: true }));

describe("synthesis", () => {
  test("the same request gives the same samples, whatever was spoken before", async () => {
    const request = { text: "Guten Tag, mein lieber Herr.", voice: "de", pitch: 60 };
    const first = await synthesize(request);
    await synthesize({ text: "Something quite different, with 3,141 words.", voice: "en-us+f3" });
    await synthesize({ text: "Et encore autre chose.", voice: "fr+klatt2", rate: 250 });
    const again = await synthesize(request);
    expect(again).toEqual(first);
    expect(first.sampleRate).toBe(22050);
    // Known from a process that speaks nothing else; the corrupted state this guards against said "m percent" here.
    expect(first.phones.map((p) => p.phone).join(" ")).toBe("ɡ uː t ə n t ɑː k m aɪ n l iː b ɜ h ɛ ɾ");
  });

  test("phones and words have their places", async () => {
    const speech = await synthesize({ text: "Two birds, 25 and more.", voice: "en-us" });
    const duration = speech.samples.length / speech.sampleRate;
    let time = 0;
    for (const { start, end } of speech.phones) {
      expect(start).toBeGreaterThanOrEqual(time - 1e-9);
      expect(end).toBeGreaterThan(start);
      time = end;
    }
    expect(time).toBeLessThanOrEqual(duration);
    expect(speech.words.map((w) => w.word)).toEqual(["Two", "birds", "25", "and", "more"]);
    // The sibilant at the end of "birds" is brighter than the vowel of "two", each where it is said to be.
    const brightness = (phone: string) => {
      const { start, end } = speech.phones.find((p) => p.phone === phone)!;
      const part = speech.samples.slice(Math.round(start * 22050), Math.round(end * 22050));
      const energy = (x: Float32Array) => x.reduce((sum, v) => sum + v * v, 0);
      return energy(part.map((x, i) => x - (part[i - 1] ?? x))) / energy(part);
    };
    expect(brightness("z")).toBeGreaterThan(3 * brightness("uː"));
    expect(await phonemize("small birds", "en-us")).toEqual([
      { word: "small", phones: ["s", "m", "ɔː", "l"] },
      { word: "birds", phones: ["b", "ɜː", "d", "z"] },
    ]);
  });

  test("rate, pitch and variant are heard; silence is no fault", async () => {
    const plain = await synthesize({ text: "A cup of tea.", voice: "en-us" });
    const slow = await synthesize({ text: "A cup of tea.", voice: "en-us", rate: 110 });
    expect(slow.samples.length).toBeGreaterThan(1.3 * plain.samples.length);
    const high = await synthesize({ text: "A cup of tea.", voice: "en-us", pitch: 90 });
    const other = await synthesize({ text: "A cup of tea.", voice: "en-us+f4" });
    expect(high.samples).not.toEqual(plain.samples);
    expect(other.samples).not.toEqual(plain.samples);
    expect((await synthesize({ text: " ", voice: "en-us" })).phones).toEqual([]);
    expect((await listVoices()).variants).toContain("f4");
  });

  test("unknown voices and values are refused, not replaced", async () => {
    await expect(synthesize({ text: "a", voice: "klingon" })).rejects.toThrow(UserError);
    await expect(synthesize({ text: "a", voice: "klingon" })).rejects.toThrow(/no voice "klingon"/);
    await expect(synthesize({ text: "a", voice: "en-us+f9" })).rejects.toThrow(/no voice variant "f9"/);
    await expect(synthesize({ text: "a", voice: "en-us", rate: 10 })).rejects.toThrow(
      /rate must be from 80 to 450/,
    );
    await expect(synthesize({ text: "a".repeat(20000), voice: "en-us" })).rejects.toThrow(/too long/);
  });
});

test("where espeak-ng is not installed, a sentence says how to get it", () => {
  const elsewhere = join(folder, "without-espeak");
  const modules = ["synthesis", "vocab", "pieces", "merges", "sentence-piece", "manifest", "group"].map(
    (name) => `corpus/${name}.ts`,
  );
  buildInto(elsewhere, "errors.ts", "weights/file.ts", ...modules);
  const program = `const { synthesize } = await import("./corpus/synthesis.js");
    await synthesize({ text: "a", voice: "en" }).catch((error) => console.log(error.name, error.message));`;
  const options = { cwd: elsewhere, encoding: "utf8", timeout: 60000 } as const;
  expect(execFileSync(process.execPath, ["--input-type=module", "-e", program], options)).toBe(
    "UserError speech synthesis needs espeak-ng, which is not installed; " +
      "get it with: npm install @echogarden/espeak-ng-emscripten\n",
  );
});

test("breathy voices, whose noise espeak-ng seeds by the clock, are the same in every process", async () => {
  const { samples } = await synthesize({ text: "The judge read every page.", voice: "en-us+f2", rate: 160 });
  expect(createHash("sha256").update(samples).digest("hex").slice(0, 16)).toBe("ee76db69e67acff3");
});

describe("synthetic corpus", () => {
  test("graded: five grades, marked as simulated, speaker-independent, the same with and without threads", {
    timeout: 300_000,
  }, async () => {
    const options = { speakers: 15, utterances: 1, graded: true, seed: 3 };
    const progress: number[] = [];
    const made = await synthesizeCorpus({ ...options, threads: 2 }, join(folder, "a"), (done) =>
      progress.push(done),
    );
    expect(progress).toEqual(Array.from({ length: 15 }, (_, i) => i + 1));
    const read = readManifest(join(folder, "a"));
    expect(read).toEqual(made);
    expect(read.every((u) => u.simulated === true)).toBe(true);
    const split = splitCorpus(read, { by: "field" });
    expect(split.speakerIndependent).toBe(true);
    for (const part of ["train", "valid", "test"] as const) {
      expect(new Set(split[part].map((u) => u.labels!.severity))).toEqual(new Set([0, 1, 2, 3, 4]));
    }
    for (const { audio, duration, phones, text } of read.slice(0, 6)) {
      const { samples, sampleRate } = await readAudio(audio);
      expect([sampleRate, samples.length / sampleRate]).toEqual([16000, duration]);
      const last = (phones as Phone[]).at(-1)!;
      expect(last.end).toBeLessThanOrEqual(duration! + 0.01);
      expect(phones!.length).toBeGreaterThan(text!.length / 3);
    }
    await synthesizeCorpus({ ...options, threads: 0 }, join(folder, "b"));
    for (const file of readdirSync(join(folder, "a"), { recursive: true, encoding: "utf8" })) {
      if (!/\.(wav|jsonl)$/.test(file)) continue;
      expect(readFileSync(join(folder, "b", file)).equals(readFileSync(join(folder, "a", file))), file).toBe(
        true,
      );
    }
  });

  test("ungraded, another language, own sentences", async () => {
    const options = {
      speakers: 3,
      utterances: 2,
      voice: "it",
      sentences: ["Buona sera.", "Il libro è qui."],
    };
    const made = await synthesizeCorpus(options, join(folder, "it"));
    expect(made.map((u) => u.split)).toContain("test");
    expect(made[0].simulated).toBeUndefined();
    expect(made[0].labels).toEqual({ gender: "female" });
    expect(new Set(made.map((u) => u.text))).toEqual(new Set(options.sentences));
  });

  test("options that make no sense leave nothing behind", async () => {
    const none = join(folder, "none");
    await expect(synthesizeCorpus({ voice: "pl" }, none)).rejects.toThrow(/no sentences for the voice "pl"/);
    await expect(synthesizeCorpus({ speakers: 0 }, none)).rejects.toThrow(
      /speakers must be a whole number above 0/,
    );
    expect(existsSync(none)).toBe(false);
  });
});
