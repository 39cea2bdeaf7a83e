import type { z } from "zod";
import type { Utterance } from "../../corpus/manifest.ts";
import { UserError } from "../../errors.ts";
import type { Training } from "../../nn/layers.ts";
import * as ops from "../../ops/index.ts";
import type { Params } from "../../params/params.ts";
import type { Random } from "../../random.ts";
import type { Value } from "../../runtime/program.ts";
import type { Shape } from "../../tensor/dims.ts";
import type { DType, Tensor } from "../../tensor/tensor.ts";
import type { UpstreamOutput } from "../../upstreams/upstream.ts";
import type { WeightedLanguageModel } from "../recurrent-lm.ts";
import type { corpus } from "../schema-data.ts";
import type { Signals } from "../signals.ts";
import type { Target } from "../targets.ts";

/** Graph inputs by name. */
export type Feeds = Record<string, Value>;

/** What a head made of one utterance, in the words of its target. */
export type Answer =
  | { kind: "class"; truth: string; predicted: string; probabilities: Record<string, number> }
  | { kind: "sequence"; expected: string[]; heard: string[]; text: { expected: string; heard: string } }
  | { kind: "number"; truth: number; predicted: number }
  /** What frames add up to: how many count, sums over them, and how often each code was named. */
  | { kind: "frames"; frames: number; sums: Record<string, number>; counts?: readonly number[] };

/** Where the frames of an utterance lie in it. */
export interface FrameTimes {
  readonly frames: number;
  /** Seconds from the utterance's start to the middle of what a frame hears. */
  middle(frame: number): number;
}

/** Where a target's symbols or classes are read off. */
export interface TargetSource {
  /** The training part. */
  readonly utterances: readonly Utterance[];
  readonly corpus: z.output<typeof corpus>;
  /** The upstream's configuration. */
  readonly config: Readonly<Record<string, unknown>>;
}

/** The recordings of a stream, for losses whose targets the audio itself gives. */
export interface StreamAudio {
  readonly sampleRate: number;
  /** Samples between the model's frames. */
  readonly hop: number;
  /** Indices of the training part. */
  readonly train: readonly number[];
  /** The pre-trained model of the recipe, where it has one. */
  readonly model: string | undefined;
  /** Signals of recordings as they are: level and all, not normalised. */
  readonly signals: Signals;
  /** Frames that the model makes of an utterance. */
  frames(index: number): number;
  /** Samples as the model hears them. */
  wave(index: number): Promise<Float32Array>;
  /** Every utterance of the parts in use, with progress. */
  every(what: string): AsyncIterable<number>;
  log(line: string): void;
}

/** One batch, as the graph inputs of a loss find it. */
export interface BatchFacts {
  /** Frames of each utterance, and of the longest. */
  readonly frames: readonly number[];
  readonly width: number;
  /** Where each utterance's frames lie in it. */
  readonly times: readonly FrameTimes[];
  /** [batch, width], 1 where a frame is hidden from the model; absent where none are. */
  readonly hidden?: Uint8Array;
  /** Updates done; absent in evaluation. */
  readonly step?: number;
  /** What is random of one of its utterances, for a purpose: of the step in training, of its id in evaluation. */
  draw(row: number, ...purpose: string[]): Random;
}

/** What the model made of a batch, as the losses of one graph find it. */
export interface Pass {
  /** Valid frames of each utterance, i32 [batch], and the same as bool [batch, frames]. */
  readonly frames: Tensor;
  readonly valid: Tensor;
  /** What the recipe's heads read: the last hidden state or the weighted sum of all, [batch, frames, dim]. */
  readonly features: Tensor;
  readonly upstream: UpstreamOutput;
  /** Frames that are hidden from the model, bool [batch, frames]; absent where none are. */
  readonly hidden?: Tensor;
  /** Parameters of the objective's own head; all parameters where its names are a checkpoint's own. */
  readonly head: Params;
  /** The upstream's configuration. */
  readonly config: Readonly<Record<string, unknown>>;
  /** All parameters: for heads with a name in checkpoints of their own. */
  readonly root: Params;
  /** Absent in evaluation; its random places are the objective's own. */
  readonly training?: Training;
  /** The graph input `<key>.<objective>`. */
  input(key: string, shape: Shape, dtype: DType): Tensor;
  /** What several objectives of a pass share is made by the first that asks. */
  once<T>(key: string, make: () => T): T;
}

/** A loss inside the graph. What needs labels is made only where it is asked for: use without labels is possible. */
export interface Term {
  /** What evaluation reads, [batch, ...]. */
  readonly scores: Tensor;
  /** The loss of each utterance, [batch]. */
  each(): Tensor;
  /** The scalar that is minimised; the mean of `each` where absent. */
  loss?(): Tensor;
  /** Scalars of a training step worth logging. */
  readonly measures?: Readonly<Record<string, Tensor>>;
}

/** An objective as its loss kind sees it. */
export interface Asked<S, T extends Target> {
  readonly name: string;
  readonly spec: S;
  readonly target: T;
}

/** An utterance's target as numbers. */
export type Encoded = readonly number[] | Float32Array;

/** One row of a head's scores, with what it is compared to. */
export interface Row {
  readonly scores: Float32Array;
  /** Of all scores, the batch's included. */
  readonly shape: readonly number[];
  readonly frames: number;
  readonly times: FrameTimes;
  readonly truth: Encoded;
  /** How symbols are found in a CTC head's scores; the likeliest of each frame by default. */
  readonly decode?: Decoder;
}

/** How heads that write symbol by symbol are read. */
export interface ReadingOptions {
  readonly threads?: number;
  /** Sequences that are followed at once, instead of the recipe's. */
  readonly beam?: number;
  /** A recurrent language model over the same symbols, in shallow fusion. */
  readonly languageModel?: WeightedLanguageModel;
}

/** Makes answers of rows where that takes programs of its own. */
export interface AnswerReader {
  read(row: Row): Promise<Answer>;
  dispose(): Promise<void>;
}

/** From logits [frames, vocabulary] to symbols: beam search with a language model, say. */
export type Decoder = (logits: Float32Array, frames: number, vocabulary: number) => readonly number[];

/**
 * A loss: everything about it in one object, as with operations. The registry holds kinds of narrower specifications
 * than it says, which methods' parameters allow: each is only ever given its own.
 */
export interface LossKind<Schema extends z.ZodObject = z.ZodObject, T extends Target = Target> {
  /** Its recipe keys, `loss: <name>` first. */
  readonly schema: Schema;
  /** Names of its metrics besides `loss`. */
  metrics(spec: z.output<Schema>): readonly string[];
  /** What it asks of utterances. @throws UserError naming the utterance that lacks it */
  target(spec: z.output<Schema>, source: TargetSource): T;
  /** An utterance's target as numbers. @throws UserError naming the utterance */
  encode(target: T, utterance: Utterance): number[];
  /** Whether an utterance must have a frame for each of its targets. */
  aligned?(spec: z.output<Schema>): boolean;
  /**
   * Frame targets that the audio gives, by utterance, fitting what the target still needs (clusters, means) to the
   * training part.
   */
  derive?(
    asked: Asked<z.output<Schema>, T>,
    audio: StreamAudio,
  ): Promise<{ target: T; values: ReadonlyMap<number, Float32Array> }>;
  /**
   * The pre-training heads, by Hugging Face's names, that go on from those of the recipe's pre-trained model; a model that
   * lacks them is refused.
   */
  continues?(spec: z.output<Schema>): readonly string[];
  /** Whether it is judged on what the model hears in training: with frames hidden, where the recipe hides any. */
  readonly asTrained?: boolean;
  /** The graph inputs `labels.<name>` and further ones for the targets of a batch. */
  feeds(asked: Asked<z.output<Schema>, T>, rows: readonly Encoded[], facts: BatchFacts): Feeds;
  /** What the losses of several batches are averaged over; or they are added. */
  over(spec: z.output<Schema>): "sum" | "utterances" | "frames" | "masked";
  term(asked: Asked<z.output<Schema>, T>, pass: Pass): Term;
  answer(target: T, row: Row): Answer;
  /** A reader that is asked instead of `answer`, with programs of its own. Its
   * parameters begin with `path`, and it hears frames of `width`. `parameters` are those of its head, by their whole names; they may change between reads. */
  open?(
    asked: Asked<z.output<Schema>, T> & { readonly path: string; readonly width: number },
    parameters: Readonly<Record<string, Value>>,
    options: ReadingOptions,
  ): Promise<AnswerReader>;
  /** Metrics over a part's answers: those that `metrics` names. */
  score(target: T, answers: readonly Answer[]): Record<string, number>;
}

/** Answers of one kind. */
export function answersOf<K extends Answer["kind"]>(
  kind: K,
  answers: readonly Answer[],
): Extract<Answer, { kind: K }>[] {
  return answers.filter((a): a is Extract<Answer, { kind: K }> => a.kind === kind);
}

/** Values of each frame of a batch, [batch, width, size], zeros where an utterance has no frame. */
export function padFrames(rows: readonly Encoded[], width: number, size: number): Float32Array {
  const out = new Float32Array(rows.length * width * size);
  for (const [b, row] of rows.entries()) out.set(row.slice(0, width * size), b * width * size);
  return out;
}

/** The mean of per-utterance means [batch] over all their frames, as counted by `counts` [batch]. */
export const frameMean = (means: Tensor, counts: Tensor): Tensor =>
  ops.div(ops.reduceSum(ops.mul(means, counts), [0]), ops.maximum(ops.reduceSum(counts, [0]), 1));

/** Vectors of the last axis brought to length 1, as PyTorch's cosine similarity does. */
export function unitLength(x: Tensor): Tensor {
  const squares = ops.reduceSum(ops.mul(x, x), [x.shape.length - 1], true);
  return ops.div(x, ops.sqrt(ops.maximum(squares, 1e-16)));
}

/** The frames that are hidden from the model. @throws UserError where the recipe hides none */
export function maskOf({ hidden }: Pass, name: string): Tensor {
  if (hidden !== undefined) return hidden;
  throw new UserError(
    `objectives.${name}: learns from hidden frames, but augment.timeMask.prob is 0; HuBERT's is 0.8, wav2vec 2.0's 0.65`,
  );
}

/** How many codes are in use: e to the entropy of how often each was named. 1 where all is one code. */
export function perplexity(counts: readonly (readonly number[])[]): number {
  const sums: number[] = [];
  for (const row of counts) for (const [code, n] of row.entries()) sums[code] = (sums[code] ?? 0) + n;
  const total = sums.reduce((a, b) => a + b, 0);
  const entropy = sums.reduce((h, n) => (n > 0 ? h - (n / total) * Math.log(n / total) : h), 0);
  return total > 0 ? Math.exp(entropy) : 0;
}
