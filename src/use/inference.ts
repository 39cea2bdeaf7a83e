import { availableParallelism } from "node:os";
import { readAudio } from "../audio/file.ts";
import { normalizeSamples } from "../corpus/load-audio.ts";
import { UserError } from "../errors.ts";
import * as ops from "../ops/index.ts";
import { compile } from "../runtime/cpu.ts";
import { f32, i32, type Program, type Value } from "../runtime/program.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { locateModel } from "../train/locate.ts";
import { lossOf } from "../train/losses/index.ts";
import { headFrames, headHop } from "../train/model.ts";
import { type OpenedModel, openModel } from "../train/open-model.ts";
import { evaluationGraph } from "../train/program.ts";
import { type TaskObjective, traceEvaluation } from "../train/task.ts";

/**
 * Which hidden states of the upstream to return: all, their mean, one, counted from the transformer's input as 0, or the last
 * as the heads read it (of a pre-norm encoder, behind its final norm).
 */
export type Layers = "all" | "mean" | "last" | number;

export interface InferenceOptions {
  /** Threads of the runtime; default all cores. */
  readonly threads?: number;
  /** The heads to compute, by objective; default all. */
  readonly heads?: readonly string[];
  /** Hidden states to return besides; default none, or the last where no head is computed. */
  readonly layers?: Layers;
  /** Told where something is not as asked for but work goes on (a cached copy for want of network). */
  readonly log?: (line: string) => void;
}

/** What a model makes of one recording. */
export interface Heard {
  /** Frames of the recording. */
  readonly frames: number;
  /** By objective: [1, frames, symbols], [1, classes] (log-probabilities up to a constant) or [1, 1]. */
  readonly scores: Readonly<Record<string, Value>>;
  /** The hidden states that were asked for, each [1, frames, dim]. */
  readonly hidden: readonly Value[];
}

/**
 * The evaluation pass of a model, compiled for recordings one at a time and of any length: what every command that uses a
 * trained model runs. Dispose it when done.
 */
export class Inference {
  readonly model: OpenedModel;
  /** The heads that are computed. */
  readonly objectives: readonly TaskObjective[];
  /** How many hidden states `hear` returns as layers: of all of them; 0 where it returns one or none. */
  readonly layers: number;
  private readonly program: Program;

  private constructor(
    model: OpenedModel,
    objectives: readonly TaskObjective[],
    layers: number,
    program: Program,
  ) {
    this.model = model;
    this.objectives = objectives;
    this.layers = layers;
    this.program = program;
  }

  /** Opens a model by any name that `locateModel` takes. @throws UserError naming what does not fit */
  static async open(name: string, options: InferenceOptions = {}): Promise<Inference> {
    const { path } = await locateModel(name, options.log ?? (() => {}));
    return Inference.of(openModel(path), options);
  }

  static async of(model: OpenedModel, options: InferenceOptions = {}): Promise<Inference> {
    const { task, recipe } = model;
    const objectives = task.objectives.filter(
      // A head of pre-training asks for the audio's own labels: it has nothing to say about a recording.
      // One that writes symbol by symbol is not read off the scores of frames.
      ({ name, spec }) =>
        (options.heads?.includes(name) ?? true) && !lossOf(spec).asTrained && lossOf(spec).open === undefined,
    );
    const { table, outputs, inputs, hidden, last } = traceEvaluation(task, objectives, false);
    const layers = options.layers ?? (objectives.length === 0 ? "last" : undefined);
    const states = statesOf(model, { hidden, last }, layers);
    for (const [i, state] of states.entries()) outputs[`hidden.${i}`] = state;
    const threads = options.threads ?? (recipe?.threads || availableParallelism());
    const program = await compile(evaluationGraph(table, outputs, inputs), { threads });
    return new Inference(model, objectives, options.layers === "all" ? states.length : 0, program);
  }

  /** Hz of the samples that `hear` takes. */
  get sampleRate(): number {
    return this.model.audio.sampleRate;
  }

  /** Frames that the heads (or the upstream, where none is computed) hear of so many samples; below 1, there is nothing to hear. */
  frames(samples: number): number {
    const { model } = this.model.task;
    return (
      this.objectives.length > 0 ? headFrames(model, samples) : model.upstream.frames(samples)
    ) as number;
  }

  /** Samples between the beginnings of two frames. */
  get hop(): number {
    const { model } = this.model.task;
    return this.objectives.length > 0 ? headHop(model) : model.upstream.hop;
  }

  /**
   * Reads and resamples a file, or a part of it (seconds).
   * @throws UserError that names it, also where it is too short for a frame
   */
  async read(path: string, part: { start?: number; end?: number } = {}): Promise<Float32Array> {
    const segment = { startSeconds: part.start, endSeconds: part.end };
    const { samples } = await readAudio(path, { ...segment, sampleRate: this.sampleRate });
    if (this.frames(samples.length) < 1)
      throw new UserError(
        `${path}: ${(samples.length / this.sampleRate).toFixed(3)} s is too short for a single frame of the model`,
      );
    return samples;
  }

  /**
   * Runs the model on a mono recording at its own rate [samples], full scale 1. `prepared` samples are taken as they are;
   * others are normalised where the model wants that.
   */
  async hear(samples: Float32Array, prepared = false): Promise<Heard> {
    const frames = this.frames(samples.length);
    if (frames < 1)
      throw new UserError(`${samples.length} samples are too few for a single frame of the model`);
    const audio = this.model.audio.normalize && !prepared ? normalizeSamples(samples) : samples;
    const results = await this.program.run({
      ...this.model.store.values,
      audio: f32([1, audio.length], audio),
      frames: i32([1], [this.model.task.model.upstream.frames(audio.length) as number]),
    });
    const scores = Object.fromEntries(
      this.objectives.map(({ name }) => [name, results[`scores.${name}`]] as const),
    );
    const hidden = Object.keys(results)
      .filter((name) => name.startsWith("hidden."))
      .map((_, i) => results[`hidden.${i}`]);
    return { frames, scores, hidden };
  }

  dispose(): Promise<void> {
    return this.program.dispose();
  }
}

function statesOf(
  { path }: OpenedModel,
  { hidden, last }: { hidden: readonly Tensor[]; last: Tensor },
  layers: Layers | undefined,
): readonly Tensor[] {
  if (layers === undefined) return [];
  if (layers === "all") return hidden;
  if (layers === "last") return [last];
  if (layers === "mean")
    return [
      ops.mul(
        hidden.reduce((a, b) => ops.add(a, b)),
        1 / hidden.length,
      ),
    ];
  if (!(layers in hidden))
    throw new UserError(
      `${path}: has the hidden states 0 to ${hidden.length - 1} (0 is what the transformer is given), not ${layers}`,
    );
  return [hidden[layers]];
}
