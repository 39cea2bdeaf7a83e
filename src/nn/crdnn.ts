import * as ops from "../ops/index.ts";
import { normalInit, type Params, uniformInit } from "../params/params.ts";
import { type Dim, floorDiv, mulDim, product } from "../tensor/dims.ts";
import { region, type Tensor } from "../tensor/tensor.ts";
import { dropout, layerNorm, linear, type Training } from "./layers.ts";
import { lstmLayers } from "./recurrent.ts";

/**
 * SpeechBrain's CRDNN: blocks of two-dimensional convolutions, bidirectional LSTMs, and dense layers. Two things are other
 * here, so that an utterance becomes the same alone and in a padded batch: convolutions see zeros past the edges (there
 * reflections), and dense layers have layer norm (there batch norm).
 */
export interface CrdnnConfig extends ConvolutionBlocks {
  /** Neighbouring frames of which the largest goes on to the LSTMs; those left over at the end are dropped. */
  readonly timePooling: number;
  readonly rnnLayers: number;
  /** Units of each direction. */
  readonly rnnNeurons: number;
  /** Widths of the dense layers, the last one the encoder's own. */
  readonly dnnNeurons: readonly number[];
}

export interface ConvolutionBlocks {
  /** Of each block, which has two convolutions. */
  readonly channels: readonly number[];
  /** Frames and bands that a convolution sees; odd. */
  readonly kernel: number;
  /** Neighbouring bands of which the largest goes on, after each block; those left over at the top are dropped. */
  readonly frequencyPooling: number;
  /** After each block, between the LSTMs and after each dense layer. */
  readonly dropout: number;
}

/** Frames that pooling leaves. */
export const pooledFrames = (frames: Dim, by: number): Dim => floorDiv(frames, by);

/**
 * Features with mean 0 and variance 1 over all frames and features of the utterance that count (Zaiem et al.'s released code:
 * over those of the batch); padding is zero.
 * @param x [batch, frames, dim]
 * @param valid bool [batch, frames]
 */
export function standardised(x: Tensor, valid: Tensor | undefined): Tensor {
  const [batch, frames, dim] = x.shape as [Dim, Dim, number];
  const ones = valid ? ops.cast(valid, "f32") : ops.expand(ops.constant([1, 1], [1]), [batch, frames]);
  const mask = ops.reshape(ones, [batch, frames, 1]);
  const count = ops.mul(ops.reduceSum(mask, [1], true), dim);
  const mean = ops.div(ops.reduceSum(ops.mul(x, mask), [1, 2], true), count);
  const centred = ops.mul(ops.sub(x, mean), mask);
  const variance = ops.div(ops.reduceSum(ops.mul(centred, centred), [1, 2], true), count);
  return ops.div(centred, ops.sqrt(ops.add(variance, 1e-5)));
}

/**
 * Features [batch, frames, bands] to states [batch, frames / timePooling, width of the last dense layer].
 * @param valid bool [batch, frames]; undefined where every frame counts
 */
export function crdnn(
  x: Tensor,
  valid: Tensor | undefined,
  config: CrdnnConfig,
  p: Params,
  training?: Training,
): Tensor {
  const { timePooling, rnnLayers, rnnNeurons, dnnNeurons } = config;
  const blocks = convolutionBlocks(standardised(x, valid), valid, config, p, training);
  const heard = largest(blocks, 1, timePooling);
  const kept = valid && pooledValid(valid, timePooling);
  const lstm = { hidden: rnnNeurons, layers: rnnLayers, bidirectional: true, dropout: config.dropout };
  const states = lstmLayers(heard, kept, lstm, p.at("rnn"), training);
  return denseLayers(states[rnnLayers - 1], dnnNeurons, config.dropout, p.at("dnn"), training);
}

/** Which pooled frames are speech: those all of whose frames are. bool [batch, frames] -> [batch, frames / by] */
export function pooledValid(valid: Tensor, by: number): Tensor {
  if (by === 1) return valid;
  const whole = mulDim(floorDiv(valid.shape[1], by), by);
  return ops.slice(valid, 1, by - 1, whole, by);
}

/**
 * Blocks of convolution, layer norm over channels and bands, rectifier, twice, and the largest of neighbouring bands:
 * [batch, frames, bands] -> [batch, frames, channels x bands that are left].
 */
export function convolutionBlocks(
  x: Tensor,
  valid: Tensor | undefined,
  { channels, kernel, frequencyPooling, dropout: rate }: ConvolutionBlocks,
  p: Params,
  training: Training | undefined,
): Tensor {
  const [batch, frames, bands] = x.shape;
  const mask = valid && ops.reshape(valid, [batch, frames, 1, 1]);
  // [batch, frames, channels, bands] between blocks: what layer norm and the LSTM want.
  let h = ops.reshape(x, [batch, frames, 1, bands]);
  for (const [block, width] of channels.entries()) {
    for (const half of [1, 2])
      h = region(`cnn.${block}.${half}`, () => {
        const q = p.at(`cnn.${block}`);
        const inside = mask ? ops.where(mask, h, 0) : h;
        return leakyRelu(
          joinedNorm(convolve(inside, width, kernel, q.at(`conv_${half}`)), q.at(`norm_${half}`)),
        );
      });
    h = dropout(largest(h, 3, frequencyPooling), rate, training);
  }
  return ops.reshape(h, [batch, frames, product(h.shape.slice(2))]);
}

/** Linear layer, layer norm, rectifier and dropout for each width. */
export function denseLayers(
  x: Tensor,
  widths: readonly number[],
  rate: number,
  p: Params,
  training: Training | undefined,
): Tensor {
  let h = x;
  for (const [i, width] of widths.entries()) {
    const q = p.at(`${i}`);
    h = dropout(leakyRelu(layerNorm(linear(h, q.at("linear"), width), q.at("norm"), 1e-5)), rate, training);
  }
  return h;
}

/** As a product, its way back is one product more; as a maximum it would be five operations. */
const leakyRelu = (x: Tensor): Tensor => ops.mul(x, ops.where(ops.less(0, x), ops.scalar(1), 0.01));

function convolve(h: Tensor, channels: number, kernel: number, p: Params): Tensor {
  const inside = h.shape[2] as number;
  const fan = inside * kernel ** 2;
  const weight = p.get("weight", [channels, inside, kernel, kernel], normalInit(Math.sqrt(2 / fan)));
  const bias = p.get("bias", [channels], uniformInit(1 / Math.sqrt(fan)));
  const picture = ops.conv2d(ops.transpose(h, [0, 2, 1, 3]), weight, { same: true, bias });
  return ops.transpose(picture, [0, 2, 1, 3]);
}

function joinedNorm(h: Tensor, p: Params): Tensor {
  const [batch, frames, ...rest] = h.shape;
  return ops.reshape(layerNorm(ops.reshape(h, [batch, frames, product(rest)]), p, 1e-5), h.shape);
}

/** The largest of each `by` neighbours along an axis; what is left over at its end is dropped. */
function largest(h: Tensor, axis: number, by: number): Tensor {
  if (by === 1) return h;
  const whole = mulDim(floorDiv(h.shape[axis], by), by);
  const last = axis === h.shape.length - 1;
  const each = Array.from({ length: by }, (_, i) =>
    last ? everyNth(h, i, by, whole as number) : ops.slice(h, axis, i, whole, by),
  );
  return each.reduce((a, b) => ops.maximum(a, b));
}

/**
 * Every `by`-th number of the last axis, from `first` up to `end`: a product with ones and zeros, the same numbers. Slices
 * of single numbers, and the way back from them, are copied number by number and take ten times as long.
 */
function everyNth(h: Tensor, first: number, by: number, end: number): Tensor {
  const [inside, outside] = [h.shape[h.shape.length - 1] as number, end / by];
  const chosen = new Float32Array(inside * outside);
  for (let i = 0; i < outside; i++) chosen[(first + i * by) * outside + i] = 1;
  return ops.matMul(h, ops.constant([inside, outside], chosen));
}
