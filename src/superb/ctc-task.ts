import { greedyDecode } from "../decode/ctc.ts";
import { type ErrorCounts, errorRate } from "../metrics/error-rate.ts";
import { dropout, linear, validFrames } from "../nn/layers.ts";
import { lstmLayers } from "../nn/recurrent.ts";
import { lostFrames, type TdnnLayer, tdnn } from "../nn/xvector.ts";
import * as ops from "../ops/index.ts";
import type { Params } from "../params/params.ts";
import { i32 } from "../runtime/program.ts";
import { type Dim, floorDiv, mulDim, symbol } from "../tensor/dims.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { HeadInput, Learner, Prediction } from "./task.ts";

/** A linear layer, behind a projection and BLSTM layers or behind time-delay layers. */
export interface CtcHead {
  readonly projection?: number;
  /** So many frames become one, side by side (default 1). */
  readonly stack?: number;
  /** Seconds that no such frame is longer than: fewer become one where the upstream's own are long. */
  readonly longest?: number;
  /** Time-delay layers, as many frames before each one as behind it. */
  readonly delays?: readonly TdnnLayer[];
  readonly lstm?: {
    readonly layers: number;
    readonly hidden: number;
    readonly dropout: number;
    readonly squash: boolean;
  };
}

export interface CtcTaskOptions {
  readonly head: CtcHead;
  readonly symbols: number;
  readonly blank: number;
  /** Target of each item. */
  readonly targets: readonly (readonly number[])[];
  /** What the best path of an item says. */
  readonly read: (item: number, symbols: number[]) => Prediction;
  readonly metrics: Learner["metrics"];
}

/** The head for an upstream whose frames are `hop` seconds apart. */
export function headFor(head: CtcHead, hop: number): CtcHead {
  const { stack = 1, longest = Number.POSITIVE_INFINITY } = head;
  return { ...head, stack: Math.max(1, Math.min(stack, Math.floor(longest / hop + 1e-9))) };
}

/** Connectionist temporal classification on features: each utterance's loss divided by its labels, then averaged. */
export function ctcLearner({ head, symbols, blank, targets, read, metrics }: CtcTaskOptions): Learner {
  const { stack = 1 } = head;
  return {
    scores(input, p) {
      const heard = stacked(input, stack);
      const projected =
        head.projection === undefined ? heard.x : linear(heard.x, p.at("projector"), head.projection);
      const delayed = delays(projected, heard, head, p);
      return linear(recurrent(delayed, heard, head, p), p.at("output"), symbols);
    },
    loss(scores, input, _, declare) {
      const [batch] = scores.shape;
      const labels = declare(ops.input("labels", [batch, symbol("labels")], "i32"));
      const counts = declare(ops.input("targets", [batch], "i32"));
      const { frames } = stacked(input, stack);
      const losses = ops.ctcLoss(scores, labels, frames, counts, { blank, zeroInfinity: true });
      return ops.reduceSum(ops.div(losses, ops.maximum(ops.cast(counts, "f32"), 1)), [0]);
    },
    feeds(items) {
      const rows = items.map((item) => targets[item]);
      const width = Math.max(1, ...rows.map((row) => row.length));
      const labels = new Int32Array(items.length * width);
      for (const [i, row] of rows.entries()) labels.set(row, i * width);
      const counts = rows.map((row) => row.length);
      return { labels: i32([items.length, width], labels), targets: i32([items.length], counts) };
    },
    weight: (items) => items.length,
    read(item, { values, frames }) {
      const heard = Math.floor(frames / stack);
      const spans = greedyDecode(values.subarray(0, heard * symbols), heard, symbols, { blank });
      return read(
        item,
        spans.map(({ token }) => token),
      );
    },
    metrics,
  };
}

/** Neighbouring frames side by side; what is left at the end is no whole frame. */
function stacked(input: HeadInput, stack: number): HeadInput {
  if (stack === 1) return input;
  const [batch, frames, dim] = input.x.shape as [Dim, Dim, number];
  const width = floorDiv(frames, stack);
  const whole = (x: Tensor) => ops.slice(x, 1, 0, mulDim(width, stack));
  const speech = ops.reshape(whole(ops.cast(input.valid, "f32")), [batch, width, stack]);
  // A frame whose last part is speech is speech.
  const counts = ops.cast(ops.reduceSum(ops.slice(speech, 2, stack - 1, stack), [1, 2]), "i32");
  return {
    ...input,
    x: ops.reshape(whole(input.x), [batch, width, stack * dim]),
    ...{ frames: counts, valid: validFrames(counts, width) },
  };
}

/** Time-delay layers with silence before and behind, whatever the batch's padding is. */
function delays(x: Tensor, { valid }: HeadInput, { delays: layers }: CtcHead, p: Params): Tensor {
  if (layers === undefined) return x;
  const [batch, frames] = x.shape;
  const heard = ops.where(ops.reshape(valid, [batch, frames, 1]), x, 0);
  const beside = lostFrames(layers) / 2;
  return tdnn(ops.pad(heard, 1, beside, beside), layers, p.at("module"));
}

/** LSTM layers in both directions, each followed by dropout and, where asked, by a squashed projection (s3prl's RNNs). */
function recurrent(x: Tensor, { valid, training }: HeadInput, { lstm }: CtcHead, p: Params): Tensor {
  if (lstm === undefined) return x;
  const single = { hidden: lstm.hidden, layers: 1, bidirectional: true, dropout: 0 };
  let h = x;
  for (let layer = 0; layer < lstm.layers; layer++) {
    const q = p.at(`rnns.${layer}`);
    [h] = lstmLayers(h, valid, single, q.at("layer"), training);
    h = dropout(h, lstm.dropout, training);
    if (lstm.squash) h = ops.tanh(linear(h, q.at("pj"), 2 * lstm.hidden));
  }
  return h;
}

/** Error rate of predictions that hold `reference` and `hypothesis`, cut into tokens. */
export function errors(
  predictions: ReadonlyMap<number, Prediction>,
  tokens: (text: string) => string[],
): ErrorCounts {
  const all = [...predictions.values()];
  return errorRate(
    all.map(({ reference }) => tokens(String(reference))),
    all.map(({ hypothesis }) => tokens(String(hypothesis))),
  );
}
