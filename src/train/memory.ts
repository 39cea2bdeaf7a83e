import { Vocabulary } from "../corpus/vocab.ts";
import { constant } from "../ops/index.ts";
import { optimise } from "../tensor/compile.ts";
import { sizeOf } from "../tensor/evaluate.ts";
import { peakBytes } from "../tensor/memory.ts";
import { fitsName } from "./groups.ts";
import { ctc } from "./losses/ctc.ts";
import type { Model } from "./model.ts";
import { gradientName, trainingGraph } from "./program.ts";
import { recomputed } from "./stepper.ts";
import { stepSizes, type Task, traceTraining } from "./task.ts";

/** A training step whose memory is asked for. */
export interface StepPlan {
  /** Leading parts of names inside the upstream that do not train; `["*"]` freezes it whole. */
  readonly freeze: readonly string[];
  readonly recompute: "none" | "all";
  readonly batch: number;
  readonly seconds: number;
  /** Floats that the optimiser keeps for each parameter: 2 for Adam. */
  readonly states: number;
}

/** Bytes of each part, and all together. */
export interface StepMemory {
  readonly weights: number;
  readonly gradients: number;
  readonly states: number;
  /** Values between nodes at the worst moment. */
  readonly activations: number;
  /** The process itself, runtime and graph included. */
  readonly process: number;
  readonly total: number;
  readonly trainedParameters: number;
}

/** Bytes of the process beside all that: Node.js, the runtime's code and its session. Measured: docs/performance.md. */
const PROCESS = 190e6;

/** Symbols of the CTC head that stands for a task; and labels a second. */
const SYMBOLS = 32;
export const LABELS_PER_SECOND = 12;

/** A model with a CTC head: the task whose step is measured and predicted. */
export function ctcTask(model: Model): Task {
  const spec = ctc.schema.parse({ loss: "ctc", target: "characters", zeroInfinity: true });
  const symbols = Array.from({ length: SYMBOLS - 1 }, (_, i) => String.fromCharCode(97 + i));
  const options = {
    unit: "characters",
    blank: 0,
    unknown: false,
    letterCase: "keep",
    dropStress: false,
  } as const;
  const vocabulary = new Vocabulary(["<pad>", ...symbols], options);
  return {
    model,
    layers: "last",
    objectives: [{ name: "ctc", spec, target: { kind: "sequence", vocabulary }, path: "lm_head" }],
  };
}

/** Which parameters of a task train under a plan. */
export function trainedBy({ model }: Task, { freeze }: StepPlan): (name: string) => boolean {
  const prefix = `${model.upstream.prefix}.`;
  return (name) =>
    !name.startsWith(prefix) || !freeze.some((match) => fitsName(match, name.slice(prefix.length)));
}

/** What a training step of a task takes at its worst moment. Fitted to measured steps: docs/performance.md. */
export function stepMemory(task: Task, plan: StepPlan): StepMemory {
  const { table, traced } = traceTraining(task, task.objectives);
  const trained = trainedBy(task, plan);
  const graph = trainingGraph(table, traced, {
    trained,
    recompute: plan.recompute === "none" ? undefined : ({ name }) => recomputed(name, "all"),
  });
  const count = (keep: (name: string) => boolean) =>
    [...table.specs.values()].reduce((sum, { name, shape }) => sum + (keep(name) ? sizeOf(shape) : 0), 0);
  const labels = Math.ceil(LABELS_PER_SECOND * plan.seconds);
  const samples = Math.round(plan.seconds * task.model.upstream.sampleRate);
  const sizes = stepSizes(task, plan.batch, samples, () => labels);
  const ready = optimise(graph, constant);
  const inPlace = new Set([...table.specs.keys()].map(gradientName));
  const trainedParameters = count(trained);
  const weights = 4 * count(() => true);
  const gradients = 4 * trainedParameters;
  const states = 4 * plan.states * trainedParameters;
  const activations = peakBytes(ready, sizes, inPlace);
  const process = PROCESS;
  const total = weights + gradients + states + activations + process;
  return { weights, gradients, states, activations, process, total, trainedParameters };
}
