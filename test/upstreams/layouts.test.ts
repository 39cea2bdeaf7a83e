import { describe, expect, test } from "vitest";
import * as ops from "../../src/ops/index.ts";
import { ParameterTable } from "../../src/params/params.ts";
import { showShape, symbol } from "../../src/tensor/dims.ts";
import { sizeOf } from "../../src/tensor/evaluate.ts";
import { upstreamOf } from "../../src/upstreams/index.ts";
import { openCheckpoint } from "../../src/weights/checkpoint.ts";
import { loadStrict } from "../../src/weights/model-folder.ts";

// The released models at their real sizes, traced but not run.

const STABLE = { feat_extract_norm: "layer", do_stable_layer_norm: true, conv_bias: true };
const sized = (hidden_size: number, num_hidden_layers: number, num_attention_heads = 16) => ({
  ...{ hidden_size, num_hidden_layers, num_attention_heads, intermediate_size: 4 * hidden_size },
});
const LARGE = sized(1024, 24);

function trace(config: Record<string, unknown>) {
  const upstream = upstreamOf(config, "config.json");
  const table = new ParameterTable();
  const audio = ops.input("audio", [symbol("batch"), symbol("samples")]);
  const frames = ops.input("frames", [symbol("batch")], "i32");
  const out = upstream.forward({ audio, frames }, table.at(upstream.prefix));
  return { upstream, table, ...out };
}

describe("real sizes", () => {
  // Numbers of parameters and of tensors: those of transformers 5.17's model of the same configuration.
  test.each([
    ["wav2vec2", "base", {}, 94_371_712, 211],
    ["wav2vec2", "large, XLSR-53, XLS-R 300M", { ...STABLE, ...LARGE }, 315_438_720, 422],
    ["wav2vec2", "XLS-R 1B", { ...STABLE, ...sized(1280, 48) }, 962_497_408, 806],
    ["wav2vec2", "XLS-R 2B", { ...STABLE, ...sized(1920, 48) }, 2_159_259_648, 806],
    ["hubert", "base", {}, 94_371_712, 211],
    ["hubert", "large", { ...STABLE, ...LARGE }, 315_438_720, 422],
    ["hubert", "x-large", { ...STABLE, ...sized(1280, 48) }, 962_497_408, 806],
    ["wavlm", "base", {}, 94_381_936, 248],
    ["wavlm", "large", { ...STABLE, ...LARGE, conv_bias: false }, 315_453_120, 488],
    ["data2vec-audio", "base", {}, 93_164_288, 230],
    ["data2vec-audio", "large", LARGE, 313_276_416, 422],
  ])("%s %s", (model_type, _, sizes, parameters, tensors) => {
    const { upstream, table, last, hidden } = trace({ model_type, ...sizes });
    const specs = [...table.specs.values()];
    expect(specs.reduce((sum, { shape }) => sum + sizeOf(shape), 0)).toBe(parameters);
    expect(specs.length).toBe(tensors);
    const frames = upstream.frames(symbol("samples"));
    const shape = showShape([symbol("batch"), frames, upstream.hiddenSize]);
    expect([last, ...hidden].map((t) => showShape(t.shape))).toEqual(Array(upstream.layers + 2).fill(shape));
    expect([upstream.hop, upstream.sampleRate, upstream.frames(80_000)]).toEqual([320, 16_000, 249]);
  });

  test("DeCoAR 2.0: 13 states at 50 frames a second", () => {
    const { upstream, hidden } = trace({ model_type: "decoar2" });
    expect([hidden.length, upstream.hop, upstream.hiddenSize]).toEqual([13, 320, 768]);
    // 498 frames of 25 ms every 10 ms, of which every second.
    expect([upstream.frames(80_000), upstream.frames(80_160)]).toEqual([249, 250]);
  });

  // The text's 5 x 256 BLSTM and one hidden layer of 256, and the settings' 6 x 256 and two of 512; counted in PyTorch.
  test.each([
    ["paper", 256, 5, 14_161_488],
    ["released", 512, 6, 16_067_664],
  ])("PASE-like encoder of the %s", (variant, width, layers, parameters) => {
    const { upstream, table, hidden, last } = trace({ model_type: "pase", variant });
    const specs = [...table.specs.values()];
    expect(specs.reduce((sum, { shape }) => sum + sizeOf(shape), 0)).toBe(parameters);
    const frames = upstream.frames(symbol("samples"));
    expect(showShape(last.shape)).toBe(showShape([symbol("batch"), frames, width]));
    const state = showShape([symbol("batch"), frames, 512]);
    expect(hidden.map((t) => showShape(t.shape))).toEqual(Array(layers).fill(state));
    expect([upstream.hop, upstream.hiddenSize, upstream.frames(80_000)]).toEqual([160, width, 498]);
  });

  // Counted in the authors' own code of the same configuration (scripts/reference/upstream-own.py).
  test.each([
    ["vq-wav2vec", { vq_depth: 2, combine_groups: true }, 512, 13, 30_917_248, 160, 498],
    ["pase-plus", {}, 256, 1, 7_837_248, 160, 500],
  ])("%s as released: 100 frames a second", (model_type, config, width, states, parameters, hop, frames) => {
    const { upstream, table, hidden, last } = trace({ model_type, ...config });
    expect([...table.specs.values()].reduce((sum, { shape }) => sum + sizeOf(shape), 0)).toBe(parameters);
    const shape = showShape([symbol("batch"), upstream.frames(symbol("samples")), width]);
    expect([last, ...hidden].map((t) => showShape(t.shape))).toEqual(Array(states + 1).fill(shape));
    expect([upstream.hop, upstream.frames(80_000)]).toEqual([hop, frames]);
  });

  test("log-mel: 80 bands and their slopes, without parameters", () => {
    const { upstream, table, hidden } = trace({ model_type: "log-mel" });
    expect([hidden.length, upstream.hop, upstream.hiddenSize, upstream.layers]).toEqual([1, 160, 240, 0]);
    expect(table.specs.size).toBe(0);
  });
});

test.each(["decoar2.pt", "vq-wav2vec.pt", "pase-plus.ckpt"])(
  "%s fits the model, every tensor once",
  (file) => {
    const path = new URL(`../fixtures/weights/checkpoints/${file}`, import.meta.url).pathname;
    const { config, weights } = openCheckpoint(path);
    const { table } = trace({ ...config });
    const wanted = new Map([...table.specs].map(([name, { shape }]) => [name, shape]));
    expect([...loadStrict(weights, wanted).infos.keys()]).toEqual([...wanted.keys()]);
    weights.close();
  },
);

describe("configurations that are refused", () => {
  test.each([
    [{ model_type: "whisper" }, /config\.json: "model_type" is "whisper"; this version reads wav2vec2, /],
    [{}, /"model_type" is missing/],
    [{ model_type: "constructor" }, /this version reads/],
    [{ model_type: "hubert", conv_pos_batch_norm: true }, /"conv_pos_batch_norm" is not usable: batch norm/],
    [{ model_type: "hubert", hidden_size: 50 }, /hidden_size 50 is not a multiple of num_attention_heads 12/],
    [{ model_type: "wavlm", num_buckets: 320, max_bucket_distance: 80 }, /"max_bucket_distance".*a quarter/],
    [{ model_type: "wavlm", num_buckets: 2 }, /"num_buckets" is not usable/],
    [{ model_type: "data2vec-audio", feat_extract_norm: "group" }, /"feat_extract_norm" is not usable/],
    [{ model_type: "data2vec-audio", conv_dim: [] }, /equally many entries, at least one, not 0, 7 and 7/],
    [{ model_type: "wav2vec2", hidden_act: "toString" }, /hidden_act "toString" is not one of gelu/],
    [{ model_type: "pase", mask_feature_prob: 0.1 }, /"mask_feature_prob" is not usable: channels of this/],
    [{ model_type: "pase", cnn_kernel_size: 4 }, /"cnn_kernel_size" is not usable: it must be odd/],
    [{ model_type: "pase", frequency_pooling: 8 }, /"frequency_pooling" is not usable: no band is left/],
    [{ model_type: "pase", normalize: "global" }, /`global` wants feature_mean and feature_std/],
    [{ model_type: "vq-wav2vec", vq_type: "kmeans" }, /"vq_type" is not usable: it must be gumbel or none/],
    [{ model_type: "vq-wav2vec", vq_groups: 3 }, /"vq_groups" is not usable: the width of the code/],
    [{ model_type: "pase-plus", kwidths: [5, 5] }, /equally many entries/],
    [{ model_type: "pase-plus", layerdrop: 0.1 }, /"layerdrop" is not usable: this model has no layers/],
    [{ model_type: "log-mel", deltas: 3 }, /"deltas" is not usable/],
  ])("%j", (config, sentence) => {
    expect(() => upstreamOf(config, "config.json")).toThrow(sentence);
  });
});
