import { UserError } from "../errors.ts";
import type { Moment, Objective } from "./recipe-schema.ts";

/** The weights w_i(t) of the objectives' sum, and the steps at which the sum becomes another loss. */
export interface ObjectiveWeights {
  /** The weight of each objective at an update (0 is the first); 0 outside of its `from` .. `until`. */
  at(step: number): Record<string, number>;
  /**
   * Which stretch of the run a step lies in: the number changes where the loss in force does. Validation losses of
   * different stretches cannot be compared, so a best checkpoint is never carried from one to the next.
   */
  stretch(step: number): number;
}

interface Resolved {
  from: number;
  until: number;
  points: { step: number; weight: number }[];
}

/**
 * Resolves the recipe's moments to steps. An epoch's first step is rounded, so fractions of epochs are allowed.
 * Throws a `UserError` where no objective has a weight at some step: nothing would be learned there.
 */
export function objectiveWeights(
  objectives: Record<string, Objective>,
  stepsPerEpoch: number,
  totalSteps: number,
): ObjectiveWeights {
  const stepOf = (moment: Moment): number => {
    if ("step" in moment) return moment.step;
    return Math.round("epoch" in moment ? moment.epoch * stepsPerEpoch : moment.fraction * totalSteps);
  };
  const resolved = Object.entries(objectives).map(([name, o]): [string, Resolved] => {
    const points =
      typeof o.weight === "number"
        ? [{ step: 0, weight: o.weight }]
        : o.weight.map(({ at, weight }) => ({ step: stepOf(at), weight }));
    if (points.some((point, i) => i > 0 && point.step <= points[i - 1].step))
      throw new UserError(`objectives.${name}.weight: the points must come in the order of their steps`);
    const from = o.from ? stepOf(o.from) : 0;
    const until = o.until ? stepOf(o.until) : Number.POSITIVE_INFINITY;
    if (from >= until) throw new UserError(`objectives.${name}: \`from\` must come before \`until\``);
    return [name, { from, until, points }];
  });

  // Between these steps every weight moves in a straight line.
  const edges = [
    ...new Set(
      resolved.flatMap(([, { from, until, points }]) => [from, until, ...points.map((p) => p.step)]),
    ),
  ]
    .filter((step) => step > 0 && step < totalSteps)
    .sort((a, b) => a - b);
  const at = (step: number) =>
    Object.fromEntries(resolved.map(([name, objective]) => [name, weightAt(objective, step)]));

  // The step after an edge sees a ramp that starts from zero there.
  for (const start of [0, ...edges])
    if ([start, Math.min(start + 1, totalSteps - 1)].every((step) => sum(at(step)) === 0))
      throw new UserError(
        `objectives: every weight is 0 at step ${start}, so nothing would be learned there; check \`weight\`, \`from\` and \`until\``,
      );
  return { at, stretch: (step) => edges.filter((edge) => edge <= step).length };
}

function weightAt({ from, until, points }: Resolved, step: number): number {
  if (step < from || step >= until) return 0;
  const after = points.findIndex((point) => point.step > step);
  if (after === 0) return points[0].weight;
  if (after === -1) return points[points.length - 1].weight;
  const [a, b] = [points[after - 1], points[after]];
  return a.weight + ((b.weight - a.weight) * (step - a.step)) / (b.step - a.step);
}

const sum = (weights: Record<string, number>) => Object.values(weights).reduce((a, b) => a + b, 0);
