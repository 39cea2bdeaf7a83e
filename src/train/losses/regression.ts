import { z } from "zod";
import { quote, UserError } from "../../errors.ts";
import { pearson } from "../../metrics/correlation.ts";
import { maskedMean } from "../../nn/layers.ts";
import * as ops from "../../ops/index.ts";
import { f32 } from "../../runtime/program.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { head as applyHead } from "../heads.ts";
import { key } from "../schema-basics.ts";
import type { NumberTarget } from "../targets.ts";
import { head, labelOf, labelTarget, objectiveKeys, pool } from "./keys.ts";
import { answersOf, type LossKind } from "./kind.ts";

const schemaOf = <L extends string>(loss: L, meaning: string) =>
  z.strictObject({
    loss: key(z.literal(loss), meaning),
    target: labelTarget(loss),
    pool,
    head,
    ...objectiveKeys,
  });

/** Regression of one number an utterance; `distance` is the loss of a difference. */
function regression<L extends string>(
  loss: L,
  meaning: string,
  distance: (difference: Tensor) => Tensor,
): LossKind<ReturnType<typeof schemaOf<L>>, NumberTarget> {
  return {
    schema: schemaOf(loss, meaning),
    metrics: () => ["meanAbsoluteError", "rootMeanSquareError", "pearson"],
    target: ({ target }) => ({ kind: "number", label: labelOf(target) }),
    encode({ label }, { id, labels }) {
      const value = Number(labels?.[label] ?? Number.NaN);
      if (Number.isFinite(value)) return [value];
      throw new UserError(
        `utterance ${quote(id)} has ${label} ${quote(labels?.[label])}, which is not a number`,
      );
    },
    feeds: ({ name }, rows) => ({
      [`labels.${name}`]: f32(
        [rows.length],
        Float32Array.from(rows, ([value]) => value),
      ),
    }),
    over: () => "utterances",
    term({ spec }, { features, valid, head: p, training, input }) {
      const scores = applyHead({ features, valid, spec: spec.head, pool: spec.pool, size: 1, training }, p);
      const [batch] = scores.shape;
      const each = () => {
        const labels = input("labels", [batch], "f32");
        const wanted = ops.reshape(labels, spec.pool === "mean" ? [batch, 1] : [batch, 1, 1]);
        const losses = distance(ops.sub(scores, wanted));
        return ops.reshape(spec.pool === "mean" ? losses : maskedMean(losses, valid), [batch]);
      };
      return { scores: spec.pool === "mean" ? scores : maskedMean(scores, valid), each };
    },
    answer: (_, { scores, truth }) => ({ kind: "number", truth: truth[0], predicted: scores[0] }),
    score(_, answers) {
      const of = answersOf("number", answers);
      const errors = of.map((a) => a.predicted - a.truth);
      const mean = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length;
      return {
        meanAbsoluteError: mean(errors.map(Math.abs)),
        rootMeanSquareError: Math.sqrt(mean(errors.map((e) => e * e))),
        pearson: pearson(
          of.map((a) => a.truth),
          of.map((a) => a.predicted),
        ),
      };
    },
  };
}

export const mse = regression("mse", "Numbers, by squared difference.", (d) => ops.mul(d, d));
export const l1 = regression("l1", "Numbers, by absolute difference.", ops.abs);
