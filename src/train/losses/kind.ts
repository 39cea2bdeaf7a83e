import type { z } from "zod";
import type { Utterance } from "../../corpus/manifest.ts";
import type { Training } from "../../nn/layers.ts";
import type { Params } from "../../params/params.ts";
import type { Value } from "../../runtime/program.ts";
import type { Shape } from "../../tensor/dims.ts";
import type { DType, Tensor } from "../../tensor/tensor.ts";
import type { corpus } from "../schema-data.ts";
import type { Target } from "../targets.ts";

/** Graph inputs by name. */
export type Feeds = Record<string, Value>;

/** What a head made of one utterance, in the words of its target. */
export type Answer =
  | { kind: "class"; truth: string; predicted: string; probabilities: Record<string, number> }
  | { kind: "sequence"; expected: string[]; heard: string[]; text: { expected: string; heard: string } }
  | { kind: "number"; truth: number; predicted: number };

/** Where a target's symbols or classes are read off. */
export interface TargetSource {
  /** The training part. */
  readonly utterances: readonly Utterance[];
  readonly corpus: z.output<typeof corpus>;
}

/** What the model made of a batch, as the losses of one graph find it. */
export interface Pass {
  /** Valid frames of each utterance, i32 [batch], and the same as bool [batch, frames]. */
  readonly frames: Tensor;
  readonly valid: Tensor;
  /** What the recipe's heads read: the last hidden state or the weighted sum of all, [batch, frames, dim]. */
  readonly features: Tensor;
  /** Parameters of the objective's own head. */
  readonly head: Params;
  /** Absent in evaluation; its random places are the objective's own. */
  readonly training?: Training;
  /** Declares the graph input `<key>.<objective>`. */
  input(key: string, shape: Shape, dtype: DType): Tensor;
}

/** A loss inside the graph. What needs labels is made only where it is asked for: use without labels is possible. */
export interface Term {
  /** What evaluation reads, [batch, ...]. */
  readonly scores: Tensor;
  /** The loss of each utterance, [batch]. */
  each(): Tensor;
  /** The scalar that is minimised; the mean of `each` where absent. */
  loss?(): Tensor;
}

/** An objective as its loss kind sees it. */
export interface Asked<S, T extends Target> {
  readonly name: string;
  readonly spec: S;
  readonly target: T;
}

/** One row of a head's scores, with what it is compared to. */
export interface Row {
  readonly scores: Float32Array;
  /** Of all scores, the batch's included. */
  readonly shape: readonly number[];
  readonly frames: number;
  readonly truth: readonly number[];
}

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
  /** The graph inputs `labels.<name>` and further ones for the targets of a batch. */
  feeds(asked: Asked<z.output<Schema>, T>, rows: readonly (readonly number[])[]): Feeds;
  /** How the losses of several batches make one: added, or averaged over their utterances. */
  over(spec: z.output<Schema>): "sum" | "utterances";
  term(asked: Asked<z.output<Schema>, T>, pass: Pass): Term;
  answer(target: T, row: Row): Answer;
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
