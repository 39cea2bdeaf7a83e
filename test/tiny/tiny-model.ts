import { linear, trainingMode } from "../../src/nn/layers.ts";
import { ctc } from "../../src/nn/losses.ts";
import * as ops from "../../src/ops/index.ts";
import { normalInit, ParameterTable } from "../../src/params/params.ts";
import { random } from "../../src/random.ts";
import { f32, i32, type Value } from "../../src/runtime/program.ts";
import { symbol } from "../../src/tensor/dims.ts";
import type { Traced } from "../../src/train/program.ts";
import { gradientName } from "../../src/train/program.ts";
import { ParameterStore } from "../../src/train/store.ts";
import { parseWav2Vec2Config, wav2vec2 } from "../../src/upstreams/index.ts";

/** A wav2vec 2.0 of a few thousand weights with all its parts, for tests that need a whole training step. */
const CONFIG = {
  model_type: "wav2vec2",
  hidden_size: 16,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  intermediate_size: 32,
  conv_dim: [8, 8],
  conv_stride: [5, 4],
  conv_kernel: [10, 4],
  num_conv_pos_embeddings: 8,
  num_conv_pos_embedding_groups: 4,
  feat_extract_norm: "layer",
  do_stable_layer_norm: true,
  layerdrop: 0,
};
const VOCABULARY = 6;

export interface TinyOptions {
  readonly dropout?: number;
  readonly layers?: number;
  readonly hidden?: number;
}

export function tinyModel({ dropout = 0, layers = 2, hidden = 16 }: TinyOptions = {}) {
  const rates = { hidden_dropout: dropout, activation_dropout: dropout, attention_dropout: dropout };
  const sizes = { num_hidden_layers: layers, hidden_size: hidden, intermediate_size: 2 * hidden };
  const upstream = wav2vec2(parseWav2Vec2Config({ ...CONFIG, ...rates, ...sizes }, "tiny"));
  const table = new ParameterTable();
  const batch = symbol("batch");
  const inputs = {
    audio: ops.input("audio", [batch, symbol("samples")]),
    frames: ops.input("frames", [batch], "i32"),
    labels: ops.input("labels", [batch, symbol("labels")], "i32"),
    targets: ops.input("targets", [batch], "i32"),
    seed: ops.input("seed", [], "i32"),
  };
  const { audio, frames, labels, targets, seed } = inputs;
  const training = dropout > 0 ? trainingMode(seed) : undefined;
  const { last } = upstream.forward({ audio, frames, training }, table.at(upstream.prefix));
  const logits = linear(last, table.at("lm_head"), VOCABULARY, normalInit(0.1));
  const loss = ctc(logits, labels, frames, targets, { blank: 0, zeroInfinity: false, reduction: "mean" });
  const used = dropout > 0 ? Object.values(inputs) : [audio, frames, labels, targets];
  const traced: Traced = { loss, outputs: {}, inputs: used };
  return { upstream, table, traced, logits };
}

export type TinyModel = ReturnType<typeof tinyModel>;

export function tinyStore(
  { table }: TinyModel,
  trained: (name: string) => boolean = () => true,
): ParameterStore {
  const store = new ParameterStore(table.specs, trained);
  store.initialise(1);
  return store;
}

/** Noise with labels: two utterances, the second a third shorter. */
export function tinyBatch({ upstream }: TinyModel, samples = 1200, seed = 1): Record<string, Value> {
  const rng = random(seed, "tiny", samples);
  const lengths = [samples, Math.floor((2 * samples) / 3)];
  return {
    audio: f32(
      [2, samples],
      Float32Array.from({ length: 2 * samples }, () => rng.normal()),
    ),
    frames: i32(
      [2],
      lengths.map((n) => upstream.frames(n) as number),
    ),
    labels: i32([2, 3], [1, 2, 2, 3, 5, 0]),
    targets: i32([2], [3, 2]),
    seed: i32([], [seed]),
  };
}

/** Where a training program writes its gradients. */
export const gradientsInto = (store: ParameterStore): Record<string, Value> =>
  Object.fromEntries(
    Object.entries(store.gradientValues).map(([name, value]) => [gradientName(name), value]),
  );
