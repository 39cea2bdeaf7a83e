import { linear, maskedMean } from "../nn/layers.ts";
import { crossEntropy } from "../nn/losses.ts";
import * as ops from "../ops/index.ts";
import { i32, type Value } from "../runtime/program.ts";
import type { Learner, Prediction } from "./task.ts";

/** One of the questions that are asked of an utterance. */
export interface Question {
  readonly name: string;
  readonly classes: readonly string[];
  /** Answer of each item; -1 where it is none of the classes, which is never right and teaches nothing. */
  readonly answers: readonly number[];
}

export interface ClassTaskOptions {
  readonly projection: number;
  readonly questions: readonly Question[];
  readonly ids: readonly string[];
}

/**
 * Classes of whole utterances: projection, mean over frames, linear, cross-entropy; the losses of several questions
 * add up. An utterance is right where all its answers are.
 */
export function classLearner({ projection, questions, ids }: ClassTaskOptions): Learner {
  const sizes = questions.map(({ classes }) => classes.length);
  const starts = sizes.map((_, i) => sizes.slice(0, i).reduce((a, b) => a + b, 0));
  const total = sizes.reduce((a, b) => a + b, 0);
  return {
    scores({ x, valid }, p) {
      return linear(maskedMean(linear(x, p.at("projector"), projection), valid), p.at("output"), total);
    },
    loss(scores, _, __, declare) {
      const [batch] = scores.shape;
      const losses = questions.map((_, i) => {
        const labels = declare(ops.input(`labels.${i}`, [batch], "i32"));
        // A label of -1 equals no class: its row of cross-entropy is 0.
        return crossEntropy(ops.slice(scores, 1, starts[i], starts[i] + sizes[i]), labels);
      });
      return ops.reduceSum(
        losses.reduce((a, b) => ops.add(a, b)),
        [0],
      );
    },
    feeds: (items) =>
      Object.fromEntries(
        questions.map(({ answers }, i): [string, Value] => [
          `labels.${i}`,
          i32(
            [items.length],
            items.map((item) => answers[item]),
          ),
        ]),
      ),
    weight: (items) => items.length,
    read(item, { values }) {
      const hypothesis = questions.map(({ classes }, i) => {
        const scores = values.subarray(starts[i], starts[i] + sizes[i]);
        return classes[scores.indexOf(Math.max(...scores))];
      });
      const reference = questions.map(({ classes, answers }) => classes[answers[item]] ?? null);
      const named = (answers: readonly (string | null)[]) =>
        questions.length === 1
          ? answers[0]
          : Object.fromEntries(questions.map(({ name }, i) => [name, answers[i]]));
      return { id: ids[item], reference: named(reference), hypothesis: named(hypothesis) };
    },
    metrics: (predictions) => accuracies(predictions, questions),
  };
}

function accuracies(predictions: ReadonlyMap<number, Prediction>, questions: readonly Question[]) {
  const all = [...predictions.values()];
  const answer = (side: Prediction[string], name: string) =>
    questions.length === 1 ? side : (side as Record<string, Prediction[string]>)[name];
  const rights = all.map(({ reference, hypothesis }) =>
    questions.map(({ name }) => answer(reference, name) === answer(hypothesis, name)),
  );
  const share = (right: (row: boolean[]) => boolean) => rights.filter(right).length / all.length;
  const metrics: Record<string, number> = { accuracy: share((row) => row.every(Boolean)) };
  if (questions.length === 1) return metrics;
  for (const [i, { name }] of questions.entries()) metrics[`accuracy.${name}`] = share((row) => row[i]);
  const sum = questions.reduce((total, { name }) => total + metrics[`accuracy.${name}`], 0);
  return { ...metrics, "accuracy.mean": sum / questions.length };
}
