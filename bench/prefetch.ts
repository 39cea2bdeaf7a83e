import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { lengthBuckets } from "../src/corpus/batches.ts";
import { readManifest, type Utterance } from "../src/corpus/manifest.ts";
import { AudioLoader, type LoadedBatch, padWaves } from "../src/corpus/prefetch.ts";
import { f32, i32, type Value } from "../src/runtime/program.ts";
import { extractorFrames, parseWav2Vec2Config, type Wav2Vec2Config } from "../src/upstreams/index.ts";
import type { BenchOptions } from "./options.ts";
import { baseConfig } from "./ours/model.ts";
import { type BuiltTraining, buildTraining } from "./ours/training.ts";

interface Case {
  name: string;
  corpus: string;
  config: Wav2Vec2Config;
  batch: number;
}

/** A model so small that its steps are over soon, which is the hard case for a loader. */
const smallConfig = () =>
  parseWav2Vec2Config(
    {
      ...baseConfig("zero"),
      hidden_size: 128,
      num_hidden_layers: 2,
      num_attention_heads: 4,
      intermediate_size: 256,
      conv_dim: [64, 64, 64, 64, 64, 64, 64],
      num_conv_pos_embedding_groups: 8,
    },
    "bench",
  );

const cases = (): Case[] => [
  {
    name: "wav2vec2-base, speechocean762 (FLAC, 16 kHz)",
    corpus: "speechocean762",
    config: baseConfig("zero"),
    batch: 4,
  },
  {
    name: "small model, speechocean762 (FLAC, 16 kHz)",
    corpus: "speechocean762",
    config: smallConfig(),
    batch: 8,
  },
  {
    name: "small model, fsdd (WAV, 8 to 16 kHz)",
    corpus: "fsdd",
    config: smallConfig(),
    batch: 32,
  },
];

/**
 * Times how long real training steps wait for their audio: batches of real recordings, decoded by the loader as in
 * training, but with its cache off, so that every step's audio is decoded anew. Beside it the time that decoding takes
 * where the step itself has to do it.
 */
export async function benchPrefetch({ json, threads, rounds: steps, only }: BenchOptions): Promise<void> {
  const root = process.env["VOXSMITH_DATA"] ?? resolve(import.meta.dirname, "../../shared/data");
  for (const c of cases().filter(({ name }) => name.includes(only))) {
    const manifest = join(root, c.corpus, "manifest.jsonl");
    if (!existsSync(manifest)) {
      console.error(`prefetch: ${manifest} is not there; VOXSMITH_DATA names the folder of the corpora`);
      process.exitCode = 1;
      continue;
    }
    const utterances = readManifest(manifest);
    const training = await buildTraining(c.config, {
      mode: "fast",
      train: "frozen-extractor",
      threads,
    });
    const alone = await timeSteps(c, utterances, training, steps, 0);
    const ahead = await timeSteps(c, utterances, training, steps, 1);
    const row = {
      name: c.name,
      batch: c.batch,
      steps,
      stepMs: round(median(ahead.steps)),
      audioSecondsPerStep: round(ahead.seconds / steps),
      decodeMs: round(median(alone.waits)),
      waitMs: round(median(ahead.waits)),
      longestWaitMs: round(Math.max(...ahead.waits)),
      waitPercent: round((100 * sum(ahead.waits)) / (sum(ahead.waits) + sum(ahead.steps)), 3),
    };
    console.log(
      json
        ? JSON.stringify(row)
        : `${row.name}, batch ${row.batch}: step ${row.stepMs} ms | decoding in the step ${row.decodeMs} ms | prefetched: waits ${row.waitMs} ms (longest ${row.longestWaitMs}), ${row.waitPercent} % of the time`,
    );
  }
}

/** Milliseconds that each step takes, and that it waited for its batch before. */
async function timeSteps(
  { config, batch: batchSize }: Case,
  utterances: readonly Utterance[],
  training: BuiltTraining,
  steps: number,
  threads: number,
) {
  const plan = lengthBuckets(
    utterances.map((u) => Math.round(16_000 * u.duration!)),
    { batchSize, maxSamples: batchSize * 20 * 16_000 },
  );
  const loader = new AudioLoader(utterances, { sampleRate: 16_000, threads, cacheBytes: 0 });
  const source = loader.batches(plan.slice(0, steps + 1));
  const times = { steps: [] as number[], waits: [] as number[], seconds: 0 };
  try {
    // The first batch starts the thread, and the first step warms the kernels.
    await training.step(feedsOf(config, (await source.next()).value!));
    for (let i = 0; i < steps; i++) {
      const asked = performance.now();
      const { value: batch } = await source.next();
      const got = performance.now();
      await training.step(feedsOf(config, batch!));
      times.waits.push(got - asked);
      times.steps.push(performance.now() - got);
      times.seconds += batch!.waves.reduce((all, wave) => all + wave.length, 0) / 16_000;
    }
  } finally {
    await loader.close();
  }
  return times;
}

function feedsOf(config: Wav2Vec2Config, { waves }: LoadedBatch): Record<string, Value> {
  const { values, batch, samples } = padWaves(waves);
  const frames = waves.map((wave) => extractorFrames(wave.length, config) as number);
  const width = 4;
  return {
    audio: f32([batch, samples], values),
    frames: i32([batch], frames),
    labels: i32(
      [batch, width],
      Array.from({ length: batch * width }, (_, i) => 1 + (i % 31)),
    ),
    targets: i32([batch], new Int32Array(batch).fill(width)),
  };
}

const sum = (x: readonly number[]) => x.reduce((all, v) => all + v, 0);
const median = (x: readonly number[]) => [...x].sort((a, b) => a - b)[x.length >> 1];
const round = (x: number, digits = 1) => Number(x.toFixed(digits));
