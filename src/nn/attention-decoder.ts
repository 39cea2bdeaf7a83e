import * as ops from "../ops/index.ts";
import { normalInit, type Params, uniformInit } from "../params/params.ts";
import type { Dim } from "../tensor/dims.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { dropout, linear, type Training, validFrames } from "./layers.ts";

/**
 * A decoder of one GRU layer (Cho et al. 2014) that writes a symbol at a time and looks at the encoder's states by
 * location-aware attention (Chorowski et al. 2015, eq. 8), as SpeechBrain has it: attention is asked by the GRU's new state,
 * its context enters the GRU at the next symbol, and the attention before it is held fixed while differentiating.
 */
export interface AttentionDecoderConfig {
  readonly symbols: number;
  /** Width of a symbol's embedding. */
  readonly embedding: number;
  /** Units of the GRU. */
  readonly hidden: number;
  /** Width in which states and location are compared, and of the context. */
  readonly attention: number;
  /** Filters over the attention before. */
  readonly channels: number;
  /** Frames that a filter sees on either side. */
  readonly reach: number;
  /** Of the GRU's input. */
  readonly dropout: number;
}

/** What the decoder reads of an utterance, computed once. */
export interface Memory {
  /** [batch, frames, attention] */
  readonly keys: Tensor;
  readonly values: Tensor;
  /** bool [batch, frames] */
  readonly valid: Tensor;
}

/** What goes from symbol to symbol. */
export interface DecoderState {
  /** [batch, hidden] */
  readonly hidden: Tensor;
  /** [batch, attention] */
  readonly context: Tensor;
  /** Where it looked [batch, frames]; sums to 1. */
  readonly attention: Tensor;
}

/** Hides what may not be attended to; finite, so that an utterance without frames stays a number. */
const HIDDEN = -1e9;

/** @param encoded [batch, frames, dim]; frames i32 [batch], those that count */
export function remember(encoded: Tensor, frames: Tensor, config: AttentionDecoderConfig, p: Params): Memory {
  const attn = p.at("dec.attn");
  return {
    keys: linear(encoded, attn.at("mlp_enc"), config.attention),
    // A projected mean is the mean of the projected: weights sum to 1.
    values: linear(encoded, attn.at("mlp_out"), config.attention),
    valid: validFrames(frames, encoded.shape[1]),
  };
}

/** The state before the first symbol, with attention spread evenly over the frames that count. */
export function firstState({ valid }: Memory, config: AttentionDecoderConfig): DecoderState {
  const [batch] = valid.shape;
  const zero = (width: Dim) => ops.expand(ops.constant([1, 1], [0]), [batch, width]);
  const counted = ops.cast(valid, "f32");
  const attention = ops.div(counted, ops.maximum(ops.reduceSum(counted, [1], true), 1));
  return { hidden: zero(config.hidden), context: zero(config.attention), attention };
}

/**
 * Logits of the symbols that follow `previous` i32 [batch, symbols], each place having seen those before it.
 * @returns logits [batch, symbols, vocabulary] and the state after each symbol, along a first axis
 */
export function write(
  previous: Tensor,
  memory: Memory,
  from: DecoderState,
  config: AttentionDecoderConfig,
  p: Params,
  training?: Training,
): { logits: Tensor; states: DecoderState } {
  const { hidden, attention, embedding, symbols, dropout: rate } = config;
  const [batch, length] = previous.shape;
  const table = p.at("emb").get("weight", [symbols, embedding], normalInit(1));
  const chosen = ops.cast(ops.equal(ops.reshape(previous, [batch, length, 1]), ops.range(symbols)), "f32");
  const embedded = ops.transpose(ops.affine(chosen, ops.transpose(table, [1, 0])), [1, 0, 2]);

  const rnn = p.at("dec.rnn");
  const init = uniformInit(1 / Math.sqrt(hidden));
  const weight = rnn.get("weight_ih", [3 * hidden, embedding + attention], init);
  const projected = ops.affine(
    dropout(embedded, rate, training),
    ops.slice(weight, 1, 0, embedding),
    rnn.get("bias_ih", [3 * hidden], init),
  );
  const ones = () => ops.expand(ops.constant([1, 1, 1], [1]), [length, batch, attention]);
  const kept = training === undefined || rate === 0 ? [] : [dropout(ones(), rate, training)];
  const [states, contexts, attentions] = ops.recurrence(
    {
      initial: [from.hidden, from.context, from.attention],
      scanned: [projected, ...kept],
      fixed: [
        ops.slice(weight, 1, embedding, embedding + attention),
        rnn.get("weight_hh", [3 * hidden, hidden], init),
        rnn.get("bias_hh", [3 * hidden], init),
        ...lookWeights(config, p),
        ...[memory.keys, memory.values, memory.valid],
      ],
    },
    ([h, context, attention], [input, keep], [forContext, forState, bias, ...look]) => {
      const heard = keep === undefined ? context : ops.mul(context, keep);
      const next = gru(
        ops.add(input, ops.affine(heard, forContext)),
        ops.affine(h, forState, bias),
        h,
        hidden,
      );
      return [next, ...lookAround(next, attention, look)];
    },
  );
  const joined = ops.transpose(ops.concat([contexts, states], 2), [1, 0, 2]);
  const logits = linear(linear(joined, p.at("dec.proj"), hidden), p.at("seq_lin"), symbols);
  return { logits, states: { hidden: states, context: contexts, attention: attentions } };
}

/** h = (1 - z) n + z h', with r and z from the sums of both inputs and n = tanh(input + r state) (PyTorch's order r, z, n). */
function gru(input: Tensor, state: Tensor, before: Tensor, hidden: number): Tensor {
  const part = (x: Tensor, i: number) => ops.slice(x, 1, i * hidden, (i + 1) * hidden);
  const [r, z] = [0, 1].map((i) => ops.sigmoid(ops.add(part(input, i), part(state, i))));
  const n = ops.tanh(ops.add(part(input, 2), ops.mul(r, part(state, 2))));
  return ops.add(n, ops.mul(z, ops.sub(before, n)));
}

/** Weights of the attention in the order in which `lookAround` takes them, before keys, values and valid frames. */
function lookWeights({ hidden, attention, channels, reach }: AttentionDecoderConfig, p: Params): Tensor[] {
  const attn = p.at("dec.attn");
  const window = 2 * reach + 1;
  const get = (name: string, shape: readonly number[], inner: number, kind = "weight") =>
    attn.at(name).get(kind, shape, uniformInit(1 / Math.sqrt(inner)));
  return [
    get("mlp_dec", [attention, hidden], hidden),
    ops.add(get("mlp_dec", [attention], hidden, "bias"), get("mlp_loc", [attention], channels, "bias")),
    get("conv_loc", [channels, 1, window], window),
    get("mlp_loc", [attention, channels], channels),
    get("mlp_attn", [1, attention], attention),
  ];
}

/** The context and where it is: softmax of w tanh(W s + V h + U (F * attention before) + b). */
function lookAround(
  state: Tensor,
  before: Tensor,
  [ask, bias, filters, place, judge, keys, values, valid]: readonly Tensor[],
): [context: Tensor, attention: Tensor] {
  const [batch, frames] = before.shape;
  const reach = ((filters.shape[2] as number) - 1) / 2;
  const seen = ops.conv1d(ops.reshape(ops.stopGradient(before), [batch, 1, frames]), filters, {
    before: reach,
    after: reach,
  });
  const width = keys.shape[2];
  const question = ops.reshape(ops.affine(state, ask, bias), [batch, 1, width]);
  const where = ops.affine(ops.transpose(seen, [0, 2, 1]), place);
  const energy = ops.affine(ops.tanh(ops.add(ops.add(keys, question), where)), judge);
  const attention = ops.softmax(ops.where(valid, ops.reshape(energy, [batch, frames]), HIDDEN));
  const context = ops.matMul(ops.reshape(attention, [batch, 1, frames]), values);
  return [ops.reshape(context, [batch, width]), attention];
}
