import { linear, trainingMode } from "../../src/nn/layers.ts";
import { ctc } from "../../src/nn/losses.ts";
import * as ops from "../../src/ops/index.ts";
import { normalInit, ParameterTable } from "../../src/params/params.ts";
import { symbol } from "../../src/tensor/dims.ts";
import type { Tensor } from "../../src/tensor/tensor.ts";
import { parseWav2Vec2Config, type Wav2Vec2Config, wav2vec2 } from "../../src/upstreams/index.ts";

/** wav2vec2-base with a CTC head over 32 characters, as the peer programs build it. */
export function baseConfig(dropout: "zero" | "default"): Wav2Vec2Config {
  const off = {
    hidden_dropout: 0,
    activation_dropout: 0,
    attention_dropout: 0,
    feat_proj_dropout: 0,
    final_dropout: 0,
    layerdrop: 0,
    apply_spec_augment: false,
    mask_time_prob: 0,
  };
  return parseWav2Vec2Config(
    { model_type: "wav2vec2", vocab_size: 32, ...(dropout === "zero" ? off : {}) },
    "bench",
  );
}

export interface BenchModel {
  readonly table: ParameterTable;
  readonly logits: Tensor;
  readonly loss: Tensor;
  /** Graph inputs besides the parameters. */
  readonly inputs: Tensor[];
}

/** Traces the model; with `training` its randomness is part of the graph. */
export function traceCtc(
  config: Wav2Vec2Config,
  training: boolean,
  table = new ParameterTable(),
): BenchModel {
  const upstream = wav2vec2(config);
  const batch = symbol("batch");
  const audio = ops.input("audio", [batch, symbol("samples")]);
  const labels = ops.input("labels", [batch, symbol("labels")], "i32");
  const targets = ops.input("targets", [batch], "i32");
  const frames = ops.input("frames", [batch], "i32");
  const inputs = [audio, labels, targets, frames];
  const random = training && config.hidden_dropout > 0;
  const seed = ops.input("seed", [], "i32");
  const hide = ops.input("hideFrames", [batch, upstream.frames(symbol("samples"))], "bool");
  if (random) inputs.push(seed, hide);
  const mode = random ? trainingMode(seed) : undefined;
  const { last } = upstream.forward(
    {
      audio,
      training: mode,
      hideFrames: random ? hide : undefined,
      declare: (tensor) => inputs.push(tensor),
    },
    table.at(upstream.prefix),
  );
  const dropped =
    mode === undefined ? last : ops.dropout(last, mode.seed, mode.nextSite(), config.final_dropout);
  const logits = linear(
    dropped,
    table.at("lm_head"),
    config.vocab_size,
    normalInit(config.initializer_range),
  );
  const loss = ctc(logits, labels, frames, targets, { blank: 0, zeroInfinity: false, reduction: "sum" });
  return { table, logits, loss, inputs };
}
