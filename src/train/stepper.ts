import type { LoadedBatch } from "../corpus/prefetch.ts";
import { addAnchor } from "../params/anchor.ts";
import { random } from "../random.ts";
import { number, type Program, type ProgramOptions, type Value } from "../runtime/program.ts";
import { augmented } from "./augment.ts";
import type { Stream } from "./data.ts";
import { batchFeeds, countOf, featureFeeds, randomFeeds } from "./feeds.ts";
import type { Training } from "./groups.ts";
import type { Feeds } from "./losses/kind.ts";
import type { WeightMasks } from "./masks.ts";
import type { Optimiser, UpdateRange } from "./optimiser.ts";
import { compileTraining, gradientName } from "./program.ts";
import type { Recipe } from "./recipe-schema.ts";
import type { ParameterStore } from "./store.ts";
import { stepSizes, type Task, type TaskObjective, traceTraining } from "./task.ts";

/** What one update's passes found; the gradients are in the store. */
export interface StepGradients {
  /** The weighted sum that is minimised. */
  readonly loss: number;
  /** By objective, unweighted. */
  readonly losses: Readonly<Record<string, number>>;
  /** Further scalars, as `OBJECTIVE.WHAT`. */
  readonly measures: Readonly<Record<string, number>>;
  /** The parameters that have a gradient. */
  readonly reached: Set<string>;
}

export interface StepperOptions {
  readonly task: Task;
  readonly store: ParameterStore;
  readonly optimiser: Optimiser;
  readonly optimizer: Recipe["optimizer"];
  /** How each parameter trains, by its name in the store. */
  readonly training: ReadonlyMap<string, Training>;
  readonly masks?: WeightMasks;
  readonly recompute: Recipe["plan"]["recompute"];
  readonly anchor?: Recipe["plan"]["anchor"];
  readonly augment: Recipe["augment"];
  readonly seed: number;
  readonly program: ProgramOptions;
  /** The largest batch of a stream, its utterances and the samples of its longest one: memory for it is reserved. */
  readonly largest?: (stream: Stream) => { batch: number; samples: number };
}

/** The batches of one stream that make an update. */
export interface StreamBatches {
  readonly stream: Stream;
  readonly batches: readonly LoadedBatch[];
}

/** Computes gradients and updates the parameters. Programs are compiled when first needed and kept. */
export class Stepper {
  /** Updates that each parameter has had: Adam's bias correction counts a late starter's own steps. */
  readonly updates: Record<string, number> = {};
  private readonly options: StepperOptions;
  private readonly programs = new Map<string, Program>();
  private sums: Float32Array | undefined;
  /** Where what trains began: a second copy of it only where it is an anchor. */
  private readonly start: Float32Array | undefined;

  /** The store holds the weights that the run starts from, also where it is resumed: they come from the checkpoint later. */
  constructor(options: StepperOptions) {
    this.options = options;
    const { weights, trainedSize } = options.store;
    if ((options.anchor ?? 0) > 0) this.start = weights.slice(0, trainedSize);
  }

  /**
   * Gradients of one update, summed over its batches into the store. An objective that is a mean over utterances
   * counts in each batch by its share of them (or of frames), so that k batches give the gradient of one k times as large.
   */
  async gradients(
    step: number,
    streams: readonly StreamBatches[],
    weights: Readonly<Record<string, number>>,
    headsOnly: boolean,
  ): Promise<StepGradients> {
    const { task, store, seed } = this.options;
    const losses: Record<string, number> = {};
    const reached = new Set<string>();
    const measures: Record<string, number> = {};
    const runs = streams.flatMap(({ stream, batches }) => {
      const objectives = task.objectives.filter((o) => o.spec.stream === stream.name && weights[o.name] > 0);
      if (objectives.length === 0) return [];
      return batches.map((batch, part) => {
        const keys = [seed, "step", step, stream.name, part] as const;
        const heard = { ...batch, waves: augmented(batch.waves, this.options.augment, ...keys) };
        const drawn = {
          ...randomFeeds(task.model, heard.waves, ...keys),
          ...featureFeeds(task, heard.waves, ...keys),
        };
        const feeds = batchFeeds(stream, task.model, heard, objectives, drawn, {
          step,
          draw: (row, ...purpose) => random(...keys, ...purpose, row),
        });
        return { stream, objectives, feeds };
      });
    });
    // Where a batch has nothing of what a loss is about (no hidden frame), its loss is 0 and so is its share.
    const share = (o: TaskObjective, feeds: Feeds) => {
      const count = countOf(o, feeds);
      if (count === undefined) return 1;
      const all = runs.reduce((sum, r) => (r.objectives.includes(o) ? sum + countOf(o, r.feeds)! : sum), 0);
      return count / Math.max(1, all);
    };
    for (const [i, { stream, objectives, feeds }] of runs.entries()) {
      const program = await this.program(stream, objectives, headsOnly);
      const shares = new Map(objectives.map((o) => [o, share(o, feeds)]));
      const inputs: Record<string, Value> = { ...store.values, ...feeds };
      for (const [o, part] of shares) inputs[`weight.${o.name}`] = number(weights[o.name] * part);
      if (runs.length > 1) store.gradients.fill(0);
      const results = await program.run(inputs, gradientsInto(store, program));
      for (const [o, part] of shares) {
        losses[o.name] = (losses[o.name] ?? 0) + part * scalarOf(results[`loss.${o.name}`]);
        for (const [output, value] of Object.entries(results)) {
          if (!output.startsWith(`measure.${o.name}.`)) continue;
          const name = output.slice("measure.".length);
          measures[name] = (measures[name] ?? 0) + part * scalarOf(value);
        }
      }
      for (const name of trainedBy(program)) reached.add(name);
      if (runs.length > 1) this.accumulate(i === 0);
    }
    if (runs.length > 1) store.gradients.set(this.sums!);
    this.options.masks?.scoreGradients(reached);
    const loss = Object.entries(losses).reduce((sum, [name, value]) => sum + weights[name] * value, 0);
    return { loss: loss + this.anchored(reached), losses, measures, reached };
  }

  /** Adds the anchor's gradient to what was reached of the upstream; returns its part of the loss. */
  private anchored(reached: ReadonlySet<string>): number {
    const { store, task, anchor = 0 } = this.options;
    if (this.start === undefined) return 0;
    let loss = 0;
    for (const span of store.spans.values())
      if (reached.has(span.name) && span.name.startsWith(`${task.model.upstream.prefix}.`))
        loss += addAnchor(store.gradients, store.weights, this.start, span, anchor);
    return loss;
  }

  /** Clips and applies the gradients of the parameters that were reached. */
  async update(reached: ReadonlySet<string>, lr: number): Promise<number> {
    const { optimiser, optimizer } = this.options;
    const ranges = this.ranges(reached, lr);
    const norm = await optimiser.norm(ranges);
    // PyTorch's clip_grad_norm_, its 1e-6 included.
    const scale = optimizer.clip > 0 ? Math.min(1, optimizer.clip / (norm + 1e-6)) : 1;
    if (!Number.isFinite(norm)) return norm;
    await optimiser.step(ranges, scale);
    this.options.masks?.apply();
    for (const name of reached) this.updates[name] = (this.updates[name] ?? 0) + 1;
    return norm;
  }

  /** Neighbours in the flat buffers that share their settings are updated together. */
  private ranges(reached: ReadonlySet<string>, lr: number): UpdateRange[] {
    const { store, training } = this.options;
    const ranges: UpdateRange[] = [];
    for (const { name, start, end } of store.spans.values()) {
      if (!reached.has(name)) continue;
      const how = training.get(name)!;
      const step = (this.updates[name] ?? 0) + 1;
      const last = ranges.at(-1);
      const next: UpdateRange = { start, end, lr: lr * how.lr, weightDecay: how.weightDecay, step };
      if (
        last !== undefined &&
        last.end === start &&
        last.lr === next.lr &&
        last.weightDecay === next.weightDecay &&
        last.step === step
      )
        ranges[ranges.length - 1] = { ...last, end };
      else ranges.push(next);
    }
    return ranges;
  }

  private async program(
    stream: Stream,
    objectives: readonly TaskObjective[],
    headsOnly: boolean,
  ): Promise<Program> {
    const key = JSON.stringify([stream.name, headsOnly, ...objectives.map((o) => o.name)]);
    let program = this.programs.get(key);
    if (program === undefined) {
      const { task, store, recompute } = this.options;
      const { table, traced } = traceTraining(task, objectives);
      const upstream = `${task.model.upstream.prefix}.`;
      const most = this.options.largest?.(stream);
      program = await compileTraining(table, traced, {
        ...this.options.program,
        trained: (name) => store.isTrained(name) && !(headsOnly && name.startsWith(upstream)),
        recompute: recompute === "none" ? undefined : ({ name }) => recomputed(name, recompute),
        largest:
          most && stepSizes(task, most.batch, most.samples, (objective) => longestTarget(stream, objective)),
      });
      this.programs.set(key, program);
    }
    return program;
  }

  private accumulate(first: boolean): void {
    const { gradients } = this.options.store;
    this.sums ??= new Float32Array(gradients.length);
    if (first) this.sums.set(gradients);
    else for (let i = 0; i < gradients.length; i++) this.sums[i] += gradients[i];
  }

  async dispose(): Promise<void> {
    for (const program of this.programs.values()) await program.dispose();
    this.programs.clear();
  }
}

const PREFIX = gradientName("");
const trainedBy = (program: Program): string[] =>
  program.outputs.filter((name) => name.startsWith(PREFIX)).map((name) => name.slice(PREFIX.length));

const gradientsInto = (store: ParameterStore, program: Program): Record<string, Value> =>
  Object.fromEntries(trainedBy(program).map((name) => [gradientName(name), store.gradientValues[name]]));

const longestTarget = ({ items, parts }: Stream, objective: string): number =>
  parts.train.reduce((most, i) => Math.max(most, items[i].targets[objective]?.length ?? 0), 0);

const scalarOf = ({ data }: Value): number => (data as Float32Array)[0];

export function recomputed(region: string, which: "all" | readonly number[]): boolean {
  if (which === "all") return /^(encoder\.layers|feature_extractor)\.\d+$/.test(region);
  return which.some((layer) => region === `encoder.layers.${layer}`);
}
