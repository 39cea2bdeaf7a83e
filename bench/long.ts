import { spawn } from "node:child_process";
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { encodeWav } from "../src/audio/wav.ts";
import { Vocabulary } from "../src/corpus/vocab.ts";
import { random } from "../src/random.ts";
import { writeDescription } from "../src/train/export.ts";
import { objective } from "../src/train/losses/index.ts";
import { ParameterStore } from "../src/train/store.ts";
import { type Task, traceEvaluation } from "../src/train/task.ts";
import { upstreamOf } from "../src/upstreams/index.ts";
import { writeSafetensors } from "../src/weights/safetensors.ts";
import type { BenchOptions } from "./options.ts";

const RATE = 16_000;
const MINUTES = [10, 60];

const CONFIG = {
  model_type: "wav2vec2",
  hidden_size: 32,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  intermediate_size: 64,
  conv_dim: [16, 16, 16, 16, 16, 16, 16],
  num_conv_pos_embeddings: 16,
  num_conv_pos_embedding_groups: 2,
  feat_extract_norm: "layer",
  do_stable_layer_norm: true,
  mask_time_prob: 0,
};

/**
 * Transcribes generated recordings of ten minutes and of an hour with a small model of random weights, which writes symbols all the
 * time: peak memory of the whole process must not depend on the length. Linux only (it reads /proc).
 */
export async function benchLong({ json, threads }: BenchOptions): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "bench-long-"));
  try {
    const model = join(folder, "model");
    mkdirSync(model);
    writeModel(model);
    for (const minutes of MINUTES) {
      const wav = join(folder, `${minutes}.wav`);
      writeNoise(wav, minutes);
      for (const decoder of [[], ["--beam", "4"]]) {
        const start = performance.now();
        const peakMb = await peakOf([
          "transcribe",
          wav,
          "--model",
          model,
          "--out",
          join(folder, "text.txt"),
          "--threads",
          String(threads),
          ...decoder,
        ]);
        const row = {
          minutes,
          decoder: decoder.length > 0 ? "beam 4" : "greedy",
          peakMb: Math.round(peakMb),
          seconds: Math.round((performance.now() - start) / 1000),
        };
        process.stdout.write(
          json
            ? `${JSON.stringify(row)}\n`
            : `${minutes} min, ${row.decoder}: peak ${row.peakMb} MB, ${row.seconds} s\n`,
        );
      }
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function writeModel(folder: string): void {
  const upstream = upstreamOf(CONFIG, "bench");
  const vocabulary = new Vocabulary(["<pad>", "|", ..."abcdefghijklmnopqrstuvwxyz"], {
    unit: "characters",
    blank: 0,
    letterCase: "lower",
    dropStress: false,
    unknown: false,
  });
  const spec = objective.parse({ loss: "ctc", target: "characters" });
  const target = { kind: "sequence" as const, vocabulary };
  const task: Task = {
    model: { config: CONFIG, settings: upstream.settings, upstream, masked: true },
    layers: "last",
    objectives: [{ name: "characters", spec, target, path: "lm_head" }],
  };
  const store = new ParameterStore(traceEvaluation(task, task.objectives, false).table.specs, () => false);
  store.initialise(1);
  const entries = [...store.specs].map(([name, { shape }]) => ({
    name,
    dtype: "F32" as const,
    shape: [...shape],
    data: store.array(name),
  }));
  writeSafetensors(join(folder, "model.safetensors"), entries);
  writeDescription(folder, task, { sampleRate: RATE, normalize: true });
}

/** Noise that comes and goes, a minute at a time. */
function writeNoise(path: string, minutes: number): void {
  const chance = random(minutes, "noise");
  const minute = Float32Array.from(
    { length: 60 * RATE },
    (_, i) => 0.2 * chance.normal() * Math.sin((Math.PI * i) / RATE) ** 2,
  );
  const bytes = encodeWav(minute, RATE);
  const header = new DataView(bytes.buffer, bytes.byteOffset, 44);
  const data = bytes.subarray(44);
  header.setUint32(4, 36 + minutes * data.length, true);
  header.setUint32(40, minutes * data.length, true);
  const file = openSync(path, "w");
  writeSync(file, bytes.subarray(0, 44));
  for (let i = 0; i < minutes; i++) writeSync(file, data);
  closeSync(file);
}

/** Largest resident set of a command of ours, MB. */
function peakOf(args: readonly string[]): Promise<number> {
  const bin = resolve(import.meta.dirname, "../bin/voxsmith.js");
  const child = spawn(process.execPath, [bin, ...args], { stdio: ["ignore", "ignore", "pipe"] });
  let peak = 0;
  let said = "";
  child.stderr.on("data", (text) => {
    said += text;
  });
  const watch = setInterval(() => {
    try {
      const status = readFileSync(`/proc/${child.pid}/status`, "utf8");
      peak = Math.max(peak, Number(/VmHWM:\s*(\d+)/.exec(status)?.[1] ?? 0) / 1024);
    } catch {
      // It has ended.
    }
  }, 100);
  return new Promise((done, fail) => {
    child.on("exit", (code) => {
      clearInterval(watch);
      if (code === 0) done(peak);
      else fail(new Error(`voxsmith ${args.join(" ")} ended with ${code}: ${said}`));
    });
  });
}
