import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hash32 } from "../src/random.ts";
import {
  type FrozenUpstream,
  type ProbeReport,
  type ProbeTask,
  probe,
  tasksNamed,
  upstreamFrom,
} from "../src/superb/index.ts";
import { miniatureVerification } from "../src/superb/tasks/miniature.ts";
import type { BenchOptions } from "./options.ts";

/** Random weights, 20 ms a frame: wav2vec2-base's layout, and wav2vec 2.0 in small, what a workstation pre-trains. */
const UPSTREAMS: Readonly<Record<string, Record<string, unknown>>> = {
  base: { model_type: "wav2vec2" },
  small: {
    model_type: "wav2vec2",
    hidden_size: 128,
    num_hidden_layers: 4,
    num_attention_heads: 4,
    intermediate_size: 512,
    conv_dim: [64, 128, 128, 128, 128],
    conv_kernel: [10, 8, 4, 4, 4],
    conv_stride: [5, 4, 4, 2, 2],
    num_feat_extract_layers: 5,
    num_conv_pos_embeddings: 32,
    num_conv_pos_embedding_groups: 4,
    feat_extract_norm: "layer",
    do_stable_layer_norm: true,
    conv_bias: true,
  },
};

const DATA = "../shared/data";

interface Measured {
  seconds: number;
  /** Of all threads; it says the same on a busy machine. */
  cpuSeconds: number;
  report: ProbeReport;
}

/** Draws a share of the recordings by their ids, so that tasks have them in common as before. */
const drawn = (every: number) => (utterance: { readonly id: string }) =>
  hash32(SALT, utterance.id) % every === 0;
/** With it a share of 0.02 has recordings in every part of every task, and about that share of each training part. */
const SALT = 1626;

/** A task on a share of the recordings with as many fewer updates: each recording is heard as often. */
function thinned(task: ProbeTask, every: number): ProbeTask {
  const { items, parts, recipe } = task;
  const kept = drawn(every);
  const some = (indices: readonly number[]) => indices.filter((i) => kept(items[i].utterance));
  return {
    ...task,
    parts: { train: some(parts.train), valid: some(parts.valid), test: some(parts.test) },
    recipe: {
      ...recipe,
      steps: Math.ceil(recipe.steps / every),
      evaluateEvery: Math.ceil(recipe.evaluateEvery / every),
    },
  };
}

/**
 * The miniature suite with cached hidden states, a second model on the same cache folder, and the same suite with hidden
 * states computed whenever they are heard. `only` names tasks; `share` is how much of their recordings and updates is used.
 */
export async function benchProbe(options: BenchOptions): Promise<void> {
  const { json, only, threads, share = 1, upstream: size = "base" } = options;
  const config = UPSTREAMS[size];
  if (config === undefined)
    throw new Error(`--upstream ${size}: it can be ${Object.keys(UPSTREAMS).join(" or ")}`);
  const tasks: ProbeTask[] = [];
  const every = Math.round(1 / share);
  for (const entry of tasksNamed(only || "miniature")) {
    // Its trials are drawn with its recordings.
    const found =
      entry.name === "mini-verification"
        ? [await miniatureVerification(DATA, drawn(every))]
        : await entry.prepare(DATA);
    tasks.push(...found.map((task) => thinned(task, every)));
  }
  const folder = mkdtempSync(join(tmpdir(), "bench-probe-"));
  const run = async (upstream: FrozenUpstream, cache?: string): Promise<Measured> => {
    const [start, cpu] = [performance.now(), process.cpuUsage()];
    const report = await probe(upstream, tasks, { cache, threads });
    const { user, system } = process.cpuUsage(cpu);
    await upstream.dispose();
    return { seconds: (performance.now() - start) / 1000, cpuSeconds: (user + system) / 1e6, report };
  };
  try {
    const cache = join(folder, "cache");
    const made = (seed: number) => upstreamFrom(seed === 1 ? "first" : "second", config, { seed, threads });
    const cached = await run(await made(1), cache);
    const second = await run(await made(2), cache);
    const again = await run(await made(1), cache);
    const recomputed = await run(await made(1));
    const same = cached.report.results.every(
      ({ metrics }, i) => JSON.stringify(metrics) === JSON.stringify(recomputed.report.results[i].metrics),
    );
    const row = {
      name: `probe of ${size}: ${tasks.map(({ name }) => name).join(", ")}${share < 1 ? `, ${share} of recordings and updates` : ""}`,
      heard: { cached: cached.report.features.computed, recomputed: recomputed.report.features.computed },
      seconds: timesOf((each) => each.seconds),
      cpuSeconds: timesOf((each) => each.cpuSeconds),
      extractionSeconds: round(cached.report.seconds.extraction),
      ratio: round(recomputed.seconds / cached.seconds),
      cpuRatio: round(recomputed.cpuSeconds / cached.cpuSeconds),
      sameResults: same,
    };
    function timesOf(of: (each: Measured) => number) {
      return {
        cached: round(of(cached)),
        secondModel: round(of(second)),
        again: round(of(again)),
        recomputed: round(of(recomputed)),
      };
    }
    console.log(
      json
        ? JSON.stringify(row)
        : `${row.name} | cached ${row.seconds.cached} s (${row.extractionSeconds} s of it hidden states), a second model ${row.seconds.secondModel} s, the first one again ${row.seconds.again} s | recomputed ${row.seconds.recomputed} s | ratio ${row.ratio}, of processor time ${row.cpuRatio} | recordings heard ${row.heard.cached} and ${row.heard.recomputed} | results ${same ? "equal" : "NOT EQUAL"}`,
    );
    if (!same) process.exitCode = 1;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const round = (x: number) => Math.round(10 * x) / 10;
