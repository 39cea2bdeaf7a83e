import { trainingMode, validFrames } from "../nn/layers.ts";
import * as ops from "../ops/index.ts";
import { constantInit, ParameterTable } from "../params/params.ts";
import { compile } from "../runtime/cpu.ts";
import type { Program, Value } from "../runtime/program.ts";
import { product, symbol } from "../tensor/dims.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { augmentFeatures } from "../train/feature-augment.ts";
import { evaluationGraph } from "../train/program.ts";
import type { Adapted, AdaptedUpstream } from "./adapted.ts";
import type { HeadInput, LearnedTask, Learner, Prediction, Reader, Row } from "./task.ts";
import type { FrozenUpstream } from "./upstream.ts";

/** A batch of features with the positions of its items in the part that it is of. */
export interface Batch {
  readonly positions: readonly number[];
  readonly frames: readonly number[];
  /** The graph inputs: `features` [layers, batch, frames, dim], or `audio` [batch, samples]; and `frames` i32 [batch]. */
  readonly inputs: Readonly<Record<string, Value>>;
  /** Recordings [samples], where the upstream trains. */
  readonly waves?: readonly Float32Array[];
}

/** A task's head, and the upstream that trains with it where one does: its graphs, and what it says of recordings. */
export class Head {
  readonly task: LearnedTask;
  readonly learner: Learner;
  readonly adapted: Adapted | undefined;
  readonly layers: number;
  readonly dim: number;
  private readonly threads: number | undefined;
  private evaluation: Promise<Program> | undefined;
  private reader: Promise<Reader> | undefined;

  constructor(task: LearnedTask, upstream: FrozenUpstream & Partial<AdaptedUpstream>, threads?: number) {
    this.task = task;
    this.learner = task.learner(upstream);
    this.adapted = upstream.adapted;
    this.layers = upstream.layers;
    this.dim = upstream.dim;
    this.threads = threads;
  }

  /** The graph inputs of a batch. */
  inputs(values: Readonly<Record<string, Value>>, { inputs, frames }: Batch): Record<string, Value> {
    return { ...values, ...this.learner.extra?.(frames), ...inputs };
  }

  /** What a head with these parameters says of the recordings of a batch; they must be the same arrays at each call. */
  async predict(
    values: Readonly<Record<string, Value>>,
    batch: Batch,
    items: readonly number[],
    into: Map<number, Prediction>,
  ): Promise<void> {
    this.evaluation ??= this.compileEvaluation();
    const program = await this.evaluation;
    this.reader ??= this.learner.open?.(values, this.threads);
    const reader = await this.reader;
    const { scores } = await program.run(this.inputs(values, batch));
    const [, ...shape] = scores.shape;
    const size = shape.reduce((a, b) => a * b, 1);
    for (const [row, item] of items.entries()) {
      const said = (scores.data as Float32Array).subarray(row * size, (row + 1) * size);
      const each: Row = { values: said, shape, frames: batch.frames[row] };
      into.set(item, reader === undefined ? this.learner.read(item, each) : await reader.read(item, each));
    }
  }

  /** The graph of audio or features to scores and the batch's loss; `labels` are the loss's own inputs. */
  trace(training = false) {
    const table = new ParameterTable();
    const inputs: Tensor[] = [];
    const declare = (tensor: Tensor) => {
      inputs.push(tensor);
      return tensor;
    };
    const mode = training ? trainingMode(declare(ops.input("seed", [], "i32"))) : undefined;
    const heard = this.adapted?.trace(table, declare, mode) ?? this.features(table, declare);
    const { frames, width } = heard;
    const x = training ? this.augmented(heard.x, declare) : heard.x;
    const input: HeadInput = { x, frames, valid: validFrames(frames, width), training: mode };
    const head = table.at("head");
    const scores = this.learner.scores(input, head, declare);
    // Its parameters belong to the probe, so that one store serves both passes.
    const labels: Tensor[] = [];
    const loss = this.learner.loss(scores, input, head, (tensor) => {
      labels.push(tensor);
      return tensor;
    });
    return { table, inputs, labels, scores, loss };
  }

  /** The learned sum of features that were computed before. */
  private features(table: ParameterTable, declare: (tensor: Tensor) => Tensor) {
    const [batch, width] = [symbol("batch"), symbol("frames")];
    const features = declare(ops.input("features", [this.layers, batch, width, this.dim], "f16"));
    const frames = declare(ops.input("frames", [batch], "i32"));
    return { x: weightedSum(ops.cast(features, "f32"), table), frames, width };
  }

  /** Warped and masked features; the random parts are inputs. */
  private augmented(x: Tensor, declare: (tensor: Tensor) => Tensor): Tensor {
    const { specAugment } = this.task.recipe;
    if (specAugment === undefined) return x;
    return augmentFeatures(x, specAugment, declare);
  }

  private compileEvaluation(): Promise<Program> {
    const { table, inputs, scores } = this.trace();
    return compile(evaluationGraph(table, { scores }, inputs), { threads: this.threads });
  }

  async dispose(): Promise<void> {
    for (const each of [this.evaluation, this.reader]) await (await each)?.dispose();
  }
}

/**
 * A learned convex sum over layers [layers, batch, frames, dim] that were normalised already, as one matrix product; a
 * single layer is itself.
 */
function weightedSum(features: Tensor, p: ParameterTable): Tensor {
  const [layers, ...shape] = features.shape as [number, ...Tensor["shape"]];
  if (layers === 1) return ops.reshape(features, shape);
  const weights = ops.softmax(ops.reshape(p.get("layer_weights", [layers], constantInit(0)), [1, layers]));
  return ops.reshape(ops.matMul(weights, ops.reshape(features, [layers, product(shape)])), shape);
}
