import { describe, expect, test } from "vitest";
import { kaldiFbank } from "../../src/audio/kaldi.ts";
import { type FrameMatrix, withDeltas } from "../../src/audio/spectra.ts";
import * as ops from "../../src/ops/index.ts";
import { ParameterTable } from "../../src/params/params.ts";
import { random } from "../../src/random.ts";
import { compile } from "../../src/runtime/cpu.ts";
import { f32, i32 } from "../../src/runtime/program.ts";
import { symbol } from "../../src/tensor/dims.ts";
import { evaluationGraph } from "../../src/train/program.ts";
import { ParameterStore } from "../../src/train/store.ts";
import { decoar2Features } from "../../src/upstreams/decoar2.ts";
import { upstreamOf } from "../../src/upstreams/index.ts";

// Upstreams that start from log mel features, against the features of src/audio (which are held against torchaudio's).

const SMALL = { hidden_size: 24, num_hidden_layers: 2, num_attention_heads: 2, intermediate_size: 32 };
const DECOAR = {
  model_type: "decoar2",
  ...SMALL,
  num_conv_pos_embeddings: 9,
  num_conv_pos_embedding_groups: 4,
};

/** A swept tone with noise, in [-1, 1], with an offset. */
function sound(samples: number, name: string): Float32Array {
  const rng = random(1, name);
  return Float32Array.from({ length: samples }, (_, n) => {
    const t = n / 16_000;
    return 0.3 * Math.sin(2 * Math.PI * (200 + 900 * t) * t) + 0.02 * rng.normal() + 0.01;
  });
}

/** Runs an upstream on a padded batch; `masked` tells it the lengths. Returns all hidden states. */
async function hear(config: Record<string, unknown>, waves: readonly Float32Array[], masked: boolean) {
  const upstream = upstreamOf(config, "test");
  const table = new ParameterTable();
  const audio = ops.input("audio", [symbol("batch"), symbol("samples")]);
  const frames = ops.input("frames", [symbol("batch")], "i32");
  const { hidden, last } = upstream.forward(
    { audio, frames: masked ? frames : undefined },
    table.at(upstream.prefix),
  );
  const store = new ParameterStore(table.specs, () => false);
  store.initialise(1);
  const outputs = { first: hidden[0], last };
  const program = await compile(evaluationGraph(table, outputs, masked ? [audio, frames] : [audio]), {
    threads: 1,
  });
  const samples = Math.max(...waves.map(({ length }) => length));
  const values = new Float32Array(waves.length * samples);
  for (const [i, wave] of waves.entries()) values.set(wave, i * samples);
  const counts = waves.map(({ length }) => upstream.frames(length) as number);
  const feeds = { ...store.values, audio: f32([waves.length, samples], values) };
  const out = await program.run(masked ? { ...feeds, frames: i32([waves.length], counts) } : feeds);
  await program.dispose();
  const row = (name: string, i: number) => {
    const { shape, data } = out[name];
    const size = shape[1] * shape[2];
    return (data as Float32Array).slice(i * size, i * size + counts[i] * shape[2]);
  };
  return { counts, row, shape: out.first.shape };
}

/** (x - mean) / (deviation + 1e-10) of each channel, the deviation with n - 1. */
function normalised({ data, frames, dim }: FrameMatrix): Float64Array {
  const out = Float64Array.from(data);
  for (let c = 0; c < dim; c++) {
    let [mean, squares] = [0, 0];
    for (let t = 0; t < frames; t++) mean += data[t * dim + c] / frames;
    for (let t = 0; t < frames; t++) squares += (data[t * dim + c] - mean) ** 2;
    const deviation = Math.sqrt(squares / (frames - 1)) + 1e-10;
    for (let t = 0; t < frames; t++) out[t * dim + c] = (data[t * dim + c] - mean) / deviation;
  }
  return out;
}

function error(ours: ArrayLike<number>, reference: ArrayLike<number>): number {
  expect(ours.length).toBe(reference.length);
  let [difference, size] = [0, 0];
  for (let i = 0; i < reference.length; i++) {
    difference += (ours[i] - reference[i]) ** 2;
    size += reference[i] ** 2;
  }
  return Math.sqrt(difference / size);
}

describe("log-mel", () => {
  test.each([0, 1, 2])("equals Kaldi's filterbank with %i slopes", async (deltas) => {
    const wave = sound(8123, "a");
    const raw = withDeltas(kaldiFbank(wave, 16_000, { bands: 80, scale: 1 }), deltas);
    const plain = await hear({ model_type: "log-mel", deltas, normalize: false }, [wave], false);
    expect(plain.shape).toEqual([1, raw.frames, raw.dim]);
    expect(error(plain.row("last", 0), raw.data)).toBeLessThan(1e-4);
    const standard = await hear({ model_type: "log-mel", deltas }, [wave], false);
    expect(error(standard.row("last", 0), normalised(raw))).toBeLessThan(1e-3);
  });

  test("a padded batch gives each utterance what it gets alone", async () => {
    const waves = [sound(8123, "a"), sound(3000, "b"), sound(560, "c")];
    const together = await hear({ model_type: "log-mel" }, waves, true);
    expect(together.counts).toEqual([49, 17, 2]);
    for (const [i, wave] of waves.entries()) {
      const alone = await hear({ model_type: "log-mel" }, [wave], false);
      expect(error(together.row("last", i), alone.row("last", 0))).toBeLessThan(1e-4);
    }
  });
});

describe("DeCoAR 2.0", () => {
  test("starts from every second frame of Kaldi's normalised filterbank through a Hamming window", async () => {
    const wave = sound(8000, "a");
    const raw = kaldiFbank(wave, 16_000, { bands: 80, scale: 1, window: "hamming" });
    expect(raw.frames).toBe(48);
    const kept = normalised(raw).filter((_, i) => Math.floor(i / 80) % 2 === 0);
    const audio = ops.input("audio", [1, symbol("samples")]);
    const outputs = { features: decoar2Features(audio, undefined, 80) };
    const program = await compile(evaluationGraph(new ParameterTable(), outputs, [audio]), { threads: 1 });
    const { features } = await program.run({ audio: f32([1, wave.length], wave) });
    await program.dispose();
    expect(features.shape).toEqual([1, 24, 80]);
    expect(error(features.data as Float32Array, kept)).toBeLessThan(1e-3);
  });

  test("a padded batch gives each utterance what it gets alone", async () => {
    // 49, 17 and 5 frames at the full rate: odd, so that the statistics cover all of them either way.
    const waves = [sound(8123, "a"), sound(3000, "b"), sound(1100, "c")];
    const together = await hear(DECOAR, waves, true);
    expect(together.counts).toEqual([25, 9, 3]);
    for (const [i, wave] of waves.entries()) {
      const alone = await hear(DECOAR, [wave], false);
      expect(error(together.row("last", i), alone.row("last", 0))).toBeLessThan(1e-4);
    }
  });
});
