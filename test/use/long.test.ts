import { spawnSync } from "node:child_process";
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import type { Stretches } from "../../src/audio/decode.ts";
import { openRecording, readAudio } from "../../src/audio/file.ts";
import { encodeWav } from "../../src/audio/wav.ts";
import { readTextGrid } from "../../src/corpus/formats/text-grid.ts";
import { Vocabulary } from "../../src/corpus/vocab.ts";
import { readArpa } from "../../src/decode/ngram.ts";
import { errorRate } from "../../src/metrics/error-rate.ts";
import { random } from "../../src/random.ts";
import { fitLanguageModel } from "../../src/train/language-model.ts";
import { extractTo } from "../../src/use/extract.ts";
import { Inference } from "../../src/use/inference.ts";
import { hearPieces } from "../../src/use/long.ts";
import { formatTimestamps } from "../../src/use/timestamps.ts";
import { Transcriber } from "../../src/use/transcribe.ts";
import { openSafetensors } from "../../src/weights/safetensors.ts";
import { corpus, far, scratch, tinyRun } from "./trained.ts";

const bin = resolve(import.meta.dirname, "../../bin/voxsmith.js");
const RATE = 16_000;
/** Frames know 40 ms on either side and nothing of the rest: chunks cannot change them. */
let local: string;
/** Attends to everything it hears. */
let attentive: string;
let long: string;
let samples: Float32Array;

beforeAll(async () => {
  const objectives = { letters: { loss: "ctc", target: "characters" } };
  // Audio as it is: with log mel features, normalising would be another mean for each chunk.
  const config = { model_type: "log-mel", num_mel_bins: 20, deltas: 1, normalize: false };
  const manifest = { manifest: "manifest.jsonl", normalize: false, split: { by: "speakers", test: ["s3"] } };
  local = await tinyRun("local", {
    objectives,
    upstream: { config },
    corpus: manifest,
    epochs: 30,
    optimizer: { name: "adam", lr: 0.01 },
  });
  attentive = await tinyRun("attentive", { objectives, epochs: 60, optimizer: { name: "adam", lr: 0.01 } });
  const waves = [];
  const chance = random(1, "long");
  const files = readdirSync(join(corpus.folder, "audio")).filter((name) => name.startsWith("s3"));
  for (let i = 0; i < 60; i++) {
    const { samples: word } = await readAudio(join(corpus.folder, "audio", files[i % files.length]));
    const pause = Float32Array.from(
      { length: 1200 + Math.floor(1600 * chance.next()) },
      () => 0.01 * chance.normal(),
    );
    waves.push(word, pause);
  }
  samples = Float32Array.from(waves.flatMap((wave) => [...wave]));
  long = join(scratch, "long.wav");
  writeFileSync(long, encodeWav(samples, RATE, "float32"));
});

const inMemory = (from: Float32Array): Stretches => ({
  sampleRate: RATE,
  samples: from.length,
  read: async (start, end) => from.slice(start, end),
});

async function stitched(inference: Inference, chunkSeconds: number, overlapSeconds: number) {
  const scores: number[] = [];
  const hidden: number[] = [];
  let next = 0;
  let pieces = 0;
  const head = { name: "letters", blank: 0 };
  const options = { chunkSeconds, overlapSeconds, head };
  for await (const piece of hearPieces(inference, inMemory(samples), "long", options)) {
    expect(piece.firstFrame).toBe(next);
    next += piece.frames;
    pieces++;
    for (const x of piece.scores.letters) scores.push(x);
    for (const x of piece.hidden[0]) hidden.push(x);
  }
  return { scores, hidden, frames: next, pieces };
}

describe("recordings longer than a chunk", () => {
  it("are heard in pieces as they are at once, by a model that hears no padding", async () => {
    const inference = await Inference.open(local, { threads: 1, layers: "last" });
    const whole = await inference.hear(samples);
    for (const [chunk, overlap] of [
      [3, 1],
      [1.37, 0.5],
      [5, 2.5],
    ]) {
      const parts = await stitched(inference, chunk, overlap);
      expect(parts.pieces).toBeGreaterThan(2);
      expect(parts.frames).toBe(whole.frames);
      expect(far(parts.scores, whole.scores.letters.data as Float32Array)).toBeLessThan(1e-4);
      expect(far(parts.hidden, whole.hidden[0].data as Float32Array)).toBeLessThan(1e-4);
    }
    await inference.dispose();
  });

  it("lose and double no symbol, whatever the chunks", async () => {
    for (const model of [local, attentive]) {
      const transcriber = await Transcriber.open(model, { threads: 1 });
      const whole = await transcriber.transcribe(long, { chunkSeconds: 1000 });
      expect(whole.symbols.length).toBeGreaterThan(60);
      for (const [chunkSeconds, overlapSeconds] of [
        [4, 1.5],
        [2.3, 1],
      ]) {
        const parts = await transcriber.transcribe(long, { chunkSeconds, overlapSeconds });
        if (model === attentive) {
          // What it attends to depends on the chunk, and with it what it hears where it is not sure.
          const [a, b] = [whole, parts].map(({ symbols }) => symbols.map(({ text }) => text));
          expect(errorRate([a], [b]).rate).toBeLessThan(0.03);
          continue;
        }
        expect(parts.symbols.map(({ text }) => text)).toEqual(whole.symbols.map(({ text }) => text));
        // A frame of this model is 10 ms.
        for (const [i, { start, end }] of parts.symbols.entries()) {
          expect(Math.abs(start - whole.symbols[i].start)).toBeLessThan(0.03);
          expect(Math.abs(end - whole.symbols[i].end)).toBeLessThan(0.03);
        }
      }
      await transcriber.dispose();
    }
  });

  it("are read stretch by stretch, resampled as the whole would be", async () => {
    for (const name of ["mono16.flac", "s16.wav", "mono.ogg", "s24.sph"]) {
      const path = resolve(import.meta.dirname, "../fixtures/audio", name);
      for (const rate of [16_000, 8000, 11_025]) {
        const { samples: all } = await readAudio(path, { sampleRate: rate });
        const recording = await openRecording(path, rate);
        expect(recording.samples).toBe(all.length);
        await fc.assert(
          fc.asyncProperty(fc.nat(all.length - 1), fc.nat(all.length), async (from, size) => {
            const to = Math.min(all.length, from + size + 1);
            expect(far(await recording.read(from, to), all.subarray(from, to))).toBeLessThan(1e-6);
          }),
          { numRuns: 8 },
        );
        recording.close();
      }
    }
  });

  it("may not overlap by more than half, nor be too short", async () => {
    const transcriber = await Transcriber.open(local, { threads: 1 });
    await expect(transcriber.transcribe(long, { chunkSeconds: 2, overlapSeconds: 1.5 })).rejects.toThrow(
      "cannot overlap by more than half",
    );
    const click = join(scratch, "click.wav");
    writeFileSync(click, encodeWav(new Float32Array(30), RATE));
    await expect(transcriber.transcribe(click)).rejects.toThrow("click.wav: 0.002 s is too short");
    await transcriber.dispose();
  });
});

const arpa = (words: string[]) =>
  readArpa(
    `\\data\\\nngram 1=${words.length + 2}\n\n\\1-grams:\n-99 <s>\n-1 </s>\n${words.map((w, i) => `${-0.3 - i} ${w}`).join("\n")}\n\n\\end\\\n`,
  );

describe("transcribing", () => {
  it("obeys a word model: only its words are written, each with its time", async () => {
    const models = arpa(["ab", "cb"]);
    const transcriber = await Transcriber.open(local, {
      threads: 1,
      languageModel: (v) => fitLanguageModel(models, "lm.arpa", v, {}),
    });
    const { words, text, seconds } = await transcriber.transcribe(
      join(corpus.folder, "audio", readdirSync(join(corpus.folder, "audio"))[0]),
    );
    expect(["ab", "cb"]).toContain(text);
    expect(words).toHaveLength(1);
    expect(words[0].start).toBeGreaterThanOrEqual(0);
    expect(words[0].end).toBeLessThanOrEqual(seconds);
    await transcriber.dispose();
  });

  it("takes a folder in Hugging Face's form as the run that it is from", async () => {
    const folder = mkdtempSync(join(scratch, "hf-"));
    const files = ["config.json", "model.safetensors", "vocab.json", "tokenizer_config.json"];
    for (const name of [...files, "preprocessor_config.json"])
      copyFileSync(join(attentive, name), join(folder, name));
    const texts = [];
    for (const model of [attentive, folder]) {
      const transcriber = await Transcriber.open(model, { threads: 1 });
      texts.push((await transcriber.transcribe(long)).text);
      await transcriber.dispose();
    }
    expect(texts[0].length).toBeGreaterThan(60);
    expect(texts[1]).toBe(texts[0]);
  });

  it("fits models over words and over symbols, and refuses others", () => {
    const letters = new Vocabulary(["<pad>", "|", "A", "B"], {
      unit: "characters",
      blank: 0,
      letterCase: "upper",
      dropStress: false,
      unknown: false,
    });
    const words = fitLanguageModel(arpa(["ab", "b", "xyz"]), "lm.arpa", letters, {});
    expect(words.words).toEqual(["ab", "b"]);
    expect(words.notes).toEqual(["lm.arpa: 1 words have letters that the model does not write"]);
    expect(fitLanguageModel(arpa(["A", "B", "|"]), "lm.arpa", letters, {}).words).toBeUndefined();
    const phones = new Vocabulary(["<pad>", "AH", "B"], { ...letters.options, unit: "phones" });
    expect(() => fitLanguageModel(arpa(["ab"]), "lm.arpa", phones, {})).toThrow("with --lexicon");
    const lexicon = join(scratch, "lexicon.txt");
    writeFileSync(lexicon, "ab AH B\nother B\n");
    expect(fitLanguageModel(arpa(["ab"]), "lm.arpa", phones, { lexicon }).words).toEqual(["ab"]);
    expect(() => fitLanguageModel(arpa(["xyz"]), "lm.arpa", letters, {})).toThrow("none of its words");
  });

  it("writes subtitles, time marks and TextGrids", () => {
    const word = (text: string, start: number, end: number) => ({ text, start, end, score: 0.5 });
    const words = [word("say", 0.1, 0.4), word('"it"', 0.5, 0.75), word("again", 3661.5, 3662)];
    const transcript = { seconds: 3700, text: "", words, symbols: [word("s", 0.1, 0.2)] };
    expect(formatTimestamps("srt", transcript, "x")).toBe(
      '1\n00:00:00,100 --> 00:00:00,750\nsay "it"\n\n2\n01:01:01,500 --> 01:01:02,000\nagain\n',
    );
    expect(formatTimestamps("ctm", transcript, "my talk").split("\n")[1]).toBe(
      'my_talk 1 0.500 0.250 "it" 0.500',
    );
    const path = join(scratch, "grid.TextGrid");
    writeFileSync(path, formatTimestamps("textgrid", transcript, "x"));
    const tiers = readTextGrid(path);
    expect(tiers.map(({ name }) => name)).toEqual(["words", "symbols"]);
    expect(tiers[0].items.filter(({ label }) => label !== "")).toEqual(
      words.map(({ text, start, end }) => ({ label: text, start, end })),
    );
    expect(tiers[0].items.at(-1)!.end).toBe(3700);
  });

  it("names what is missing", async () => {
    await expect(Transcriber.open("log-mel")).rejects.toThrow("has no CTC head with known symbols");
    await expect(Transcriber.open(local, { head: "phones" })).rejects.toThrow("it has letters");
  });
});

describe("extracting", () => {
  it("writes NumPy and safetensors arrays, in pieces as at once", async () => {
    for (const layers of ["all", 1] as const) {
      const inference = await Inference.open(attentive, { threads: 1, heads: [], layers });
      const { hidden, frames } = await inference.hear(samples);
      const expected = hidden.flatMap(({ data }) => [...(data as Float32Array)]);
      const [npy, st] = ["npy", "safetensors"].map((ending) => join(scratch, `states.${ending}`));
      const [{ shape }] = await extractTo(npy, [long], inference, { chunkSeconds: 1000 });
      expect(shape).toEqual(layers === "all" ? [3, frames, 16] : [frames, 16]);
      const bytes = readFileSync(npy);
      const start = 10 + bytes.readUInt16LE(8);
      expect(start % 64).toBe(0);
      expect(bytes.subarray(10, start).toString()).toMatch(
        new RegExp(
          `^\\{'descr': '<f4', 'fortran_order': False, 'shape': \\(${shape.join(", ")}\\), \\} *\\n$`,
        ),
      );
      const values = new Float32Array(new Uint8Array(bytes.subarray(start)).buffer);
      expect(far(values, expected)).toBe(0);
      const short = join(corpus.folder, "audio/s0-0.wav");
      await extractTo(st, [long, short], inference, { chunkSeconds: 4, overlapSeconds: 2 });
      const file = openSafetensors(st);
      expect([...file.infos.keys()].sort()).toEqual(["long", "s0-0"]);
      expect(file.infos.get("long")!.shape).toEqual(shape);
      const inPieces = file.readF32("long");
      // It attends to a chunk instead of to everything: near, not equal.
      const norm = (a: ArrayLike<number>) => Math.sqrt(Array.from(a).reduce((s, x) => s + x * x, 0));
      expect(norm(inPieces.map((x, i) => x - expected[i])) / norm(expected)).toBeLessThan(0.3);
      file.close();
      await inference.dispose();
    }
  });
});

describe("the commands", () => {
  const cli = (...args: string[]) => spawnSync(process.execPath, [bin, ...args], { encoding: "utf8" });

  it("transcribe, and refuse with one sentence", () => {
    const { stdout, status } = cli(
      "transcribe",
      long,
      "--model",
      local,
      "--json",
      "--chunk",
      "4",
      "--overlap",
      "1",
    );
    expect(status).toBe(0);
    const [transcript] = JSON.parse(stdout).transcripts;
    expect(transcript.seconds).toBeCloseTo(samples.length / RATE, 3);
    expect(transcript.words.length).toBeGreaterThan(0);
    const absent = cli("transcribe", "absent.wav", "--model", local);
    expect([absent.status, absent.stderr]).toEqual([2, "voxsmith: absent.wav: there is no such file\n"]);
  });

  it("extract", () => {
    const out = join(scratch, "mel.npy");
    const { stdout, status } = cli(
      "extract",
      long,
      "--model",
      "log-mel",
      "--layers",
      "mean",
      "--out",
      out,
      "--json",
    );
    expect(status).toBe(0);
    expect(JSON.parse(stdout).recordings[0].shape).toEqual([
      Math.floor((samples.length - 400) / 160) + 1,
      240,
    ]);
  });
});
