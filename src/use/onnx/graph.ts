import { UserError } from "../../errors.ts";
import * as ops from "../../ops/index.ts";
import { maskedByInputs } from "../../params/mask-inputs.ts";
import type { Transform } from "../../params/params.ts";
import { optimise } from "../../tensor/compile.ts";
import { addDim, computeDim, type Dim, type Shape, symbol } from "../../tensor/dims.ts";
import type { Graph } from "../../tensor/graph.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { lossOf } from "../../train/losses/index.ts";
import type { OpenedModel } from "../../train/open-model.ts";
import { type Task, type TaskObjective, traceEvaluation } from "../../train/task.ts";
import { type Folded, foldParameters } from "./fold.ts";

/** Hugging Face's names. */
export const AUDIO = "input_values";
export const MASK = "attention_mask";
export const LOGITS = "logits";
export const LAST = "last_hidden_state";

/** An output of an exported model. */
export interface ExportedOutput {
  readonly name: string;
  /** The objective whose scores it holds; absent where it is the upstream's last hidden state. */
  readonly objective?: TaskObjective;
}

export interface ExportedGraph extends Folded {
  readonly outputs: readonly ExportedOutput[];
  /** Graph inputs that differ between tasks: masks, and parameters of a task's own. */
  readonly routed?: { readonly masks: readonly Tensor[]; readonly own: readonly Tensor[] };
  /** Samples of every recording, where the sizes are fixed. */
  readonly samples?: number;
}

/** What of a model differs between tasks and is given while it runs: masks of some parameters, others whole. */
export interface Routing {
  readonly masked: ReadonlySet<string>;
  /** With sizes that may differ left open. */
  readonly own: ReadonlyMap<string, Shape>;
}

/**
 * The evaluation pass as others run it: `input_values` [batch, samples], prepared as the model wants its audio, to the heads'
 * scores, with the parameters folded. All recordings of a batch are equally long; where `samples` fixes their number, the batch
 * is one, and `attention_mask` i64 [1, samples] tells with ones where the recording ends. Under a `routing`, masks (`NAME.mask`, bool)
 * and own parameters (`NAME`) are inputs behind these.
 * @throws UserError where so few samples make no frame
 */
export async function exportedGraph(
  model: { readonly task: Task; readonly store: Pick<OpenedModel["store"], "values"> },
  samples?: number,
  routing?: Routing,
): Promise<ExportedGraph> {
  const { upstream } = model.task.model;
  if (samples !== undefined && (upstream.frames(samples) as number) < 1)
    throw new UserError(`--fixed-length: ${samples} samples are too few for a single frame of the model`);
  const batch = samples === undefined ? symbol("batch") : 1;
  const audio = ops.input(AUDIO, [batch, samples ?? symbol("samples")]);
  const mask = samples === undefined ? undefined : ops.input(MASK, [batch, samples], "i64");
  const frames =
    mask === undefined
      ? ops.expand(countOf(upstream.frames(audio.shape[1])), [batch])
      : framesOf(mask, (size) => upstream.frames(size));
  // Without padding there is nothing to hide, but DeCoAR 2.0's statistics depend on how its frames are counted.
  const hides = mask !== undefined || upstream.modelType === "decoar2";
  const task: Task = {
    ...model.task,
    model: { ...model.task.model, masked: hides && model.task.model.masked },
  };
  const objectives = exportable(task);
  const masks: Tensor[] = [];
  const own: Tensor[] = [];
  const transform = routing && routed(routing, masks, own);
  const traced = traceEvaluation(task, objectives, false, { audio, frames, transform });
  const outputs = outputsOf(objectives);
  const tensors = outputs.map(({ name, objective }) => ({
    name,
    tensor: objective === undefined ? traced.last : traced.outputs[`scores.${objective.name}`],
  }));
  const parameters = [...traced.table.inputs]
    .filter(([name]) => !routing?.own.has(name))
    .map(([name, tensor]) => ({ name, tensor }));
  const given = [audio, ...(mask ? [mask] : []), ...masks, ...own].map(named);
  const graph: Graph = { inputs: [...given, ...parameters], outputs: tensors, late: [] };
  const folded = await foldParameters(optimise(graph, ops.constant), model.store.values);
  return { ...folded, outputs, samples, ...(routing && { routed: { masks, own } }) };
}

/**
 * The heads that are read off one pass: those of pre-training ask for labels of the audio, and a decoder that writes symbol by
 * symbol is no part of it. @throws UserError where there are only such decoders
 */
export function exportable({ objectives }: Task): TaskObjective[] {
  const found = objectives.filter(({ spec }) => !lossOf(spec).asTrained && lossOf(spec).open === undefined);
  if (found.length === 0 && objectives.some(({ spec }) => lossOf(spec).open !== undefined))
    throw new UserError("the model writes symbol by symbol: its decoder is no ONNX graph of one pass");
  return found;
}

/** The name of a graph input. */
export const inputName = ({ node }: Tensor): string => (node.attrs as { name: string }).name;
const named = (tensor: Tensor) => ({ name: inputName(tensor), tensor });

/** Masks what is masked, and replaces what is a task's own by an input of open size. */
function routed({ masked, own: shapes }: Routing, masks: Tensor[], own: Tensor[]): Transform {
  const mask = maskedByInputs(
    (name) => masked.has(name),
    (input) => masks.push(input),
  );
  return (raw, spec, params) => {
    const shape = shapes.get(spec.name);
    if (shape === undefined) return mask(raw, spec, params);
    const replaced = ops.input(spec.name, shape);
    own.push(replaced);
    return replaced;
  };
}

/** A size as a value, i32 [1]. */
const countOf = (size: Dim): Tensor => ops.add(ops.slice(ops.range(size), 0, addDim(size, -1), size), 1);

/** Valid frames i32 [batch] from a mask of samples. */
function framesOf(mask: Tensor, frames: (samples: Dim) => Dim): Tensor {
  const lengths = ops.cast(ops.reduceSum(ops.cast(mask, "f32"), [1]), "i32");
  const whole = (value: number) => ops.constant([1], [value], "i32");
  return computeDim<Tensor>(frames(symbol("n")), {
    constant: whole,
    symbol: () => lengths,
    add: ops.add,
    mul: ops.mul,
    floorDiv: (a, by) => ops.div(a, whole(by)),
  });
}

/** The CTC head (else the first head) is called `logits`, as everybody expects; others by their objectives. */
function outputsOf(objectives: readonly TaskObjective[]): ExportedOutput[] {
  if (objectives.length === 0) return [{ name: LAST }];
  const main = objectives.find(({ path }) => path === "lm_head") ?? objectives[0];
  const taken = [AUDIO, MASK, LOGITS];
  return [main, ...objectives.filter((o) => o !== main)].map((objective) => {
    const { name } = objective;
    const own = taken.includes(name) ? `scores.${name}` : name;
    return { name: objective === main ? LOGITS : own, objective };
  });
}
