import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { encodeWav } from "../../src/audio/wav.ts";
import { random } from "../../src/random.ts";

/** Two "words", each a sequence of tones that stand for letters; speakers differ in pitch. */
const TONES: Record<string, number> = { a: 700, b: 1500, c: 2600 };
const WORDS = ["ab", "cb"];
const RATE = 16_000;

export interface TinyCorpus {
  folder: string;
  manifest: string;
}

/** A corpus of tones that a tiny model learns in seconds: 4 speakers (s0 to s3), `each` utterances of either word. */
export function tinyCorpus(each = 4): TinyCorpus {
  const folder = mkdtempSync(join(tmpdir(), "tiny-"));
  mkdirSync(join(folder, "audio"));
  const lines: string[] = [];
  for (let s = 0; s < 4; s++)
    for (let n = 0; n < 2 * each; n++) {
      const word = WORDS[n % 2];
      const chance = random(s, n, "tones");
      const id = `s${s}-${n}`;
      const parts = [...word].map((letter) =>
        tone(TONES[letter] * (1 + 0.03 * s), 0.05 + 0.03 * chance.next()),
      );
      const samples = Float32Array.from(
        parts.flatMap((part) => [...part]),
        (x) => x + 0.01 * chance.normal(),
      );
      writeFileSync(join(folder, "audio", `${id}.wav`), encodeWav(samples, RATE));
      const label = { word, pitch: s };
      lines.push(
        JSON.stringify({ id, audio: `audio/${id}.wav`, speaker: `s${s}`, text: word, labels: label }),
      );
    }
  const manifest = join(folder, "manifest.jsonl");
  writeFileSync(manifest, `${lines.join("\n")}\n`);
  return { folder, manifest };
}

const tone = (hertz: number, seconds: number): Float32Array =>
  Float32Array.from(
    { length: Math.round(seconds * RATE) },
    (_, i) => 0.3 * Math.sin((2 * Math.PI * hertz * i) / RATE),
  );

/** A recipe (JSON is YAML) over the tiny corpus; `changes` replace its top-level keys. */
export function tinyRecipe(changes: Record<string, unknown> = {}): string {
  return JSON.stringify({ ...TINY, ...changes });
}

export const TINY_CONFIG = {
  model_type: "wav2vec2",
  hidden_size: 16,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  intermediate_size: 32,
  conv_dim: [8, 16],
  conv_stride: [20, 8],
  conv_kernel: [40, 16],
  num_feat_extract_layers: 2,
  num_conv_pos_embeddings: 4,
  num_conv_pos_embedding_groups: 2,
  feat_extract_norm: "layer",
  do_stable_layer_norm: true,
  conv_bias: true,
  mask_time_length: 2,
  mask_feature_prob: 0.1,
  mask_feature_length: 2,
};

const TINY = {
  name: "tiny",
  upstream: { config: TINY_CONFIG },
  corpus: { manifest: "manifest.jsonl", split: { by: "speakers", valid: ["s2"], test: ["s3"] } },
  objectives: {
    word: { loss: "cross-entropy", target: "labels.word" },
    letters: { loss: "ctc", target: "characters", weight: 0.5 },
  },
  plan: { freeze: [] },
  optimizer: { name: "adam", lr: 0.003 },
  batch: { size: 4 },
  epochs: 6,
  threads: 1,
};
