import { describe, expect, it } from "vitest";
import { bool, f32, i32, number, type Value } from "../../src/runtime/program.ts";
import { assign, kMeans } from "../../src/train/k-means.ts";
import { objective } from "../../src/train/losses/index.ts";
import { compileTraining, gradientName } from "../../src/train/program.ts";
import type { Target } from "../../src/train/targets.ts";
import { namePaths, type Task, type TaskObjective, traceTraining } from "../../src/train/task.ts";
import { upstreamOf } from "../../src/upstreams/index.ts";
import { fixture } from "./reference.ts";

// scripts/reference/pretraining.py: the same weights, audio and labels by the same formulas, in transformers and PyTorch.

type Gradients = Record<string, [norm: number, ...first: number[]]>;
const reference = fixture<{
  constants: { batch: number; samples: number; seed: number; temperature: number; clusters: number };
  config: Record<string, unknown>;
  codes: Record<string, number>;
  wav2vec2: Record<"frames" | "contrastive" | "diversity" | "penalty" | "perplexity", number> & {
    gradients: Gradients;
  };
  hubert: Record<"units" | "mel" | "pitch" | "penalty" | "accuracy", number> & { gradients: Gradients };
  kmeans: { inertias: number[] };
}>("pretraining.json");
const { batch, samples, seed, temperature, clusters } = reference.constants;
const { frames } = reference.wav2vec2;

const wave = (count: number, phase: number) =>
  Float32Array.from(
    { length: count },
    (_, i) => Math.sin(phase + 0.37 * i) * Math.cos(0.0131 * i * (1 + phase)),
  );

/** w[i] by the parameter's name, as the script fills its modules. */
function filled(name: string, size: number): Float32Array {
  const code = [...name].reduce((sum, c) => sum + c.charCodeAt(0), 0) % 97;
  const base =
    name.includes("layer_norm") && name.endsWith("weight") ? 1 : name.endsWith("original0") ? 1.5 : 0;
  return Float32Array.from({ length: size }, (_, i) => base + 0.3 * Math.sin(code + 1.7 * i));
}

const mask = Uint8Array.from({ length: batch * frames }, (_, i) =>
  Number(((i % frames) + 2 * Math.floor(i / frames)) % 6 < 3),
);

function negativeCounts(count: number): Float32Array {
  const out = new Float32Array(batch * frames * frames);
  for (let b = 0; b < batch; b++) {
    const places = [...mask.subarray(b * frames, (b + 1) * frames).keys()].filter(
      (t) => mask[b * frames + t],
    );
    for (const [k, t] of places.entries())
      for (let n = 0; n < count; n++) {
        const at = (k + 1 + ((7 * n + k) % (places.length - 1))) % places.length;
        out[(b * frames + t) * frames + places[at]]++;
      }
  }
  return out;
}

async function step(
  family: string,
  objectives: Record<string, [spec: Record<string, unknown>, target: Target]>,
  feeds: Record<string, Value>,
  scriptName: (name: string) => string,
) {
  const config = { model_type: family, ...reference.config, ...reference.codes };
  const upstream = upstreamOf(config, "test");
  const specs = Object.entries(objectives).map(([name, [spec]]) => [name, objective.parse(spec)] as const);
  const paths = namePaths(specs);
  const asked = specs.map(
    ([name, spec]): TaskObjective => ({ name, spec, target: objectives[name][1], path: paths.get(name)! }),
  );
  const task: Task = {
    model: { config, settings: upstream.settings, upstream, masked: false },
    layers: "last",
    objectives: asked,
  };
  const { table, traced } = traceTraining(task, asked);
  const program = await compileTraining(table, traced, { trained: () => true, threads: 1 });
  const weights = Object.fromEntries(
    [...table.specs].map(([name, { shape }]) => [
      name,
      f32(
        shape,
        filled(
          scriptName(name),
          shape.reduce((a, b) => a * b, 1),
        ),
      ),
    ]),
  );
  const audio = new Float32Array(batch * samples);
  for (let b = 0; b < batch; b++) audio.set(wave(samples, b + 1), b * samples);
  const given = Object.fromEntries(
    asked.map(({ name, spec }) => [`weight.${name}`, number(spec.weight as number)]),
  );
  const results = await program.run({
    ...weights,
    ...given,
    ...feeds,
    audio: f32([batch, samples], audio),
    frames: i32(
      [batch],
      Array.from({ length: batch }, () => frames),
    ),
    seed: i32([], [seed]),
    "hide.frames": bool([batch, frames], mask),
  });
  await program.dispose();
  return results;
}

const value = (results: Record<string, Value>, name: string) => (results[name].data as Float32Array)[0];

/** Every gradient's norm and first elements; those of parameters that only the script has must be zero there. */
function checkGradients(
  results: Record<string, Value>,
  expected: Gradients,
  scriptName: (name: string) => string,
) {
  const seen = new Set<string>();
  // Float32 through the softmax at temperature 0.1: relative to the largest gradients, not to each.
  for (const [output, { data }] of Object.entries(results)) {
    if (!output.startsWith(gradientName(""))) continue;
    const name = scriptName(output.slice(gradientName("").length));
    seen.add(name);
    const [norm, ...first] = expected[name] ?? [0];
    const gradient = data as Float32Array;
    const size = Math.sqrt(gradient.reduce((sum, g) => sum + g * g, 0));
    expect(Math.abs(size - norm), `${name}: norm ${size} against ${norm}`).toBeLessThan(1e-3 * norm + 2e-4);
    for (const [i, g] of first.entries())
      expect(Math.abs(gradient[i] - g), name).toBeLessThan(1e-3 * norm + 2e-4);
  }
  for (const [name, [norm]] of Object.entries(expected))
    if (!seen.has(name)) expect(norm, name).toBeLessThan(2e-4);
}

describe("pre-training against transformers and PyTorch", () => {
  it("wav2vec 2.0: contrastive loss, diversity and feature penalty, with every gradient", async () => {
    const {
      num_codevector_groups: groups,
      num_codevectors_per_group: entries,
      num_negatives: negatives,
    } = reference.codes;
    const results = await step(
      "wav2vec2",
      {
        contrastive: [{ loss: "contrastive" }, { kind: "codes", groups, entries, negatives }],
        diversity: [{ loss: "code-diversity", weight: 0.1 }, { kind: "none" }],
        small: [{ loss: "feature-penalty", weight: 10 }, { kind: "none" }],
      },
      {
        "temperature.contrastive": number(temperature),
        "negatives.contrastive": f32([batch, frames, frames], negativeCounts(negatives)),
      },
      (name) => name,
    );
    const { contrastive, diversity, penalty, perplexity, gradients } = reference.wav2vec2;
    expect(value(results, "loss.contrastive")).toBeCloseTo(contrastive, 4);
    expect(value(results, "loss.diversity")).toBeCloseTo(diversity, 5);
    expect(value(results, "loss.small")).toBeCloseTo(penalty, 5);
    expect(value(results, "measure.diversity.perplexity")).toBeCloseTo(perplexity, 3);
    expect(value(results, "loss")).toBeCloseTo(contrastive + 0.1 * diversity + 10 * penalty, 3);
    checkGradients(results, gradients, (name) => name);
  });

  it("HuBERT: masked prediction and workers on chosen layers, whose weights are applied", async () => {
    const labels = Int32Array.from(
      { length: batch * frames },
      (_, i) => (3 * (i % frames) + Math.floor(i / frames)) % clusters,
    );
    const signal = wave(batch * frames * 4, 0.5);
    const pitch = signal.filter((_, i) => i % 4 === 0);
    const target = (size: number): Target => ({
      kind: "signal",
      signal: "mel",
      size,
      mean: [0],
      deviation: [1],
    });
    const scriptName = (name: string) =>
      name.startsWith("hubert.")
        ? name
        : name.replace(/^heads\.mel\./, "heads.mel.").replace(/^heads\.pitch\./, "heads.pitch.");
    const results = await step(
      "hubert",
      {
        units: [
          { loss: "masked-prediction", clusters: { of: "mfcc", count: clusters }, size: 10 },
          { kind: "clusters", count: clusters },
        ],
        mel: [{ loss: "worker", signal: "mel", layer: 1, weight: 0.3 }, target(4)],
        pitch: [{ loss: "worker", signal: "F0final_sma", weight: 0.2 }, target(1)],
        small: [{ loss: "feature-penalty", weight: 10 }, { kind: "none" }],
      },
      {
        "labels.units": i32([batch, frames], labels),
        "labels.mel": f32([batch, frames, 4], signal),
        "labels.pitch": f32([batch, frames, 1], pitch),
      },
      scriptName,
    );
    const { units, mel, pitch: pitchLoss, penalty, gradients } = reference.hubert;
    expect(value(results, "loss.units")).toBeCloseTo(units, 4);
    expect(value(results, "loss.mel")).toBeCloseTo(mel, 5);
    expect(value(results, "loss.pitch")).toBeCloseTo(pitchLoss, 5);
    expect(value(results, "loss.small")).toBeCloseTo(penalty, 5);
    checkGradients(results, gradients, scriptName);
  });
});

describe("k-means", () => {
  const dim = 5;
  const points = Float32Array.from({ length: 4000 * dim }, (_, i) => {
    const x = Math.sin(12.9898 * i) * 43758.5453;
    const fraction = ((x % 1) + 1) % 1;
    return fraction + 2 * Math.sin(2.3 * (Math.floor(i / dim) % 12) * ((i % dim) + 1));
  });
  const clustersOf = (seed: number) => kMeans(points, dim, { clusters: 12, seed, batch: 500 });

  it("leaves the inertia that scikit-learn leaves", async () => {
    const { inertias } = reference.kmeans;
    const ours: number[] = [];
    for (let seed = 1; seed <= 8; seed++) ours.push(assign(points, await clustersOf(seed)).inertia);
    const mean = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length;
    expect(mean(ours) / mean(inertias)).toBeLessThan(1.01);
    expect(Math.min(...ours) / Math.min(...inertias)).toBeLessThan(1.01);
  });

  it("is a function of points and seed, and refuses more clusters than points", async () => {
    const three = await clustersOf(3);
    expect((await clustersOf(3)).data).toEqual(three.data);
    expect((await clustersOf(4)).data).not.toEqual(three.data);
    await expect(kMeans(points.subarray(0, dim), dim, { clusters: 2, seed: 1 })).rejects.toThrow(
      /need as many points/,
    );
  });

  it("tells how far it is, and lets others have their turn", async () => {
    const told: (readonly [number, number])[] = [];
    let [turns, running] = [0, true];
    const other = () => {
      turns++;
      if (running) setImmediate(other);
    };
    setImmediate(other);
    const onPart = (done: number, total: number) => told.push([done, total]);
    await kMeans(points, dim, { clusters: 12, seed: 1, batch: 500, starts: 2, epochs: 3, onPart });
    running = false;
    expect(told).toEqual([1, 2, 3, 4, 5].map((done) => [done, 5]));
    expect(turns).toBeGreaterThanOrEqual(5);
  });
});
