import { dropout, maskedMean, type Training, trainingMode, validFrames } from "../nn/layers.ts";
import { crossEntropy, ctc, weightedSum } from "../nn/losses.ts";
import * as ops from "../ops/index.ts";
import { ParameterTable } from "../params/params.ts";
import { hash32 } from "../random.ts";
import { symbol } from "../tensor/dims.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { head, weightedLayers } from "./heads.ts";
import type { Model } from "./model.ts";
import type { Traced } from "./program.ts";
import type { Objective } from "./recipe-schema.ts";
import { type Target, targetSize } from "./targets.ts";

/** One loss of the weighted sum, with what it asks and the path of its head's parameters. */
export interface TaskObjective {
  readonly name: string;
  readonly spec: Objective;
  readonly target: Target;
  readonly path: string;
}

/** What a recipe trains: an upstream with a head for each objective that ever has a weight. */
export interface Task {
  readonly model: Model;
  readonly layers: "last" | "weighted";
  readonly objectives: readonly TaskObjective[];
}

/** Whether an objective has a weight at any time; one that has none is no part of the model. */
export const everCounts = ({ weight }: Objective): boolean =>
  typeof weight === "number" ? weight > 0 : weight.some((point) => point.weight > 0);

/** Heads by Hugging Face's name where it has one (`lm_head` of the first linear CTC head), else `heads.NAME`. */
export function namePaths(objectives: readonly (readonly [string, Objective])[]): Map<string, string> {
  const lm = objectives.find(([, o]) => o.loss === "ctc" && o.head === "linear")?.[0];
  return new Map(objectives.map(([name]) => [name, name === lm ? "lm_head" : `heads.${name}`]));
}

export interface TrainingTrace {
  readonly table: ParameterTable;
  readonly traced: Traced;
}

/**
 * The training pass of some objectives: outputs `loss` (their weighted sum) and `loss.NAME`. Inputs besides parameters:
 * `audio`, `frames`, `labels.NAME` (and `targets.NAME` of sequences), `weight.NAME`, `seed`, and where the
 * configuration has them `hide.frames`, `hide.channels`, `keep.layers.N`.
 */
export function traceTraining(task: Task, objectives: readonly TaskObjective[]): TrainingTrace {
  const { settings, upstream } = task.model;
  const table = new ParameterTable();
  const inputs: Tensor[] = [];
  const declare = (tensor: Tensor) => {
    inputs.push(tensor);
    return tensor;
  };
  const seed = declare(ops.input("seed", [], "i32"));
  const training = trainingMode(seed);
  const { audio, frames } = audioInputs(declare);
  const hides = hiding(task.model);
  const [batch, samples] = audio.shape;
  const hideFrames =
    hides.frames && declare(ops.input("hide.frames", [batch, upstream.frames(samples)], "bool"));
  const hideChannels =
    hides.channels && declare(ops.input("hide.channels", [batch, 1, upstream.hiddenSize], "bool"));
  const { features, valid } = hear(task, table, {
    audio,
    frames,
    training,
    hideFrames: hideFrames || undefined,
    hideChannels: hideChannels || undefined,
    declare,
  });
  const heard = dropout(features, settings.final_dropout, training);
  const terms = objectives.map((o) => {
    const scores = scoresOf(o, heard, valid, table, headTraining(seed, o.name));
    const loss = reduced(o, scores, { frames, valid, ...labelInputs(o, batch, declare) });
    return { name: o.name, loss, weight: declare(ops.input(`weight.${o.name}`, [])) };
  });
  return {
    table,
    traced: {
      loss: weightedSum(terms),
      outputs: Object.fromEntries(terms.map(({ name, loss }) => [`loss.${name}`, loss])),
      inputs,
    },
  };
}

/**
 * The evaluation pass: per objective `losses.NAME` [batch] and `scores.NAME`; nothing random. `hidden` are the upstream's
 * hidden states, for whoever wants them as outputs too.
 */
export function traceEvaluation(task: Task, objectives: readonly TaskObjective[], withLosses = true) {
  const table = new ParameterTable();
  const inputs: Tensor[] = [];
  const declare = (tensor: Tensor) => {
    inputs.push(tensor);
    return tensor;
  };
  const { audio, frames } = audioInputs(declare);
  const { features, valid, hidden } = hear(task, table, { audio, frames });
  const outputs: Record<string, Tensor> = {};
  for (const o of objectives) {
    const scores = scoresOf(o, features, valid, table);
    outputs[`scores.${o.name}`] = summarised(o, scores, valid);
    if (!withLosses) continue;
    const labels = labelInputs(o, audio.shape[0], declare);
    outputs[`losses.${o.name}`] = lossEach(o, scores, { frames, valid, ...labels });
  }
  return { table, outputs, inputs, hidden };
}

type Declare = (tensor: Tensor) => Tensor;

const audioInputs = (declare: Declare) => ({
  audio: declare(ops.input("audio", [symbol("batch"), symbol("samples")])),
  frames: declare(ops.input("frames", [symbol("batch")], "i32")),
});

interface Hearing {
  audio: Tensor;
  frames: Tensor;
  training?: Training;
  hideFrames?: Tensor;
  hideChannels?: Tensor;
  declare?: Declare;
}

/** The upstream's features as the heads read them. */
function hear(
  task: Task,
  table: ParameterTable,
  input: Hearing,
): { features: Tensor; valid: Tensor; hidden: readonly Tensor[] } {
  const { upstream, masked } = task.model;
  const { frames, declare, ...rest } = input;
  const { last, hidden } = upstream.forward(
    { ...rest, frames: masked ? frames : undefined, declare: declare && ((tensor) => void declare(tensor)) },
    table.at(upstream.prefix),
  );
  const features = task.layers === "weighted" ? weightedLayers(hidden, table) : last;
  return { features, valid: validFrames(frames, last.shape[1]), hidden };
}

/** What SpecAugment hides while training. */
export function hiding({ settings: s }: Model): { frames: boolean; channels: boolean } {
  return {
    frames: s.apply_spec_augment && s.mask_time_prob > 0,
    channels: s.apply_spec_augment && s.mask_feature_prob > 0,
  };
}

/** Random places of a head by its name: they stay the same whichever other objectives there are. */
function headTraining(seed: Tensor, name: string): Training {
  let place = 0;
  return { seed, nextSite: () => hash32("head", name, place++) | 0 };
}

function scoresOf(
  { spec, target, path }: TaskObjective,
  features: Tensor,
  valid: Tensor,
  table: ParameterTable,
  training?: Training,
): Tensor {
  const size = targetSize(target);
  return head({ features, valid, spec: spec.head, pool: spec.pool, size, training }, table.at(path));
}

interface Answers {
  frames: Tensor;
  valid: Tensor;
  labels: Tensor;
  targets?: Tensor;
}

function labelInputs(
  { name, target }: TaskObjective,
  batch: Tensor["shape"][number],
  declare: Declare,
): Pick<Answers, "labels" | "targets"> {
  const input = (key: string, shape: Tensor["shape"], dtype: "i32" | "f32") =>
    declare(ops.input(`${key}.${name}`, shape, dtype));
  if (target.kind === "number") return { labels: input("labels", [batch], "f32") };
  if (target.kind === "class") return { labels: input("labels", [batch], "i32") };
  return {
    labels: input("labels", [batch, symbol(`labels.${name}`)], "i32"),
    targets: input("targets", [batch], "i32"),
  };
}

/** The loss of each utterance [batch]: over its labels for CTC with mean reduction, over its frames where a head does not pool. */
function lossEach(o: TaskObjective, scores: Tensor, a: Answers): Tensor {
  const { spec, target } = o;
  if (target.kind === "sequence") {
    const losses = ops.ctcLoss(scores, a.labels, a.frames, a.targets!, ctcOptions(o));
    return spec.reduction === "sum" ? losses : ops.div(losses, ops.maximum(ops.cast(a.targets!, "f32"), 1));
  }
  const [batch] = scores.shape;
  if (target.kind === "class") {
    if (spec.pool === "mean") return crossEntropy(scores, a.labels);
    // A frame's loss is linear in its log-probabilities, so their mean has the mean loss.
    const [, classes] = [batch, scores.shape[2]];
    const chosen = ops.cast(ops.equal(ops.reshape(a.labels, [batch, 1]), ops.range(classes)), "f32");
    return ops.neg(ops.reduceSum(ops.mul(maskedMean(ops.logSoftmax(scores), a.valid), chosen), [1]));
  }
  const wanted = ops.reshape(a.labels, spec.pool === "mean" ? [batch, 1] : [batch, 1, 1]);
  const difference = ops.sub(scores, wanted);
  const each = spec.loss === "l1" ? ops.abs(difference) : ops.mul(difference, difference);
  return ops.reshape(spec.pool === "mean" ? each : maskedMean(each, a.valid), [batch]);
}

function reduced(o: TaskObjective, scores: Tensor, a: Answers): Tensor {
  const { target, spec } = o;
  if (target.kind === "sequence")
    return ctc(scores, a.labels, a.frames, a.targets!, { ...ctcOptions(o), reduction: spec.reduction });
  return ops.reduceMean(lossEach(o, scores, a), [0]);
}

const ctcOptions = ({ spec, target }: TaskObjective) => ({
  blank: target.kind === "sequence" ? target.vocabulary.blank : 0,
  zeroInfinity: spec.zeroInfinity,
});

/** Scores as evaluation reads them: [batch, frames, symbols], [batch, classes] (log-probabilities up to a constant) or [batch, 1]. */
function summarised({ target, spec }: TaskObjective, scores: Tensor, valid: Tensor): Tensor {
  if (target.kind === "sequence" || spec.pool === "mean") return scores;
  return maskedMean(target.kind === "class" ? ops.logSoftmax(scores) : scores, valid);
}
