import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { exportModel, importModel } from "../../src/train/export.ts";
import { closeStreams, parametersOf, prepare } from "../../src/train/prepare.ts";
import { parseRecipe } from "../../src/train/recipe.ts";
import { openCheckpoint } from "../../src/weights/checkpoint.ts";
import { TINY_CONFIG, type TinyCorpus, tinyCorpus, tinyRecipe } from "./tiny-corpus.ts";

// What a run writes is what it had: every family, heads and all, to the last bit.

const scratch = mkdtempSync(join(tmpdir(), "export-families-"));
let corpus: TinyCorpus;
beforeAll(() => {
  corpus = tinyCorpus(2);
});
afterAll(() => {
  for (const folder of [scratch, corpus.folder]) rmSync(folder, { recursive: true });
});

const load = (upstream: Record<string, unknown>, more: Record<string, unknown> = {}) =>
  prepare(parseRecipe(tinyRecipe({ upstream, ...more }), "tiny.yaml"), {
    data: corpus.folder,
    cache: scratch,
    skipBad: false,
    log: () => {},
  });

const { feat_extract_norm: _, do_stable_layer_norm: __, ...plain } = TINY_CONFIG as Record<string, unknown>;
const spectral = { ...plain, mask_feature_prob: 0 };

describe("a run of each family is written and read again to the last bit", () => {
  test.each<[string, Record<string, unknown>, Record<string, unknown>]>([
    ["wav2vec2", TINY_CONFIG, {}],
    ["hubert", TINY_CONFIG, { layers: "weighted" }],
    ["wavlm", { ...TINY_CONFIG, num_buckets: 32, max_bucket_distance: 80 }, {}],
    ["data2vec-audio", { ...plain, num_conv_pos_embeddings: 2, conv_pos_kernel_size: 5 }, {}],
    ["decoar2", spectral, {}],
    [
      "pase",
      { cnn_channels: [4, 4], rnn_layers: 2, rnn_neurons: 8, dnn_neurons: [8] },
      { layers: "weighted" },
    ],
    [
      "pase-plus",
      { kwidths: [31, 20, 11], strides: [1, 10, 8], fmaps: [4, 4, 4], emb_dim: 8, rnn_dim: 8 },
      {},
    ],
    [
      "vq-wav2vec",
      {
        ...{ conv_dim: [8, 8], conv_kernel: [40, 16], conv_stride: [20, 8], vq_vars: 4, vq_depth: 2 },
        ...{ aggregator_dim: [6, 8], aggregator_kernel: [2, 3] },
      },
      {},
    ],
    ["log-mel", { mask_feature_prob: 0 }, {}],
  ])("%s", async (model_type, config, more) => {
    const recipe = { config: { ...config, model_type }, ...more };
    const run = await load(recipe, { dropout: {} });
    const { task, store, streams } = run;
    // As if trained: numbers that no initialisation gives.
    for (let i = 0; i < store.weights.length; i++) store.weights[i] = Math.fround(Math.sin(i) + 1e-8 * i);
    const folder = mkdtempSync(join(scratch, `${model_type}-`));
    exportModel(folder, task, store, streams[0]);
    const again = parametersOf(run.recipe, task, false).store;
    importModel(folder, task, again);
    expect(again.weights).toEqual(store.weights);
    // The folder is a checkpoint: training may start from it.
    const checkpoint = openCheckpoint(folder);
    expect(checkpoint.family).toBe(model_type);
    for (const name of task.model.upstream.prefix ? store.specs.keys() : [])
      if (name.startsWith(`${task.model.upstream.prefix}.`))
        expect(checkpoint.weights.readF32(name)).toEqual(store.array(name));
    checkpoint.weights.close();
    await closeStreams(streams);
  });
});
