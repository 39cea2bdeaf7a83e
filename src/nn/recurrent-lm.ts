import * as ops from "../ops/index.ts";
import { normalInit, type Params } from "../params/params.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { denseLayers } from "./crdnn.ts";
import { dropout, linear, type Training } from "./layers.ts";
import { type LstmState, lstmLayers, lstmStep } from "./recurrent.ts";

/** A recurrent language model (Mikolov et al. 2010) as SpeechBrain's RNNLM: embedding, LSTMs, dense layers, symbols. */
export interface RecurrentLmConfig {
  readonly symbols: number;
  readonly embedding: number;
  readonly rnnLayers: number;
  readonly rnnNeurons: number;
  readonly dnnNeurons: readonly number[];
  /** After the embedding, between the LSTMs and after each dense layer. */
  readonly dropout: number;
}

/** Logits [batch, length, symbols] of what follows each of `previous` i32 [batch, length]. */
export function recurrentLm(
  previous: Tensor,
  config: RecurrentLmConfig,
  p: Params,
  training?: Training,
): Tensor {
  const { rnnLayers: layers, rnnNeurons: hidden, dropout: rate } = config;
  const lstm = { hidden, layers, bidirectional: false, dropout: rate };
  const embedded = dropout(embed(previous, config, p), rate, training);
  const heard = lstmLayers(embedded, undefined, lstm, p.at("rnn"), training);
  return outputs(heard[layers - 1], config, p, training);
}

/** The same one symbol further, for `newest` i32 [batch]: logits [batch, symbols] and the states of all layers after it. */
export function recurrentLmStep(
  newest: Tensor,
  states: readonly LstmState[],
  config: RecurrentLmConfig,
  p: Params,
): { logits: Tensor; states: readonly LstmState[] } {
  const [batch] = newest.shape;
  const embedded = embed(ops.reshape(newest, [batch, 1]), config, p);
  let h = ops.reshape(embedded, [batch, config.embedding]);
  const after = states.map((state, layer) => {
    const next = lstmStep(h, state, p.at("rnn"), layer);
    h = next.hidden;
    return next;
  });
  return { logits: outputs(h, config, p), states: after };
}

function embed(previous: Tensor, { symbols, embedding }: RecurrentLmConfig, p: Params): Tensor {
  const table = p.at("embedding").get("weight", [symbols, embedding], normalInit(1));
  const one = ops.equal(ops.reshape(previous, [...previous.shape, 1]), ops.range(symbols));
  return ops.affine(ops.cast(one, "f32"), ops.transpose(table, [1, 0]));
}

function outputs(
  h: Tensor,
  { dnnNeurons, dropout: rate, symbols }: RecurrentLmConfig,
  p: Params,
  training?: Training,
): Tensor {
  return linear(denseLayers(h, dnnNeurons, rate, p.at("dnn"), training), p.at("output"), symbols);
}
