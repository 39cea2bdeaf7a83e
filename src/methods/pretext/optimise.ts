import { sparsemaxOf } from "../../ops/index.ts";
import { random } from "../../random.ts";
import type { HsicResult } from "./hsic.ts";

/** How free parameters become weights that are at least 0 and sum to 1 (eq. 9 and section V-B). */
export type Projection = "softmax" | "sparsemax";

/** Weights of one group of parameters. */
export const project = (parameters: Float64Array, projection: Projection): Float64Array =>
  projection === "sparsemax" ? sparsemaxOf(parameters) : softmaxOf(parameters);

function softmaxOf(x: Float64Array): Float64Array {
  const top = Math.max(...x);
  const odds = x.map((v) => Math.exp(v - top));
  const sum = odds.reduce((a, b) => a + b, 0);
  return odds.map((v) => v / sum);
}

/** The gradient by the parameters from that by the weights: the rules of ops.softmax and ops.sparsemax. */
export function projectGradient(
  weights: Float64Array,
  gradient: Float64Array,
  projection: Projection,
): Float64Array {
  if (projection === "softmax") {
    const mean = weights.reduce((sum, w, i) => sum + w * gradient[i], 0);
    return weights.map((w, i) => w * (gradient[i] - mean));
  }
  const support = weights.reduce((n, w) => n + (w > 0 ? 1 : 0), 0);
  const mean = weights.reduce((sum, w, i) => sum + (w > 0 ? gradient[i] : 0), 0) / support;
  return weights.map((w, i) => (w > 0 ? gradient[i] - mean : 0));
}

export interface OptimiseOptions {
  readonly projection: Projection;
  /** Default "adam", which the objective's small gradients do not slow down; "sgd" is the authors'. */
  readonly optimizer?: "adam" | "sgd";
  /** Default 0.02 for adam, 0.01 for sgd. */
  readonly lr?: number;
  /** Of sgd (default 0.9). */
  readonly momentum?: number;
  /** At most (default 1000). */
  readonly steps?: number;
  /** Stop where no weight has moved by more than this in 25 steps (default 1e-5; 0 never stops). */
  readonly tolerance?: number;
  /** How often to start anew (default 8). */
  readonly restarts?: number;
  readonly seed?: number;
  /** Start as the released code does: W ~ N(0, 1) for softmax, 1 + N(0, 0.05^2) for sparsemax; else wider apart. */
  readonly referenceStart?: boolean;
}

export interface Solution {
  readonly weights: Float64Array;
  readonly value: number;
  readonly steps: number;
}

export interface Optimised {
  /** The restart with the lowest value. */
  readonly best: Solution;
  readonly restarts: readonly Solution[];
  /** Share of restarts with the best one's support (weights above 0.001). */
  readonly agreement: number;
  /** In how many of the restarts each candidate has a weight above 0.001. */
  readonly support: readonly number[];
}

export const RESTARTS = 8;
export const STEPS = 1000;
const SUPPORT = 1e-3;
const WINDOW = 25;

/** An objective over weights (eq. 8) with what may move of them. */
export interface Problem {
  readonly objective: (weights: Float64Array) => HsicResult;
  /** Places of the candidates whose weights sum to 1 together (lambda and mu of eq. 13). */
  readonly groups: readonly (readonly number[])[];
  /** Weights that are given, at places that no group contains. */
  readonly fixed: Float64Array;
}

/**
 * The best of several starts. Coordinates that sparsemax has put to zero get no gradient any more, so a single start
 * decides much: how far they agree is part of the result.
 */
export function compared(solutions: readonly Solution[]): Optimised {
  const best = solutions.reduce((a, b) => (b.value < a.value ? b : a));
  const supportOf = ({ weights }: Solution) => Array.from(weights, (w) => w > SUPPORT);
  const same = solutions.filter((s) => supportOf(s).join() === supportOf(best).join());
  return {
    best,
    restarts: solutions,
    agreement: same.length / solutions.length,
    support: Array.from(best.weights, (_, h) => solutions.filter((s) => s.weights[h] > SUPPORT).length),
  };
}

/** One start's descent, the same wherever and in whatever order starts are made. */
export function descend(
  { objective, groups, fixed }: Problem,
  options: OptimiseOptions,
  restart: number,
  onStep: (step: number) => void = () => {},
): Solution {
  const { projection, optimizer = "adam", momentum = 0.9, steps = STEPS, tolerance = 1e-5 } = options;
  const lr = options.lr ?? (optimizer === "adam" ? 0.02 : 0.01);
  const rng = random(options.seed ?? 1, "pretext weights", restart);
  const parameters = groups.map((group) => Float64Array.from(group, () => start(rng.normal(), options)));
  const moments = groups.map((group) => ({
    mean: new Float64Array(group.length),
    square: new Float64Array(group.length),
  }));
  const weights = fixed.slice();
  const fill = () => {
    for (const [g, group] of groups.entries()) {
      const own = project(parameters[g], projection);
      for (const [i, place] of group.entries()) weights[place] = own[i];
    }
  };
  fill();
  let anchor = weights.slice();
  let done = 0;
  for (let step = 1; step <= steps; step++) {
    const { gradient } = objective(weights);
    for (const [g, group] of groups.entries()) {
      const own = Float64Array.from(group, (place) => weights[place]);
      const slope = projectGradient(
        own,
        Float64Array.from(group, (place) => gradient[place]),
        projection,
      );
      const { mean, square } = moments[g];
      for (let i = 0; i < slope.length; i++) {
        if (optimizer === "sgd") {
          mean[i] = momentum * mean[i] + slope[i];
          parameters[g][i] -= lr * mean[i];
          continue;
        }
        mean[i] = 0.9 * mean[i] + 0.1 * slope[i];
        square[i] = 0.999 * square[i] + 0.001 * slope[i] ** 2;
        const size = Math.sqrt(square[i] / (1 - 0.999 ** step)) + 1e-12;
        parameters[g][i] -= (lr * mean[i]) / (1 - 0.9 ** step) / size;
      }
    }
    fill();
    done = step;
    onStep(step);
    if (tolerance === 0 || step % WINDOW !== 0) continue;
    if (weights.every((w, i) => Math.abs(w - anchor[i]) <= tolerance)) break;
    anchor = weights.slice();
  }
  return { weights, value: objective(weights).value, steps: done };
}

function start(normal: number, { projection, referenceStart = false }: OptimiseOptions): number {
  if (projection === "softmax") return normal;
  return referenceStart ? 1 + 0.05 * normal : 0.05 * normal;
}
