import { padWaves } from "../corpus/prefetch.ts";
import { UserError } from "../errors.ts";
import type { Training } from "../nn/layers.ts";
import * as ops from "../ops/index.ts";
import type { ParameterTable } from "../params/params.ts";
import { f32, i32, type Value } from "../runtime/program.ts";
import { symbol } from "../tensor/dims.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { randomFeeds } from "../train/feeds.ts";
import { fitsName, type Training as Trains } from "../train/groups.ts";
import { weightedLayers } from "../train/heads.ts";
import type { Lineage } from "../train/lineage.ts";
import { type MaskPlan, type MaskSpec, maskPlan, startMasks, type WeightMasks } from "../train/masks.ts";
import { bareModel, type Model } from "../train/model.ts";
import { type OpenedModel, openModel } from "../train/open-model.ts";
import type { TaskUpstream } from "../train/pack.ts";
import { ParameterStore } from "../train/store.ts";
import type { Adaptation } from "./task.ts";
import { type FrozenUpstream, openUpstream, type UpstreamOptions } from "./upstream.ts";

/** An upstream that trains with each head (S3-Router, Table 5): its weights, or masks over them. */
export interface AdaptedUpstream extends FrozenUpstream {
  readonly adapted: Adapted;
}

/** Opens a model to adapt. @throws UserError naming what does not fit */
export async function openAdapted(
  path: string,
  how: Adaptation,
  options: UpstreamOptions = {},
): Promise<AdaptedUpstream> {
  const model = openModel(path);
  const upstream = await openUpstream(path, options, model);
  return { ...upstream, adapted: new Adapted(path, how, model, upstream) };
}

/** What of an upstream trains, and how audio becomes the features of a head inside the graph. */
export class Adapted {
  readonly how: Adaptation;
  private readonly path: string;
  private readonly model: Model;
  /** The model's own weights. */
  readonly store: ParameterStore;
  /** Which model it is, and how that hears: what a pack of masks over it has to say. */
  readonly described: TaskUpstream;
  /** What the model learned from before. */
  readonly lineage: Lineage | undefined;
  private plan: MaskPlan | undefined;

  constructor(
    path: string,
    how: Adaptation,
    { task: { model }, store }: OpenedModel,
    { sampleRate, normalize, lineage }: Pick<FrozenUpstream, "sampleRate" | "normalize" | "lineage">,
  ) {
    this.path = path;
    this.how = how;
    this.described = { model: path, config: model.config, sampleRate, normalize };
    this.lineage = lineage;
    // Features are not hidden while a task is learned, as in SUPERB's recipes.
    const { upstream, settings } = bareModel(model.config, path);
    this.model = { ...model, upstream, settings };
    this.store = store;
  }

  /** Whether what a recording becomes depends on who shares its batch: then batches are of one. */
  get alone(): boolean {
    return !this.model.masked;
  }

  get prefix(): string {
    return this.model.upstream.prefix;
  }

  isUpstream(name: string): boolean {
    return name.startsWith(`${this.prefix}.`);
  }

  /** The learned sum of the hidden states, each normalised over its channels, of `audio` and `frames`. */
  trace(table: ParameterTable, declare: (tensor: Tensor) => Tensor, training: Training | undefined) {
    const { upstream, masked } = this.model;
    const audio = declare(ops.input("audio", [symbol("batch"), symbol("samples")]));
    const frames = declare(ops.input("frames", [symbol("batch")], "i32"));
    const { hidden, last } = upstream.forward(
      { audio, frames: masked ? frames : undefined, training, declare: (tensor) => void declare(tensor) },
      table.at(upstream.prefix),
    );
    const states = [...hidden.slice(0, -1), last];
    return { x: states.length === 1 ? last : weightedLayers(states, table), frames, width: last.shape[1] };
  }

  /** Room for a head and the upstream, which starts from the model's weights. @throws UserError where nothing of it can train */
  storeOf(table: ParameterTable): ParameterStore {
    const { train, sparsity = 0.1, modules = "ffn" } = this.how;
    const prefix = `${this.model.upstream.prefix}.`;
    const idle = `${prefix}feature_extractor`;
    const trains = new Map<string, Trains>();
    for (const name of table.specs.keys())
      trains.set(name, { frozen: fitsName(idle, name), lr: 1, weightDecay: 0 });
    const spec: MaskSpec = {
      ...{ sparsity, modules, layers: "all", scope: "matrix", init: "order-preserving", scale: 1 },
      ...{ rates: [], alsoTrain: [] },
    };
    this.plan = train === "masks" ? maskPlan(spec, trains, prefix, "--train masks") : undefined;
    const store = new ParameterStore(
      table.specs,
      (name) => !trains.get(name)!.frozen,
      (name) => this.plan?.masked.has(name) ?? false,
    );
    if (![...store.spans.keys()].some((name) => this.isUpstream(name) && store.isTrained(name)))
      throw new UserError(`${this.path}: has no weights to adapt`);
    return store;
  }

  /** Puts the model's weights into a store, and masks over them where masks are learned. */
  start(store: ParameterStore, seed: number): WeightMasks | undefined {
    for (const name of store.specs.keys())
      if (this.isUpstream(name)) store.array(name).set(this.store.array(name));
    return this.plan && startMasks(this.plan, store, seed);
  }

  /** The graph inputs of some recordings. */
  inputs(waves: readonly Float32Array[], frames: readonly number[]): Record<string, Value> {
    const { values, batch, samples } = padWaves(waves);
    return { audio: f32([batch, samples], values), frames: i32([batch], frames as number[]) };
  }

  /** What is random in a training pass over them: dropped layers (the seed is the head's). */
  random(waves: readonly Float32Array[], ...keys: (number | string)[]): Record<string, Value> {
    const { seed: _, ...drawn } = randomFeeds(this.model, waves, ...keys);
    return drawn;
  }
}
