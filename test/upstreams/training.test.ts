import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Optimiser } from "../../src/train/optimiser.ts";
import { closeStreams, type Prepared, prepare } from "../../src/train/prepare.ts";
import { parseRecipe } from "../../src/train/recipe.ts";
import { Stepper } from "../../src/train/stepper.ts";
import { TINY_CONFIG, type TinyCorpus, tinyCorpus, tinyRecipe } from "../train/tiny-corpus.ts";

// The trainer drives every family: dropout, masks, layer drop, frozen extractors, both kinds of heads.

let corpus: TinyCorpus;
const opened: Prepared[] = [];
beforeAll(() => {
  corpus = tinyCorpus(2);
});
afterAll(async () => {
  for (const { streams } of opened) await closeStreams(streams);
});

const random = { layerdrop: 0.3, mask_time_prob: 0.2, mask_feature_prob: 0.1, hidden_dropout: 0.1 };
const { feat_extract_norm: _, do_stable_layer_norm: __, ...plain } = TINY_CONFIG as Record<string, unknown>;

describe("a training step", () => {
  it.each([
    ["hubert", { ...TINY_CONFIG, ...random }],
    ["wavlm", { ...TINY_CONFIG, ...random, num_buckets: 32, max_bucket_distance: 80 }],
    ["data2vec-audio", { ...plain, ...random, num_conv_pos_embeddings: 2, conv_pos_kernel_size: 5 }],
    ["decoar2", { ...plain, ...random }],
    ["pase", { cnn_channels: [4, 4], rnn_layers: 2, rnn_neurons: 8, dnn_neurons: [8], mask_time_prob: 0.2 }],
    [
      "pase-plus",
      {
        kwidths: [31, 20, 11],
        strides: [1, 10, 8],
        fmaps: [4, 4, 4],
        emb_dim: 8,
        rnn_dim: 8,
        mask_time_prob: 0.2,
      },
    ],
    [
      "vq-wav2vec",
      {
        ...{ conv_dim: [8, 8], conv_kernel: [40, 16], conv_stride: [20, 8], vq_vars: 4 },
        ...{ aggregator_dim: [8, 8], aggregator_kernel: [2, 3], dropout: 0.1, mask_time_prob: 0.2 },
      },
    ],
    ["log-mel", { mask_time_prob: 0.2 }],
  ])("of %s has finite gradients that reach the heads and most of the model", async (model_type, config) => {
    const objectives = {
      word: { loss: "cross-entropy", target: "labels.word" },
      letters: { loss: "ctc", target: "characters", weight: 0.5 },
    };
    const changes = { upstream: { config: { ...config, model_type } }, objectives, batch: { size: 4 } };
    const recipe = parseRecipe(tinyRecipe(changes), "tiny.yaml");
    const cache = join(corpus.folder, "cache");
    const run = await prepare(recipe, { data: corpus.folder, cache, skipBad: false, log: () => {} });
    opened.push(run);
    const { task, store, training } = run;
    const program = { threads: 1 };
    const optimiser = new Optimiser(recipe.optimizer, store, program);
    const stepper = new Stepper({
      ...{ task, store, optimiser, training, program },
      ...{ optimizer: recipe.optimizer, recompute: recipe.plan.recompute, augment: recipe.augment, seed: 1 },
    });
    const [stream] = run.streams;
    const { value } = await run.orders.get("main")!.loaded(0).next();
    const { loss } = await stepper.gradients(0, [{ stream, batches: value! }], run.weights.at(0), false);
    expect(loss).toBeGreaterThan(0);
    expect(store.gradients.every(Number.isFinite)).toBe(true);
    const reached = [...store.spans.values()].filter(
      ({ start, end }) =>
        end <= store.trainedSize && store.gradients.subarray(start, end).some((x) => x !== 0),
    );
    const heads = ["heads.word.weight", "lm_head.weight"];
    expect(reached.map(({ name }) => name)).toEqual(expect.arrayContaining(heads));
    if (model_type !== "log-mel") expect(reached.length).toBeGreaterThan(store.spans.size / 2);
    await stepper.dispose();
    await optimiser.dispose();
  });
});
