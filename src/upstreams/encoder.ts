import { houlsbyAdapter, serialAdapter } from "../nn/adapters.ts";
import {
  ACTIVATIONS,
  dropout,
  layerNorm,
  linear,
  maybeSkipped,
  selfAttention,
  type Training,
  validFrames,
} from "../nn/layers.ts";
import * as ops from "../ops/index.ts";
import { constantInit, type Init, normalInit, type Params } from "../params/params.ts";
import { region, type Tensor } from "../tensor/tensor.ts";
import type { EncoderConfig, PositionConfig } from "./config.ts";
import type { UpstreamInput, UpstreamOutput } from "./upstream.ts";

/** A score that hides a key: what transformers adds, the lowest finite float. */
const HIDDEN = -3.4028234663852886e38;

/** What differs between the families' transformers. */
export interface EncoderParts {
  /** What is added to the frames [batch, frames, dim] so that they know their places. */
  positions(x: Tensor, p: Params): Tensor;
  /** A layer's own term of the attention scores, [batch, heads, frames, frames]; `x` is what the attention is given. */
  scores?(x: Tensor, p: Params): Tensor;
}

/**
 * The transformer (Vaswani et al. 2017) over frames [batch, frames, hidden_size]; layer norm behind each half of a layer,
 * or before it ("stable"). Frames of padding are zeroed before it and hidden from attention where `input.frames` tells them.
 */
export function encoder(
  x: Tensor,
  p: Params,
  config: EncoderConfig,
  input: UpstreamInput,
  parts: EncoderParts,
): UpstreamOutput {
  const { training } = input;
  const [batch, frames] = x.shape;
  const valid = input.frames && validFrames(input.frames, frames);
  const speech = valid === undefined ? x : ops.where(ops.reshape(valid, [batch, frames, 1]), x, 0);
  const hide = valid && ops.where(ops.reshape(valid, [batch, 1, 1, frames]), ops.scalar(0), HIDDEN);
  const placed = region("encoder.pos_conv_embed", () =>
    ops.add(speech, parts.positions(speech, p.at("pos_conv_embed"))),
  );
  const stable = config.do_stable_layer_norm;
  const norm = (h: Tensor) => layerNorm(h, p.at("layer_norm"), config.layer_norm_eps);
  let h = dropout(stable ? placed : norm(placed), config.hidden_dropout, training);
  const hidden = [h];
  // A dropped layer runs on fewer utterances: those at the front, whose masks are the front of the batch's.
  const inLayers = training && { ...training, batch };
  const hideIn = (states: Tensor) => hide && ops.slice(hide, 0, 0, states.shape[0]);
  for (let i = 0; i < config.num_hidden_layers; i++) {
    const layer = (states: Tensor) =>
      region(`encoder.layers.${i}`, () =>
        encoderLayer(states, p.at(`layers.${i}`), config, hideIn(states), parts, inLayers),
      );
    h =
      training !== undefined && config.layerdrop > 0 && input.declare !== undefined
        ? maybeSkipped(h, `keep.layers.${i}`, layer, input.declare)
        : layer(h);
    hidden.push(h);
  }
  return { last: stable ? norm(h) : h, hidden };
}

function encoderLayer(
  x: Tensor,
  p: Params,
  config: EncoderConfig,
  hide: Tensor | undefined,
  parts: EncoderParts,
  training?: Training,
): Tensor {
  const { attention_dropout, hidden_dropout, num_attention_heads: heads, layer_norm_eps: eps } = config;
  const init = normalInit(config.initializer_range);
  const { houlsby_adapter_dim: houlsby } = config;
  const attend = (h: Tensor) => {
    const own = parts.scores?.(h, p.at("attention"));
    const bias = own && hide ? ops.add(own, hide) : (own ?? hide);
    const options = { heads, width: config.head_width, dropout: attention_dropout, bias, init };
    const heard = dropout(selfAttention(h, p.at("attention"), options, training), hidden_dropout, training);
    return houlsby === null ? heard : houlsbyAdapter(heard, p.at("attention_adapter"), houlsby);
  };
  const feed = (h: Tensor) => {
    const fed = feedForward(h, p.at("feed_forward"), config, init, training);
    return houlsby === null ? fed : houlsbyAdapter(fed, p.at("feed_forward_adapter"), houlsby);
  };
  const behind = (h: Tensor) =>
    config.adapter_attn_dim === null ? h : serialAdapter(h, p.at("adapter_layer"), config.adapter_attn_dim);
  const first = (h: Tensor) => layerNorm(h, p.at("layer_norm"), eps);
  const second = (h: Tensor) => layerNorm(h, p.at("final_layer_norm"), eps);
  if (config.do_stable_layer_norm) {
    const h = ops.add(x, attend(first(x)));
    return behind(ops.add(h, feed(second(h))));
  }
  const h = first(ops.add(x, attend(x)));
  return behind(second(ops.add(h, feed(h))));
}

function feedForward(x: Tensor, p: Params, config: EncoderConfig, init: Init, training?: Training): Tensor {
  const inner = ACTIVATIONS[config.hidden_act](
    linear(x, p.at("intermediate_dense"), config.intermediate_size, init),
  );
  const dropped = dropout(inner, config.activation_dropout, training);
  return dropout(
    linear(dropped, p.at("output_dense"), config.hidden_size, init),
    config.hidden_dropout,
    training,
  );
}

/** Relative positions by a wide grouped convolution whose weight is a direction and a length (Salimans and Kingma 2016). */
export function convolutionalPositions(x: Tensor, p: Params, config: PositionConfig): Tensor {
  const { hidden_size: dim, num_conv_pos_embeddings: kernel, num_conv_pos_embedding_groups: groups } = config;
  const q = p.at("conv");
  const parts = q.at("parametrizations.weight");
  const direction = parts.get(
    "original1",
    [dim, dim / groups, kernel],
    normalInit(2 * Math.sqrt(1 / (kernel * dim))),
  );
  const size = parts.get("original0", [1, 1, kernel], { kind: "norm", of: "original1", axis: 2 });
  const norm = ops.sqrt(ops.reduceSum(ops.mul(direction, direction), [0, 1], true));
  const weight = ops.mul(direction, ops.div(size, norm));
  const y = sameConv(ops.transpose(x, [0, 2, 1]), weight, q.get("bias", [dim], constantInit(0)), groups);
  return ops.transpose(ACTIVATIONS[config.feat_extract_activation](y), [0, 2, 1]);
}

/** A grouped convolution of [batch, channels, frames] that leaves as many frames: an even kernel would leave one too many. */
export function sameConv(x: Tensor, weight: Tensor, bias: Tensor, groups: number): Tensor {
  const kernel = weight.shape[2] as number;
  const pad = Math.floor(kernel / 2);
  return ops.conv1d(x, weight, { before: pad, after: kernel % 2 === 0 ? pad - 1 : pad, groups, bias });
}
