import { crdnn, pooledValid } from "../nn/crdnn.ts";
import { dropout, type Training, trainingMode, validFrames } from "../nn/layers.ts";
import { batchMean, weightedSum } from "../nn/losses.ts";
import * as ops from "../ops/index.ts";
import { loraTransform } from "../params/lora.ts";
import { ParameterTable, type Transform } from "../params/params.ts";
import { hash32 } from "../random.ts";
import { symbol } from "../tensor/dims.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { UpstreamOutput } from "../upstreams/upstream.ts";
import { augmentFeatures, type SpecAugment } from "./feature-augment.ts";
import { weightedLayers } from "./heads.ts";
import { lossOf } from "./losses/index.ts";
import type { Pass, Term } from "./losses/kind.ts";
import type { Model } from "./model.ts";
import type { Traced } from "./program.ts";
import type { Objective } from "./recipe-schema.ts";
import type { Target } from "./targets.ts";

/** One loss of the weighted sum, with what it asks and the path of its head's parameters (empty: a checkpoint's own names). */
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
  /** What the heads' features go through in training. */
  readonly augment?: SpecAugment;
}

/** Whether an objective has a weight at any time; one that has none is no part of the model. */
export const everCounts = ({ weight }: Objective): boolean =>
  typeof weight === "number" ? weight > 0 : weight.some((point) => point.weight > 0);

/** The pre-training heads, by name, that objectives go on with from the recipe's pre-trained model. */
export const continuedHeads = (objectives: readonly Objective[]): string[] => [
  ...new Set(objectives.flatMap((o) => lossOf(o).continues?.(o) ?? [])),
];

/**
 * Heads by Hugging Face's name where it has one (`lm_head` of the first linear CTC head), or by fairseq's at the top
 * (HuBERT's head, of those objectives that go on from a model's own or else of the first with one of its form), else
 * `heads.NAME`.
 */
export function namePaths(
  objectives: readonly (readonly [string, Objective])[],
  { crdnn }: Pick<Model, "crdnn"> = {},
): Map<string, string> {
  // Behind further layers a head is none of a class that Hugging Face has.
  const linear = crdnn === undefined && objectives.find(([, o]) => o.loss === "ctc" && o.head === "linear");
  const lm = linear ? linear[0] : undefined;
  const units = objectives.filter(([, o]) => o.loss === "masked-prediction" && o.logits === "cosine");
  const continued = units.filter(([, o]) => continuedHeads([o]).length > 0);
  const top = (continued.length > 0 ? continued : units.slice(0, 1)).map(([name]) => name);
  const pathOf = (name: string) => (top.includes(name) ? "" : name === lm ? "lm_head" : `heads.${name}`);
  return new Map(objectives.map(([name]) => [name, pathOf(name)]));
}

export interface TrainingTrace {
  readonly table: ParameterTable;
  readonly traced: Traced;
}

/** Sizes of a training graph's symbolic axes; `labels` says how many labels an objective's longest sequence has. */
export function stepSizes(
  { model, objectives }: Task,
  batch: number,
  samples: number,
  labels: (objective: string) => number,
): Map<string, number> {
  const sizes = new Map([
    ["batch", batch],
    ["samples", samples],
  ]);
  for (const { name } of objectives) sizes.set(`labels.${name}`, labels(name));
  for (let i = 0; i < model.upstream.layers; i++) sizes.set(`keep.layers.${i}`, batch);
  return sizes;
}

/**
 * The training pass of some objectives: outputs `loss` (their weighted sum), `loss.NAME` and `measure.NAME.WHAT`. Inputs besides parameters:
 * `audio`, `frames`, `labels.NAME` (and what else a loss asks for), `weight.NAME`, `seed`, and where the
 * configuration has them `hide.frames`, `hide.channels`, `keep.layers.N`.
 */
export function traceTraining(task: Task, objectives: readonly TaskObjective[]): TrainingTrace {
  const { config, settings, upstream } = task.model;
  const table = tableOf(task.model);
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
  const {
    features,
    valid,
    upstream: heardBy,
  } = hear(task, table, {
    audio,
    frames,
    training,
    hideFrames: hideFrames || undefined,
    hideChannels: hideChannels || undefined,
    declare,
  });
  const changed = task.augment === undefined ? features : augmentFeatures(features, task.augment, declare);
  const heard = encode(
    task,
    table,
    dropout(changed, settings.final_dropout, training),
    { frames, valid },
    training,
  );
  const once = sharing();
  const hidden = hideFrames || undefined;
  const outputs: Record<string, Tensor> = {};
  const terms = objectives.map((o) => {
    const own = headTraining(seed, o.name);
    const pass = { ...heard, upstream: heardBy, hidden, training: own, once, config };
    const term = termOf(o, pass, table, declare);
    const loss = term.loss?.() ?? batchMean(term.each());
    outputs[`loss.${o.name}`] = loss;
    for (const [name, value] of Object.entries(term.measures ?? {}))
      outputs[`measure.${o.name}.${name}`] = value;
    return { name: o.name, loss, weight: declare(ops.input(`weight.${o.name}`, [])) };
  });
  return {
    table,
    traced: {
      loss: weightedSum(terms),
      outputs,
      inputs,
    },
  };
}

/**
 * The evaluation pass: per objective `losses.NAME` [batch] and `scores.NAME`; nothing random. Objectives that are judged
 * as they are trained hear audio with the frames of `hide.frames` hidden, where the configuration hides any. `hidden` and
 * `last` are the upstream's states (of whole audio), for whoever wants them as outputs too. Where `given`, those are its
 * inputs instead of `audio` and `frames`, and `transform` is what parameters are inside the graph.
 */
export function traceEvaluation(
  task: Task,
  objectives: readonly TaskObjective[],
  withLosses = true,
  given?: { readonly audio: Tensor; readonly frames: Tensor; readonly transform?: Transform },
) {
  const table = given?.transform ? new ParameterTable(given.transform) : tableOf(task.model);
  const inputs: Tensor[] = [];
  const declare = (tensor: Tensor) => {
    inputs.push(tensor);
    return tensor;
  };
  const { audio, frames } = given ?? audioInputs(declare);
  const { config, upstream } = task.model;
  const [batch, samples] = audio.shape;
  const masks = hiding(task.model).frames && objectives.some(({ spec }) => lossOf(spec).asTrained);
  const hide = masks
    ? declare(ops.input("hide.frames", [batch, upstream.frames(samples)], "bool"))
    : undefined;
  const whole = hear(task, table, { audio, frames });
  const partly = hide && hear(task, table, { audio, frames, hideFrames: hide });
  const once = sharing();
  const outputs: Record<string, Tensor> = {};
  for (const o of objectives) {
    const asTrained = lossOf(o.spec).asTrained === true && partly !== undefined;
    const { features, valid, upstream } = asTrained ? partly : whole;
    const hidden = asTrained ? hide : undefined;
    const heard = encode(task, table, features, { frames, valid });
    const term = termOf(o, { ...heard, upstream, hidden, once, config }, table, declare);
    outputs[`scores.${o.name}`] = term.scores;
    if (withLosses) outputs[`losses.${o.name}`] = term.each();
  }
  const { hidden, last } = whole.upstream;
  return { table, outputs, inputs, hidden, last };
}

/** Where a model's parameters are collected, and what the plan makes of them inside the graph. */
const tableOf = ({ lora }: Model): ParameterTable => new ParameterTable(lora && loraTransform(lora));

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
): { features: Tensor; valid: Tensor; upstream: UpstreamOutput } {
  const { upstream, masked } = task.model;
  const { frames, declare, ...rest } = input;
  const output = upstream.forward(
    { ...rest, frames: masked ? frames : undefined, declare: declare && ((tensor) => void declare(tensor)) },
    table.at(upstream.prefix),
  );
  const features = task.layers === "weighted" ? weightedLayers(output.hidden, table) : output.last;
  return { features, valid: validFrames(frames, output.last.shape[1]), upstream: output };
}

/** What the heads hear: the features themselves, or what the recipe's CRDNN makes of them. */
function encode(
  { model: { crdnn: config } }: Task,
  table: ParameterTable,
  features: Tensor,
  { frames, valid }: { frames: Tensor; valid: Tensor },
  training?: Training,
): Pick<Pass, "features" | "frames" | "valid"> {
  if (config === undefined) return { features, frames, valid };
  const { timePooling: by } = config;
  return {
    features: crdnn(features, valid, config, table.at("crdnn"), training),
    frames: ops.div(frames, ops.constant([1], [by], "i32")),
    valid: pooledValid(valid, by),
  };
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

/** An objective's loss in a graph, its inputs declared and its head's parameters at its path. */
function termOf(
  o: TaskObjective,
  pass: Omit<Pass, "head" | "root" | "input">,
  table: ParameterTable,
  declare: Declare,
): Term {
  const known = new Map<string, Tensor>();
  const input: Pass["input"] = (key, shape, dtype) => {
    const tensor = known.get(key) ?? declare(ops.input(`${key}.${o.name}`, shape, dtype));
    known.set(key, tensor);
    return tensor;
  };
  return lossOf(o.spec).term(o, {
    ...pass,
    head: o.path === "" ? table : table.at(o.path),
    root: table,
    input,
  });
}

/** `Pass.once` of one pass. */
function sharing(): Pass["once"] {
  const made = new Map<string, unknown>();
  return <T>(key: string, make: () => T): T => {
    if (!made.has(key)) made.set(key, make());
    return made.get(key) as T;
  };
}
