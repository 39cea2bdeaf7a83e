import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { encodeWav } from "../../../src/audio/wav.ts";
import type { Utterance } from "../../../src/corpus/manifest.ts";
import { random } from "../../../src/random.ts";
import { TINY_CONFIG } from "../../train/tiny-corpus.ts";

const RATE = 16_000;
const TONES: Record<string, number> = { a: 700, b: 1500, c: 2600 };

/** Tones that stand for phones; the grade is how slow and how noisy a speaker is. Speakers of three grades by turns. */
export function gradedCorpus({ speakers = 9, each = 2, seconds = 0.08 } = {}): {
  folder: string;
  utterances: Utterance[];
} {
  const folder = mkdtempSync(join(tmpdir(), "graded-"));
  mkdirSync(join(folder, "audio"));
  const utterances: Utterance[] = [];
  for (let s = 0; s < speakers; s++)
    for (let n = 0; n < each; n++) {
      const grade = s % 3;
      const chance = random(s, n, "graded tones");
      const phones = n % 2 === 0 ? ["a", "b", "c"] : ["c", "a", "b"];
      const id = `s${s}-${n}`;
      const samples = phones.flatMap((phone) =>
        Array.from(
          { length: Math.round(RATE * seconds * (1 + grade)) },
          (_, i) =>
            0.3 * Math.sin((2 * Math.PI * TONES[phone] * (1 + 0.02 * s) * i) / RATE) +
            0.02 * (1 + 4 * grade) * chance.normal(),
        ),
      );
      writeFileSync(join(folder, "audio", `${id}.wav`), encodeWav(Float32Array.from(samples), RATE));
      utterances.push({
        id,
        audio: `audio/${id}.wav`,
        speaker: `s${s}`,
        text: phones.join(" "),
        phones,
        labels: { severity: grade, gender: s % 2 === 0 ? "f" : "m", session: 1 + (n % 2) },
      });
    }
  writeManifestLines(folder, utterances);
  return { folder, utterances };
}

export function writeManifestLines(folder: string, utterances: readonly Utterance[]): void {
  writeFileSync(join(folder, "manifest.jsonl"), utterances.map((u) => `${JSON.stringify(u)}\n`).join(""));
}

/** A severity recipe over it (JSON is YAML); `changes` replace its top-level keys. */
export function gradedRecipe(changes: Record<string, unknown> = {}): string {
  return JSON.stringify({
    name: "graded",
    upstream: { config: TINY_CONFIG },
    corpus: {
      manifest: "manifest.jsonl",
      classes: { severity: ["0", "1", "2"] },
      split: { by: "folds", folds: 3, stratify: ["severity", "gender"] },
    },
    objectives: {
      severity: { loss: "cross-entropy", target: "labels.severity", from: { epoch: 1 } },
      phonemes: { loss: "ctc", target: "phones", weight: 0.1, reduction: "utterance" },
    },
    plan: { freeze: [] },
    optimizer: { name: "adam", lr: 0.003 },
    batch: { size: 1, accumulate: 4 },
    epochs: 3,
    threads: 1,
    ...changes,
  });
}
