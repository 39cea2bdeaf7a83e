import { z } from "zod";
import { buildLabels, LabelVocabulary } from "../../corpus/vocab.ts";
import { classificationScores } from "../../metrics/classification.ts";
import { maskedMean } from "../../nn/layers.ts";
import { crossEntropy as pooledCrossEntropy } from "../../nn/losses.ts";
import * as ops from "../../ops/index.ts";
import { i32 } from "../../runtime/program.ts";
import { head as applyHead } from "../heads.ts";
import { key } from "../schema-basics.ts";
import type { ClassTarget } from "../targets.ts";
import { head, labelOf, labelTarget, objectiveKeys, pool } from "./keys.ts";
import { answersOf, type LossKind } from "./kind.ts";

const schema = z.strictObject({
  loss: key(z.literal("cross-entropy"), "Classes."),
  target: labelTarget("cross-entropy"),
  pool,
  head,
  ...objectiveKeys,
});

/** Cross-entropy of one class an utterance. */
export const crossEntropy: LossKind<typeof schema, ClassTarget> = {
  schema,
  metrics: () => ["accuracy", "macroF1"],
  target({ target }, { utterances, corpus }) {
    const label = labelOf(target);
    // An ordinal scale that the corpus declares keeps its order and its empty grades.
    const declared = corpus.classes?.[label];
    return {
      kind: "class",
      labels: declared ? new LabelVocabulary(label, declared) : buildLabels(utterances, label),
    };
  },
  encode: ({ labels }, utterance) => [labels.encode(utterance)],
  feeds: ({ name }, rows) => ({
    [`labels.${name}`]: i32(
      [rows.length],
      rows.map(([value]) => value),
    ),
  }),
  over: () => "utterances",
  term({ spec, target }, { features, valid, head: p, training, input }) {
    const size = target.labels.classes.length;
    const scores = applyHead({ features, valid, spec: spec.head, pool: spec.pool, size, training }, p);
    const [batch] = scores.shape;
    if (spec.pool === "mean")
      return { scores, each: () => pooledCrossEntropy(scores, input("labels", [batch], "i32")) };
    // A frame's loss is linear in its log-probabilities, so their mean has the mean loss.
    const logs = maskedMean(ops.logSoftmax(scores), valid);
    const each = () => {
      const labels = ops.reshape(input("labels", [batch], "i32"), [batch, 1]);
      const chosen = ops.cast(ops.equal(labels, ops.range(size)), "f32");
      return ops.neg(ops.reduceSum(ops.mul(logs, chosen), [1]));
    };
    return { scores: logs, each };
  },
  answer({ labels: { classes } }, { scores, truth }) {
    const top = Math.max(...scores);
    const odds = Array.from(scores, (s) => Math.exp(s - top));
    const sum = odds.reduce((a, b) => a + b, 0);
    return {
      kind: "class",
      truth: classes[truth[0]],
      predicted: classes[odds.indexOf(Math.max(...odds))],
      probabilities: Object.fromEntries(classes.map((name, i) => [name, Number((odds[i] / sum).toFixed(6))])),
    };
  },
  score(_, answers) {
    const of = answersOf("class", answers);
    const { accuracy, macroF1 } = classificationScores(
      of.map((a) => a.truth),
      of.map((a) => a.predicted),
    );
    return { accuracy, macroF1 };
  },
};
