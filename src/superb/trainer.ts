import { RunError } from "../errors.ts";
import { schedule } from "../nn/schedules.ts";
import * as ops from "../ops/index.ts";
import { hash32, random } from "../random.ts";
import { i32, number, type Program, type Value } from "../runtime/program.ts";
import { augmentFeeds } from "../train/feature-augment.ts";
import type { WeightMasks } from "../train/masks.ts";
import { Optimiser } from "../train/optimiser.ts";
import { compileTraining, gradientName } from "../train/program.ts";
import { ParameterStore } from "../train/store.ts";
import type { Adapted, AdaptedUpstream } from "./adapted.ts";
import { type Batch, Head } from "./head.ts";
import type { LearnedTask, Learner, Prediction } from "./task.ts";
import type { FrozenUpstream } from "./upstream.ts";

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
  readonly adapted: Adapted | undefined;
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
  private readonly head: Head;
  readonly masks: WeightMasks | undefined;
  private readonly factor: (step: number) => number;
  private training: Promise<Program> | undefined;
  private failures = 0;

  constructor(
    task: LearnedTask,
    upstream: FrozenUpstream & Partial<AdaptedUpstream>,
    seed: number,
    threads?: number,
  ) {
    this.task = task;
    this.seed = seed;
    this.threads = threads;
    this.head = new Head(task, upstream, threads);
    this.learner = this.head.learner;
    this.adapted = upstream.adapted;
    const { table } = this.head.trace();
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
          ...this.head.inputs(this.store.values, batch),
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

  /** What the head, as it is now, says of the recordings of a batch. */
  predict(batch: Batch, items: readonly number[], into: Map<number, Prediction>): Promise<void> {
    return this.head.predict(this.store.values, batch, items, into);
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
    if (this.head.layers === 1) return [1];
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
    await (await this.training)?.dispose();
    await this.head.dispose();
  }

  /** Everything random of a batch, as a function of (seed, task, step, part). */
  private randomFeeds({ frames, waves = [] }: Batch, part: number): Record<string, Value> {
    const { recipe, name } = this.task;
    const keys = [this.seed, name, this.step, part] as const;
    const feeds = { seed: i32([], [hash32(...keys) | 0]), ...this.adapted?.random(waves, ...keys) };
    const { specAugment } = recipe;
    if (specAugment === undefined) return feeds;
    const chance = random(...keys, "spec-augment");
    return { ...feeds, ...augmentFeeds(specAugment, frames, Math.max(...frames), this.head.dim, chance) };
  }

  private compileTraining(): Promise<Program> {
    const { table, inputs, labels, loss } = this.head.trace(true);
    const scale = ops.input("scale", []);
    return compileTraining(
      table,
      { loss: ops.mul(loss, scale), outputs: {}, inputs: [...inputs, ...labels, scale] },
      { trained: (name) => this.store.isTrained(name), threads: this.threads },
    );
  }

  private accumulate(first: boolean): void {
    const { gradients } = this.store;
    if (first) this.sums.set(gradients);
    else for (let i = 0; i < gradients.length; i++) this.sums[i] += gradients[i];
  }
}
