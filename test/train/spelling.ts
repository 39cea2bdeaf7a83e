import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { encodeWav } from "../../src/audio/wav.ts";
import { random } from "../../src/random.ts";

const TONES: Record<string, number> = { a: 700, b: 1500, c: 2600 };
const WORDS = ["ab", "ca", "bc"];
const RATE = 16_000;

/** Sentences of two "words" whose letters are tones; every eighth validates. */
export function spellingCorpus(folder: string, sentences: number): string[] {
  mkdirSync(join(folder, "audio"));
  const texts: string[] = [];
  const lines = Array.from({ length: sentences }, (_, n) => {
    const chance = random(n, "sentences");
    const text = Array.from({ length: 2 }, () => WORDS[chance.int(WORDS.length)]).join(" ");
    const parts = [...text].map((letter) => {
      const samples = Math.round((letter === " " ? 0.04 : 0.06 + 0.02 * chance.next()) * RATE);
      const step = (2 * Math.PI * (TONES[letter] ?? 0)) / RATE;
      return Float32Array.from(
        { length: samples },
        (_, i) => 0.3 * Math.sin(step * i) + 0.01 * chance.normal(),
      );
    });
    const samples = Float32Array.from(parts.flatMap((part) => [...part]));
    writeFileSync(join(folder, "audio", `${n}.wav`), encodeWav(samples, RATE));
    texts.push(text);
    const split = n % 8 === 0 ? "valid" : "train";
    return JSON.stringify({ id: `u${n}`, audio: `audio/${n}.wav`, text, split });
  });
  writeFileSync(join(folder, "manifest.jsonl"), `${lines.join("\n")}\n`);
  return texts;
}

const shared = { target: "pieces", pieces: 8, weight: 0.5 };

/** A small CRDNN with CTC and an attention decoder over them. */
export const spellingRecipe = {
  name: "spelling",
  upstream: { config: { model_type: "log-mel" } },
  corpus: { manifest: "manifest.jsonl", split: { by: "field" }, normalize: false },
  crdnn: {
    channels: [8],
    frequencyPooling: 4,
    timePooling: 2,
    rnnLayers: 1,
    rnnNeurons: 48,
    dnnNeurons: [48],
    dropout: 0,
  },
  objectives: {
    ctc: { loss: "ctc", ...shared },
    attention: {
      loss: "attention",
      ...shared,
      decoder: { embedding: 8, hidden: 48, attention: 48, channels: 4, reach: 8, dropout: 0 },
      labelSmoothing: 0,
      search: { beam: 4 },
    },
  },
  optimizer: { name: "adam", lr: 0.005, clip: 5 },
  batch: { size: 7 },
  epochs: 60,
  evaluate: { every: 1000 },
  threads: 1,
};
