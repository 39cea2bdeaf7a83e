import type { SuperbMetric } from "../metrics/superb-score.ts";
import type { Training } from "../nn/layers.ts";
import type { ScheduleSpec } from "../nn/schedules.ts";
import type { Params } from "../params/params.ts";
import type { Value } from "../runtime/program.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Json } from "../train/checkpoint.ts";
import type { SpecAugment } from "../train/feature-augment.ts";
import type { FeatureSource, Heard } from "./features.ts";
import type { FrozenUpstream } from "./upstream.ts";

export const PARTS = ["train", "valid", "test"] as const;
export type Part = (typeof PARTS)[number];

/** What trains besides the head: nothing of a frozen upstream, its weights (all but the extractor's), or masks over them. */
export interface Adaptation {
  readonly train: "weights" | "masks";
  /** Learning rate of weights or scores, on the recipe's schedule. */
  readonly lr: number;
  /** Share of each masked matrix that is off. */
  readonly sparsity?: number;
  readonly modules?: "ffn" | "attention" | "both";
}

/** How a probe trains: plain data, saved with every score. */
export interface ProbeRecipe {
  /** The head in words and numbers. */
  readonly head: Readonly<Record<string, Json>>;
  readonly optimizer: { readonly name: "adam" | "adamw"; readonly lr: number; readonly weightDecay: number };
  readonly schedule: Exclude<ScheduleSpec, { name: "newbob" }>;
  readonly steps: number;
  /** Utterances of an update. */
  readonly batch: number;
  /** Norm that gradients are clipped to. */
  readonly clip: number;
  /** Batches of similar lengths, of any, or with every class equally often (drawn with replacement). */
  readonly sampling: "buckets" | "shuffle" | "balanced";
  /** Samples that a longer training recording is cut to. */
  readonly maxSamples?: number;
  readonly specAugment?: SpecAugment;
  /** Updates between evaluations on the validation part. */
  readonly evaluateEvery: number;
  /** The validation metric whose best weights are tested; without one the last ones are. */
  readonly best?: { readonly metric: string; readonly higher: boolean };
  /** How the upstream trains, too. */
  readonly adaptation?: Adaptation;
  /** Where each of this was read, and what of it is only recalled. */
  readonly source: string;
}

/** What a head is given. */
export interface HeadInput {
  /** The learned sum of the hidden states [batch, frames, dim]. */
  readonly x: Tensor;
  /** i32 [batch] */
  readonly frames: Tensor;
  /** bool [batch, frames] */
  readonly valid: Tensor;
  readonly training?: Training;
}

/** What a probe says of one recording: an object that is written as a line of `predictions.jsonl`. */
export type Prediction = Readonly<Record<string, Json>>;

/** One output of the evaluation pass for one recording, without the batch's axis; padding is still there. */
export interface Row {
  readonly values: Float32Array;
  readonly shape: readonly number[];
  readonly frames: number;
}

type Declare = (input: Tensor) => Tensor;

/** Makes predictions of rows, where that takes programs of its own. */
export interface Reader {
  read(item: number, row: Row): Promise<Prediction>;
  dispose(): Promise<void>;
}

/** What is learned on top of the frozen features. Items are named by their index in the task's list. */
export interface Learner {
  /** What evaluation reads, batch first. `declare` is told of inputs that `extra` fills. */
  scores(input: HeadInput, p: Params, declare: Declare): Tensor;
  extra?(frames: readonly number[]): Record<string, Value>;
  /** The batch's loss, summed (not averaged): `declare` is told of label inputs, which `feeds` fills. */
  loss(scores: Tensor, input: HeadInput, p: Params, declare: Declare): Tensor;
  feeds(items: readonly number[], frames: readonly number[]): Record<string, Value>;
  /** What the summed loss is divided by: utterances or frames. */
  weight(items: readonly number[], frames: readonly number[]): number;
  read(item: number, row: Row): Prediction;
  /** A reader with programs of its own, instead of `read`; `values` are the head's parameters by name. */
  open?(values: Readonly<Record<string, Value>>, threads?: number): Promise<Reader>;
  /** What metrics need to know of the training part: called before `metrics` with what the head says of it. */
  fit?(predictions: ReadonlyMap<number, Prediction>): void;
  metrics(predictions: ReadonlyMap<number, Prediction>, part: Part): Record<string, number>;
  /** What is written instead of the predictions themselves, one line each. */
  lines?(predictions: ReadonlyMap<number, Prediction>): Prediction[];
}

/** What a task without training makes of the features. */
export interface Measured {
  readonly metrics: Readonly<Record<string, number>>;
  readonly predictions: readonly Prediction[];
  /** The layer that was chosen. */
  readonly layer: number;
}

interface TaskBase {
  readonly name: string;
  /** The task that this is one fold of, where it is. */
  readonly foldOf?: string;
  readonly recipe: ProbeRecipe;
  readonly items: readonly Heard[];
  readonly parts: Readonly<Record<Part, readonly number[]>>;
  /** What a reader of the scores must know: a split by chance, a deviation. */
  readonly notes: readonly string[];
  /** Columns of the SUPERB score by metric; metrics of rates become per cent. */
  readonly columns: Readonly<Record<string, SuperbMetric>>;
  /** The metric that stands for the task, between 0 and 1 or a score of its own. */
  readonly headline: { readonly metric: string; readonly higher: boolean };
  /** Classes for balanced sampling. */
  classOf?(item: number): number;
}

export type ProbeTask = TaskBase &
  (
    | { readonly learner: (upstream: FrozenUpstream) => Learner }
    | { readonly measure: (source: FeatureSource, log: (line: string) => void) => Promise<Measured> }
  );

export type LearnedTask = Extract<ProbeTask, { learner: unknown }>;

/** A smaller head than the official one, to try a task's data and code. */
export interface Trial {
  /** Units of a recurrent layer, width of a transformer; projections likewise. */
  readonly hidden: number;
}

/** Reads a task's corpus below `root`; some tasks are several probes (folds). @throws UserError naming what is missing */
export type Prepare = (root: string, trial?: Trial) => Promise<ProbeTask[]>;
