import { lengthBuckets } from "../corpus/batches.ts";
import { random } from "../random.ts";
import { compile } from "../runtime/cpu.ts";
import type { Program, ProgramOptions, Value } from "../runtime/program.ts";
import type { Part, Stream } from "./data.ts";
import { batchFeeds, frameTimes, heldMaskFeeds } from "./feeds.ts";
import { lossOf } from "./losses/index.ts";
import type {
  Answer,
  AnswerReader,
  Decoder,
  Encoded,
  FrameTimes,
  ReadingOptions,
  Row,
} from "./losses/kind.ts";
import { headWidth } from "./model.ts";
import { evaluationGraph } from "./program.ts";
import type { ParameterStore } from "./store.ts";
import { type Task, type TaskObjective, traceEvaluation } from "./task.ts";

/** One utterance as the model heard it. */
export interface Prediction {
  readonly stream: string;
  readonly part: Part;
  /** Index in the stream's items. */
  readonly index: number;
  readonly answers: Readonly<Record<string, Answer>>;
  readonly losses: Readonly<Record<string, number>>;
}

export interface Evaluation {
  /** `OBJECTIVE.loss` and the objective's metrics, over all utterances. */
  readonly metrics: Readonly<Record<string, number>>;
  /** How many symbols each CTC head wrote. */
  readonly symbols: Readonly<Record<string, number>>;
  readonly predictions: readonly Prediction[];
}

export interface EvaluatorOptions extends ProgramOptions {
  /** Utterances at once. */
  readonly batch: number;
  /** How symbols are found, by objective; the likeliest of each frame by default. */
  readonly decoders?: ReadonlyMap<string, Decoder>;
  /** How heads that write symbol by symbol are read. */
  readonly reading?: Omit<ReadingOptions, "threads">;
}

/** Forward passes over a part of a corpus. The program is compiled once per stream and kept. */
export class Evaluator {
  private readonly task: Task;
  private readonly store: Pick<ParameterStore, "values">;
  private readonly options: EvaluatorOptions;
  private readonly programs = new Map<string, Program>();
  private readonly readers = new Map<string, Promise<AnswerReader> | undefined>();

  constructor(task: Task, store: Pick<ParameterStore, "values">, options: EvaluatorOptions) {
    this.task = task;
    this.store = store;
    this.options = options;
  }

  /** Evaluates one part of every stream; undefined where it has no utterance anywhere. */
  async evaluate(
    streams: readonly Stream[],
    part: Part,
    onBatch: (done: number, total: number) => void = () => {},
  ): Promise<Evaluation | undefined> {
    const total = streams.reduce((sum, stream) => sum + stream.parts[part].length, 0);
    if (total === 0) return undefined;
    const predictions: Prediction[] = [];
    for (const stream of streams) {
      const objectives = this.task.objectives.filter((o) => o.spec.stream === stream.name);
      if (objectives.length === 0) continue;
      const program = await this.program(stream, objectives);
      const indices = stream.parts[part];
      // Neighbours in length share a batch, so that little of it is padding; the order is the same every time.
      const batches = lengthBuckets(
        indices.map((i) => stream.items[i].samples),
        { batchSize: this.options.batch, shuffle: false },
      ).map((places) => places.map((place) => indices[place]));
      for await (const batch of stream.loader.batches(batches)) {
        const { model } = this.task;
        // By the utterance's name alone: evaluations while training, afterwards and of another seed see the same frames.
        const draw = (row: number, ...purpose: string[]) =>
          random("evaluation", stream.items[batch.indices[row]].utterance.id, ...purpose);
        const drawn = objectives.some(({ spec }) => lossOf(spec).asTrained)
          ? heldMaskFeeds(model, batch.waves, draw)
          : {};
        const results = await program.run({
          ...this.store.values,
          ...batchFeeds(stream, model, batch, objectives, drawn, { draw }),
        });
        for (const [row, index] of batch.indices.entries())
          predictions.push(await this.predictionOf(stream, part, index, row, objectives, results));
        onBatch(predictions.length, total);
      }
    }
    const order = (p: Prediction) => streams.findIndex(({ name }) => name === p.stream) * 2 ** 32 + p.index;
    predictions.sort((a, b) => order(a) - order(b));
    return { predictions, ...summary(this.task.objectives, predictions) };
  }

  /** One utterance of a batch as an answer of each objective. */
  private async predictionOf(
    stream: Stream,
    part: Part,
    index: number,
    row: number,
    objectives: readonly TaskObjective[],
    results: Record<string, Value>,
  ): Promise<Prediction> {
    const item = stream.items[index];
    const answers: Record<string, Answer> = {};
    const losses: Record<string, number> = {};
    const times = frameTimes(this.task.model, item.samples);
    for (const o of objectives) {
      losses[o.name] = (results[`losses.${o.name}`].data as Float32Array)[row];
      const decode = this.options.decoders?.get(o.name);
      const each = rowOf(results[`scores.${o.name}`], row, times, item.targets[o.name], decode);
      const reader = await this.reader(o);
      answers[o.name] =
        reader === undefined ? lossOf(o.spec).answer(o.target, each) : await reader.read(each);
    }
    return { stream: stream.name, part, index, answers, losses };
  }

  /** What reads an objective's scores, where its loss has programs for that. */
  private reader(o: TaskObjective): Promise<AnswerReader> | undefined {
    if (!this.readers.has(o.name)) {
      const { reading, threads } = this.options;
      const asked = { ...o, width: headWidth(this.task.model) };
      this.readers.set(o.name, lossOf(o.spec).open?.(asked, this.store.values, { ...reading, threads }));
    }
    return this.readers.get(o.name);
  }

  private async program(stream: Stream, objectives: readonly TaskObjective[]): Promise<Program> {
    let program = this.programs.get(stream.name);
    if (program === undefined) {
      const { table, outputs, inputs } = traceEvaluation(this.task, objectives);
      program = await compile(evaluationGraph(table, outputs, inputs), this.options);
      this.programs.set(stream.name, program);
    }
    return program;
  }

  async dispose(): Promise<void> {
    for (const program of this.programs.values()) await program.dispose();
    for (const reader of this.readers.values()) await (await reader)?.dispose();
    this.programs.clear();
    this.readers.clear();
  }
}

/** One row of a head's scores as an answer. */
export const answerOf = (
  { spec, target }: TaskObjective,
  scores: Value,
  row: number,
  times: FrameTimes,
  truth: Encoded,
): Answer => lossOf(spec).answer(target, rowOf(scores, row, times, truth));

function rowOf(
  { shape, data }: Value,
  row: number,
  times: FrameTimes,
  truth: Encoded,
  decode?: Decoder,
): Row {
  const width = shape.slice(1).reduce((a, b) => a * b, 1);
  const scores = (data as Float32Array).subarray(row * width, (row + 1) * width);
  return { scores, shape, frames: times.frames, times, truth, decode };
}

function summary(
  objectives: readonly TaskObjective[],
  predictions: readonly Prediction[],
): Pick<Evaluation, "metrics" | "symbols"> {
  const metrics: Record<string, number> = {};
  const symbols: Record<string, number> = {};
  for (const { name, spec, target } of objectives) {
    const of = predictions.filter(({ answers }) => name in answers);
    if (of.length === 0) continue;
    const answers = of.map((prediction) => prediction.answers[name]);
    // A loss of frames is a mean over all of them, any other over utterances.
    const shares = answers.map((a) => (a.kind === "frames" ? a.frames : 1));
    const sum = of.reduce((total, { losses }, i) => total + shares[i] * losses[name], 0);
    metrics[`${name}.loss`] =
      sum /
      Math.max(
        1,
        shares.reduce((a, b) => a + b, 0),
      );
    for (const [metric, value] of Object.entries(lossOf(spec).score(target, answers)))
      metrics[`${name}.${metric}`] = value;
    if (target.kind === "sequence")
      symbols[name] = answers.reduce((n, a) => n + (a.kind === "sequence" ? a.heard.length : 0), 0);
  }
  return { metrics, symbols };
}
