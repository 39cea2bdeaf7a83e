import * as ops from "../ops/index.ts";
import { normalInit, type Params, uniformInit } from "../params/params.ts";
import type { Dim } from "../tensor/dims.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { dropout, layerNorm, linear, type Training, validFrames } from "./layers.ts";

/** A pre-norm transformer from frames to symbols: fairseq's s2t_transformer (Wang et al. 2020). */
export interface TranslatorConfig {
  readonly dim: number;
  readonly inner: number;
  readonly heads: number;
  readonly encoderLayers: number;
  readonly decoderLayers: number;
  readonly dropout: number;
  /** Channels between the two convolutions that halve the frames twice. */
  readonly convChannels: number;
  readonly convKernel: number;
  readonly symbols: number;
}

const EPSILON = 1e-5;
/** Hides what may not be attended to; finite, so that a row without anything to attend to stays a number. */
const HIDDEN = -1e9;

/** Frames that one of the two convolutions leaves. */
function halved(frames: Dim, kernel: number): Dim {
  const pad = Math.floor(kernel / 2);
  return ops.convFrames(frames, kernel, { stride: 2, before: pad, after: pad, dilation: 1, groups: 1 });
}

/** States that the encoder makes of so many frames. */
export const encodedFrames = (frames: Dim, kernel: number): Dim => halved(halved(frames, kernel), kernel);

/** Sines and cosines of places [count, dim] from `first` on, as fairseq has them: sines in front, cosines behind. */
export function sinusoids(count: number, dim: number, first = 0): Float32Array {
  const half = dim / 2;
  const out = new Float32Array(count * dim);
  for (let t = 0; t < count; t++)
    for (let i = 0; i < half; i++) {
      const angle = (t + first) * Math.exp((-i * Math.log(10_000)) / (half - 1));
      out[t * dim + i] = Math.sin(angle);
      out[t * dim + half + i] = Math.cos(angle);
    }
  return out;
}

/**
 * Frames [batch, frames, in] to states [batch, about frames / 4, dim].
 * @param counts i32 [batch], states of each utterance
 * @param positions [states, dim], `sinusoids`
 */
export function encode(
  x: Tensor,
  counts: Tensor,
  positions: Tensor,
  config: TranslatorConfig,
  p: Params,
  training?: Training,
): Tensor {
  const { dim, convChannels, convKernel: kernel } = config;
  let h = ops.transpose(x, [0, 2, 1]);
  for (const [i, width] of [convChannels, 2 * dim].entries()) {
    const q = p.at(`subsample.conv_layers.${i}`);
    const inner = h.shape[1] as number;
    const init = uniformInit(1 / Math.sqrt(inner * kernel));
    const pad = Math.floor(kernel / 2);
    const bias = q.get("bias", [width], init);
    const y = ops.conv1d(h, q.get("weight", [width, inner, kernel], init), {
      stride: 2,
      before: pad,
      after: pad,
      bias,
    });
    // A gated linear unit halves the channels.
    h = ops.mul(ops.slice(y, 1, 0, width / 2), ops.sigmoid(ops.slice(y, 1, width / 2, width)));
  }
  const states = ops.mul(ops.transpose(h, [0, 2, 1]), Math.sqrt(dim));
  let out = dropout(ops.add(states, positions), config.dropout, training);
  const hide = hidden(counts, out.shape[1]);
  for (let i = 0; i < config.encoderLayers; i++) {
    const q = p.at(`transformer_layers.${i}`);
    out = residual(out, q.at("self_attn_layer_norm"), config, training, (normed) =>
      attend(normed, normed, hide, config, q.at("self_attn"), training),
    );
    out = residual(out, q.at("final_layer_norm"), config, training, (normed) => feed(normed, config, q));
  }
  return layerNorm(out, p.at("layer_norm"), EPSILON);
}

/** Which states are padding, as a term of attention's scores [batch, 1, 1, states]. */
export function hidden(counts: Tensor, states: Dim): Tensor {
  const [batch] = counts.shape;
  return ops.where(ops.reshape(validFrames(counts, states), [batch, 1, 1, states]), ops.scalar(0), HIDDEN);
}

/** Keys and values of the symbols before, [batch, heads, symbols, dim / heads] for each layer. */
export interface Past {
  readonly keys: readonly Tensor[];
  readonly values: readonly Tensor[];
}

export interface Decoded {
  /** [batch, symbols, vocabulary] */
  readonly logits: Tensor;
  /** Past and present, for the next step. */
  readonly present: Past;
}

/**
 * Logits of the symbols that follow `previous` i32 [batch, symbols]. With `past` only the newest symbols are given; without
 * it each place sees those before it.
 * @param encoded [batch or 1, states, dim]
 * @param positions [symbols, dim], `sinusoids` of their places
 */
export function decode(
  previous: Tensor,
  encoded: Tensor,
  hide: Tensor | undefined,
  positions: Tensor,
  config: TranslatorConfig,
  p: Params,
  { training, past }: { training?: Training; past?: Past } = {},
): Decoded {
  const { dim, symbols } = config;
  const [, length] = previous.shape;
  const embedding = p.at("embed_tokens").get("weight", [symbols, dim], normalInit(dim ** -0.5));
  const chosen = ops.cast(
    ops.equal(ops.reshape(previous, [...previous.shape, 1]), ops.range(symbols)),
    "f32",
  );
  const embedded = ops.mul(ops.affine(chosen, ops.transpose(embedding, [1, 0])), Math.sqrt(dim));
  let h = dropout(ops.add(embedded, positions), config.dropout, training);
  const causal = past === undefined ? after(length) : undefined;
  const keys: Tensor[] = [];
  const values: Tensor[] = [];
  for (let i = 0; i < config.decoderLayers; i++) {
    const q = p.at(`layers.${i}`);
    h = residual(h, q.at("self_attn_layer_norm"), config, training, (normed) => {
      const own = q.at("self_attn");
      const [k, v] = keysAndValues(normed, config, own);
      keys.push(past === undefined ? k : ops.concat([past.keys[i], k], 2));
      values.push(past === undefined ? v : ops.concat([past.values[i], v], 2));
      return mix(normed, keys[i], values[i], causal, config, own, training);
    });
    h = residual(h, q.at("encoder_attn_layer_norm"), config, training, (normed) =>
      attend(normed, encoded, hide, config, q.at("encoder_attn"), training),
    );
    h = residual(h, q.at("final_layer_norm"), config, training, (normed) => feed(normed, config, q));
  }
  const out = layerNorm(h, p.at("layer_norm"), EPSILON);
  const weight = p.at("output_projection").get("weight", [symbols, dim], normalInit(dim ** -0.5));
  return { logits: ops.affine(out, weight), present: { keys, values } };
}

/** What comes after a place, as a term of attention's scores [1, 1, length, length]. */
function after(length: Dim): Tensor {
  const place = ops.range(length);
  const later = ops.less(ops.reshape(place, [length, 1]), ops.reshape(place, [1, length]));
  return ops.reshape(ops.where(later, ops.scalar(HIDDEN), 0), [1, 1, length, length]);
}

function residual(
  x: Tensor,
  norm: Params,
  config: TranslatorConfig,
  training: Training | undefined,
  layer: (normed: Tensor) => Tensor,
): Tensor {
  return ops.add(x, dropout(layer(layerNorm(x, norm, EPSILON)), config.dropout, training));
}

function feed(x: Tensor, { inner, dim }: TranslatorConfig, p: Params): Tensor {
  const wide = ops.relu(linear(x, p.at("fc1"), inner, xavier(dim, inner)));
  return linear(wide, p.at("fc2"), dim, xavier(inner, dim));
}

const xavier = (from: number, to: number) => uniformInit(Math.sqrt(6 / (from + to)));
/** fairseq scales queries, keys and values down where all three have one width. */
const projections = (dim: number) => uniformInit(Math.sqrt(6 / (2 * dim)) / Math.SQRT2);

function split(x: Tensor, { heads, dim }: TranslatorConfig): Tensor {
  const [batch, length] = x.shape;
  return ops.transpose(ops.reshape(x, [batch, length, heads, dim / heads]), [0, 2, 1, 3]);
}

function keysAndValues(x: Tensor, config: TranslatorConfig, p: Params): [Tensor, Tensor] {
  const init = projections(config.dim);
  return [
    split(linear(x, p.at("k_proj"), config.dim, init), config),
    split(linear(x, p.at("v_proj"), config.dim, init), config),
  ];
}

function attend(
  x: Tensor,
  over: Tensor,
  hide: Tensor | undefined,
  config: TranslatorConfig,
  p: Params,
  training?: Training,
): Tensor {
  const [k, v] = keysAndValues(over, config, p);
  return mix(x, k, v, hide, config, p, training);
}

function mix(
  x: Tensor,
  keys: Tensor,
  values: Tensor,
  hide: Tensor | undefined,
  config: TranslatorConfig,
  p: Params,
  training?: Training,
): Tensor {
  const { dim, heads } = config;
  const [batch, length] = x.shape;
  const q = split(linear(x, p.at("q_proj"), dim, projections(dim)), config);
  const raw = ops.matMul(q, keys, { transB: true, alpha: 1 / Math.sqrt(dim / heads) });
  const weights = ops.softmax(hide === undefined ? raw : ops.add(raw, hide));
  const heard = ops.transpose(ops.matMul(dropout(weights, config.dropout, training), values), [0, 2, 1, 3]);
  return linear(ops.reshape(heard, [batch, length, dim]), p.at("out_proj"), dim, xavier(dim, dim));
}

/**
 * Cross-entropy with label smoothing (Szegedy et al. 2016) in fairseq's form: (1 - s - s / (V - 1)) -ln p(right) +
 * s / (V - 1) sum -ln p, summed over the symbols that count.
 * @param logits [batch, symbols, vocabulary]
 * @param labels i32 [batch, symbols]
 * @param counts i32 [batch]
 * @returns [batch]
 */
export function smoothedCrossEntropy(
  logits: Tensor,
  labels: Tensor,
  counts: Tensor,
  smoothing: number,
): Tensor {
  const [batch, length, vocabulary] = logits.shape as [Dim, Dim, number];
  const logs = ops.logSoftmax(logits);
  const right = ops.cast(ops.equal(ops.reshape(labels, [batch, length, 1]), ops.range(vocabulary)), "f32");
  const share = smoothing / (vocabulary - 1);
  const target = ops.add(ops.mul(right, 1 - smoothing - share), share);
  const each = ops.neg(ops.reduceSum(ops.mul(logs, target), [2]));
  return ops.reduceSum(ops.where(validFrames(counts, length), each, 0), [1]);
}
