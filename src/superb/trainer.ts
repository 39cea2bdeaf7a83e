import { RunError } from "../errors.ts";
import { trainingMode, validFrames } from "../nn/layers.ts";
import { schedule } from "../nn/schedules.ts";
import * as ops from "../ops/index.ts";
import { constantInit, ParameterTable } from "../params/params.ts";
import { hash32, random } from "../random.ts";
import { compile } from "../runtime/cpu.ts";
import { i32, number, type Program, type Value } from "../runtime/program.ts";
import { product, symbol } from "../tensor/dims.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { augmentFeatures, augmentFeeds } from "../train/feature-augment.ts";
import type { WeightMasks } from "../train/masks.ts";
import { Optimiser } from "../train/optimiser.ts";
import { compileTraining, evaluationGraph, gradientName } from "../train/program.ts";
import { ParameterStore } from "../train/store.ts";
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

/** What a trainer's future depends on, besides its buffers. */
export interface TrainerState {
  readonly step: number;
  readonly best?: { readonly step: number; readonly value: number };
}

/** Updates in a row whose gradient is not finite, after which a probe is given up. */
const PATIENCE = 20;

/** One task's head with what trains it. */
export class HeadTrainer {
  readonly task: LearnedTask;
  readonly learner: Learner;
  readonly store: ParameterStore;
  step = 0;
  best: TrainerState["best"];
  /** Mean loss of the updates since it was last read. */
  private readonly losses: number[] = [];
  private readonly bestWeights: Float32Array;
  private readonly optimiser: Optimiser;
  private readonly sums: Float32Array;
  private readonly seed: number;
  private readonly threads: number | undefined;
  private readonly layers: number;
  private readonly dim: number;
  readonly adapted: Adapted | undefined;
  readonly masks: WeightMasks | undefined;
  private readonly factor: (step: number) => number;
  private training: Promise<Program> | undefined;
  private evaluation: Promise<Program> | undefined;
  private reader: Promise<Reader> | undefined;
  private failures = 0;

  constructor(
    task: LearnedTask,
    upstream: FrozenUpstream & Partial<AdaptedUpstream>,
    seed: number,
    threads?: number,
  ) {
    this.task = task;
    this.learner = task.learner(upstream);
    this.layers = upstream.layers;
    this.dim = upstream.dim;
    this.seed = seed;
    this.threads = threads;
    this.adapted = upstream.adapted;
    const { table } = this.trace();
    const { adapted } = this;
    this.store = adapted?.storeOf(table) ?? new ParameterStore(table.specs, () => true);
    const own = [...table.specs.keys()].filter((name) => !adapted?.isUpstream(name));
    this.store.initialise(hash32(seed, task.name), own);
    this.masks = adapted?.start(this.store, hash32(seed, task.name, "masks"));
    this.bestWeights = this.store.weights.slice();
    this.sums = new Float32Array(this.store.gradients.length);
    const { name } = task.recipe.optimizer;
    this.optimiser = new Optimiser({ name, betas: [0.9, 0.999], eps: 1e-8 }, this.store, { threads });
    this.factor = schedule(task.recipe.schedule, task.recipe.steps);
  }

  get done(): boolean {
    return this.step >= this.task.recipe.steps;
  }

  /** Whether the validation part is due. */
  get due(): boolean {
    const { recipe, parts } = this.task;
    if (recipe.best === undefined || parts.valid.length === 0) return false;
    return this.step % recipe.evaluateEvery === 0 || this.step === recipe.steps;
  }

  /** One update from batches of the training part. */
  async update(batches: readonly Batch[]): Promise<void> {
    const { recipe, parts, name } = this.task;
    const items = batches.map(({ positions }) => positions.map((position) => parts.train[position]));
    const total = batches.reduce((sum, { frames }, i) => sum + this.learner.weight(items[i], frames), 0);
    this.training ??= this.compileTraining();
    const program = await this.training;
    const into = Object.fromEntries(
      Object.entries(this.store.gradientValues)
        .map(([key, value]) => [gradientName(key), value] as const)
        .filter(([key]) => program.outputs.includes(key)),
    );
    let loss = 0;
    for (const [i, batch] of batches.entries()) {
      const results = await program.run(
        {
          ...this.inputsOf(batch),
          ...this.learner.feeds(items[i], batch.frames),
          ...this.randomFeeds(batch, i),
          scale: number(1 / Math.max(total, 1)),
        },
        into,
      );
      loss += (results.loss.data as Float32Array)[0];
      if (batches.length > 1) this.accumulate(i === 0);
    }
    if (batches.length > 1) this.store.gradients.set(this.sums);
    this.losses.push(loss);
    this.masks?.scoreGradients(new Set(Object.keys(this.store.gradientValues)));
    const norm = await this.optimiser.norm([{ start: 0, end: this.store.trainedSize }]);
    this.step++;
    if (!Number.isFinite(norm)) {
      // As s3prl: the update is left out. A head that does not recover has failed.
      if (++this.failures >= PATIENCE)
        throw new RunError(
          `${name}: the gradient was not finite ${PATIENCE} times in a row; lower its learning rate`,
        );
      return;
    }
    this.failures = 0;
    const { lr, weightDecay } = recipe.optimizer;
    const scale = Math.min(1, recipe.clip / (norm + 1e-6));
    const factor = this.factor(this.step - 1);
    const ranges = this.ranges(lr).map((range) => ({
      ...range,
      lr: range.lr * factor,
      weightDecay,
      step: this.step,
    }));
    await this.optimiser.step(ranges, scale);
    this.masks?.apply();
  }

  /** What trains, with its learning rate: all of it at the head's, or the upstream's part at its own. */
  private ranges(lr: number): { start: number; end: number; lr: number }[] {
    const ranges: { start: number; end: number; lr: number }[] = [];
    for (const { name, start, end } of this.store.spans.values()) {
      if (!this.store.isTrained(name)) continue;
      const own = this.adapted?.isUpstream(name) ? this.adapted.how.lr : lr;
      const last = ranges.at(-1);
      if (last?.lr === own && last.end === start) last.end = end;
      else ranges.push({ start, end, lr: own });
    }
    return ranges;
  }

  /** What the head, as it is now, says of the batches of a part. */
  async predict(batch: Batch, items: readonly number[], into: Map<number, Prediction>): Promise<void> {
    this.evaluation ??= this.compileEvaluation();
    const program = await this.evaluation;
    this.reader ??= this.learner.open?.(this.store.values, this.threads);
    const reader = await this.reader;
    const { scores } = await program.run(this.inputsOf(batch));
    const [, ...shape] = scores.shape;
    const size = shape.reduce((a, b) => a * b, 1);
    for (const [row, item] of items.entries()) {
      const values = (scores.data as Float32Array).subarray(row * size, (row + 1) * size);
      const each: Row = { values, shape, frames: batch.frames[row] };
      into.set(item, reader === undefined ? this.learner.read(item, each) : await reader.read(item, each));
    }
  }

  /** Keeps the weights where their validation metric is the best so far. Returns whether it is. */
  judge(metrics: Readonly<Record<string, number>>): boolean {
    const { name, recipe } = this.task;
    const { best } = recipe;
    if (best === undefined) return false;
    const value = metrics[best.metric];
    if (value === undefined) throw new Error(`${name}: there is no metric ${best.metric}`);
    const better =
      this.best === undefined || (best.higher ? value > this.best.value : value < this.best.value);
    if (!better) return false;
    this.best = { step: this.step, value };
    this.bestWeights.set(this.store.weights);
    return true;
  }

  /** Puts the best weights in place, where there are any. */
  recall(): void {
    if (this.best !== undefined) this.store.weights.set(this.bestWeights);
    this.masks?.apply();
  }

  /** The learned share of each layer, which add up to 1. */
  layerWeights(): number[] {
    if (this.layers === 1) return [1];
    const raw = Array.from(this.store.array("layer_weights"), Math.exp);
    const sum = raw.reduce((a, b) => a + b);
    return raw.map((x) => x / sum);
  }

  takeLoss(): number {
    const taken = this.losses.splice(0);
    return taken.reduce((a, b) => a + b, 0) / Math.max(1, taken.length);
  }

  buffers(): Record<string, Float32Array> {
    const { weights } = this.store;
    return { weights, best: this.bestWeights, ...this.optimiser.states };
  }

  state(): TrainerState {
    return { step: this.step, best: this.best };
  }

  /** Goes on from a checkpoint whose buffers were read into those of `buffers()`. */
  resume({ step, best }: TrainerState): void {
    this.step = step;
    this.best = best;
    this.masks?.apply();
  }

  async dispose(): Promise<void> {
    await this.optimiser.dispose();
    for (const each of [this.training, this.evaluation, this.reader]) await (await each)?.dispose();
  }

  private inputsOf({ inputs, frames }: Batch): Record<string, Value> {
    return { ...this.store.values, ...this.learner.extra?.(frames), ...inputs };
  }

  private trace(training = false) {
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
    const features = declare(ops.input("features", [this.layers, batch, width, this.dim]));
    const frames = declare(ops.input("frames", [batch], "i32"));
    return { x: weightedSum(features, table), frames, width };
  }

  /** Warped and masked features; the random parts are inputs. */
  private augmented(x: Tensor, declare: (tensor: Tensor) => Tensor): Tensor {
    const { specAugment } = this.task.recipe;
    if (specAugment === undefined) return x;
    return augmentFeatures(x, specAugment, declare);
  }

  /** Everything random of a batch, as a function of (seed, task, step, part). */
  private randomFeeds({ frames, waves = [] }: Batch, part: number): Record<string, Value> {
    const { recipe, name } = this.task;
    const keys = [this.seed, name, this.step, part] as const;
    const feeds = { seed: i32([], [hash32(...keys) | 0]), ...this.adapted?.random(waves, ...keys) };
    const { specAugment } = recipe;
    if (specAugment === undefined) return feeds;
    const chance = random(...keys, "spec-augment");
    return { ...feeds, ...augmentFeeds(specAugment, frames, Math.max(...frames), this.dim, chance) };
  }

  private compileTraining(): Promise<Program> {
    const { table, inputs, labels, loss } = this.trace(true);
    const scale = ops.input("scale", []);
    return compileTraining(
      table,
      { loss: ops.mul(loss, scale), outputs: {}, inputs: [...inputs, ...labels, scale] },
      { trained: (name) => this.store.isTrained(name), threads: this.threads },
    );
  }

  private compileEvaluation(): Promise<Program> {
    const { table, inputs, scores } = this.trace();
    return compile(evaluationGraph(table, { scores }, inputs), { threads: this.threads });
  }

  private accumulate(first: boolean): void {
    const { gradients } = this.store;
    if (first) this.sums.set(gradients);
    else for (let i = 0; i < gradients.length; i++) this.sums[i] += gradients[i];
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
