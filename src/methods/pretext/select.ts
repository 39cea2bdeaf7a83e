import { kendall, spearman } from "../../metrics/correlation.ts";
import { bootstrapInterval } from "../../metrics/significance.ts";
import { random } from "../../random.ts";
import { type Mrmr, mrmr, mutualInformation, recursiveElimination } from "./baselines.ts";
import { type EstimateOptions, Estimator, type Units } from "./estimate.ts";
import { compared, type OptimiseOptions, type Projection } from "./optimise.ts";
import { solveFromStarts } from "./restarts.ts";

/** How a group of pretext tasks is chosen: by the paper's optimisation or by what it compares with (section VI-A). */
export const methods = ["sparsemax", "softmax", "mrmr", "rfe", "all"] as const;
export type Method = (typeof methods)[number];

export interface SelectOptions {
  readonly estimate?: EstimateOptions;
  readonly optimise?: Omit<OptimiseOptions, "projection">;
  /**
   * How much weights are kept from gathering in one place: `penalty` times the mean of the candidates' estimates times
   * |lambda|^2 is added to the objective (default 1; the released code has the term with 0). With correct centring a group's
   * estimate is close to the mean of its members', so that without it all weight goes to the best one.
   */
  readonly penalty?: number;
  /** Size of the groups of MRMR and recursive elimination (default 4). */
  readonly keep?: number;
  /** Weights that stay as they are, by candidate; the others of the same group are optimised beside them. */
  readonly fixed?: Readonly<Record<string, number>>;
  /** Units that baselines with pairwise cost look at (default 2000). */
  readonly baselineUnits?: number;
  readonly seed?: number;
  /** Of optimisations from several starts (default: all processors). */
  readonly threads?: number;
  readonly signal?: AbortSignal;
  readonly onStep?: (method: Method, done: number, total: number) => void;
}

/** One candidate's estimate: the lower, the more useful its prediction should be for the task (section III). */
export interface CandidateEstimate {
  readonly name: string;
  readonly value: number;
  /** 95 % bootstrap interval over classes; undefined where there is one class only. */
  readonly low?: number;
  readonly high?: number;
  /** Half the typical -log of its kernel within classes. Far from 1 the kernel is blind: all alike, or all different. */
  readonly scale: number;
}

export interface Choice {
  readonly method: Method;
  readonly weights: Readonly<Record<string, number>>;
  /** The group's estimate; undefined for groups whose weights do not sum to 1. */
  readonly value?: number;
  /** Of optimised weights: how far restarts agree. */
  readonly stability?: {
    readonly restarts: number;
    /** Share of restarts with the best one's support. */
    readonly agreement: number;
    /** Share of restarts in which each candidate has a weight. */
    readonly support: Readonly<Record<string, number>>;
    /** Lowest and highest weight of each candidate over the restarts. */
    readonly range: Readonly<Record<string, readonly [number, number]>>;
  };
}

const round = (value: number) => Number(value.toFixed(6));

/** Each candidate's own estimate with its interval. */
export function estimateCandidates(estimator: Estimator, seed = 1): CandidateEstimate[] {
  const classes = estimator.classNames.length;
  return estimator.names.map((name, h) => {
    const values = estimator.alone(h);
    const value = estimator.aggregate(values);
    if (classes < 2) return { name, value, scale: estimator.scales[h] };
    const { low, high } = bootstrapInterval(classes, (places) => estimator.aggregate(values, [...places]), {
      seed,
    });
    return { name, value, low, high, scale: estimator.scales[h] };
  });
}

/**
 * A sentence where the ranking looks like one of feature scales: a kernel much wider than its labels' differences calls all
 * alike, one much narrower calls all different, and either way the estimate says nothing about independence.
 */
export function scaleWarning(
  estimates: readonly CandidateEstimate[],
  { zScore = true, bandwidth = "median" }: EstimateOptions,
): string | undefined {
  if (zScore || bandwidth === "median" || estimates.length < 3) return undefined;
  const rho = spearman(
    estimates.map(({ value }) => value),
    estimates.map(({ scale }) => scale),
  );
  const blind = estimates.filter(({ scale }) => scale > 10 || scale < 0.1).map(({ name }) => name);
  if (Math.abs(rho) < 0.7 && blind.length === 0) return undefined;
  return (
    `with labels as they are and one bandwidth for all, the ranking follows the labels' scale ` +
    `(Spearman ${rho.toFixed(2)} between estimate and spread over bandwidth` +
    `${blind.length > 0 ? `; the kernel is blind to ${blind.join(", ")}` : ""}): ` +
    `use --z-score with --bandwidth median, or read it with care`
  );
}

/**
 * Chooses weights by one method.
 * @throws RunError where the signal came first
 */
export async function choose(
  method: Method,
  estimator: Estimator,
  estimates: readonly CandidateEstimate[],
  options: SelectOptions = {},
): Promise<Choice> {
  const { keep = 4, seed = 1 } = options;
  const { names, units } = estimator;
  const ones = (chosen: readonly number[]): Choice["weights"] =>
    Object.fromEntries(names.map((name, h) => [name, chosen.includes(h) ? 1 : 0]));
  if (method === "all") return { method, weights: ones(names.map((_, h) => h)) };
  if (method === "softmax" || method === "sparsemax") return optimised(method, estimator, estimates, options);
  const scalar = units.candidates.flatMap(({ values }, h) => (values === undefined ? [] : [h]));
  const size = Math.min(keep, scalar.length);
  const sample = sampleOf(units, options.baselineUnits ?? 2000, seed);
  if (method === "mrmr") {
    const { chosen } = relevant(units, scalar, estimates, sample, size);
    return { method, weights: ones(chosen.map((place) => scalar[place])) };
  }
  const { chosen } = eliminated(units, scalar, sample, size);
  return { method, weights: ones(chosen.map((place) => scalar[place])) };
}

async function optimised(
  projection: Projection,
  estimator: Estimator,
  estimates: readonly CandidateEstimate[],
  options: SelectOptions,
): Promise<Choice> {
  const { names, units } = estimator;
  const { fixed = {}, penalty = 1, onStep, threads, signal } = options;
  const free = names.map((_, h) => h).filter((h) => fixed[names[h]] === undefined);
  // lambda over labels and mu over spectral representations sum to 1 each (eq. 13).
  const isVector = (h: number) => units.candidates[h].vectors !== undefined;
  const solutions = await solveFromStarts(
    estimator,
    {
      groups: [free.filter((h) => !isVector(h)), free.filter(isVector)].filter(({ length }) => length > 0),
      fixed: Float64Array.from(names, (name) => fixed[name] ?? 0),
      penalty: (penalty * estimates.reduce((sum, { value }) => sum + Math.abs(value), 0)) / names.length,
      optimise: { seed: options.seed, ...options.optimise, projection },
    },
    { threads, signal, onStep: (done, total) => onStep?.(projection, done, total) },
  );
  const { best, agreement, support } = compared(solutions);
  const byName = <T>(of: (h: number) => T) => Object.fromEntries(names.map((name, h) => [name, of(h)]));
  return {
    method: projection,
    weights: byName((h) => round(best.weights[h])),
    value: estimator.estimate(best.weights).value,
    stability: {
      restarts: solutions.length,
      agreement,
      support: byName((h) => support[h] / solutions.length),
      range: byName((h): [number, number] => {
        const weights = solutions.map((solution) => solution.weights[h]);
        return [round(Math.min(...weights)), round(Math.max(...weights))];
      }),
    },
  };
}

/** Places of units, at most `most`, classes in equal parts, with their class. */
function sampleOf({ classes }: Units, most: number, seed: number): { unit: number; class: number }[] {
  const each = Math.max(2, Math.floor(most / classes.length));
  return classes.flatMap(({ name, members }, c) => {
    const drawn = random(seed, "baseline units", name)
      .shuffle([...members])
      .slice(0, each);
    return drawn.map((unit) => ({ unit, class: c }));
  });
}

function relevant(
  { candidates }: Units,
  scalar: readonly number[],
  estimates: readonly CandidateEstimate[],
  sample: readonly { unit: number }[],
  size: number,
): Mrmr {
  const columns = scalar.map((h) => Float64Array.from(sample, ({ unit }) => candidates[h].values![unit]));
  const information = columns.map(() => columns.map(() => 0));
  for (let i = 0; i < columns.length; i++)
    for (let j = 0; j < i; j++)
      information[i][j] = information[j][i] = mutualInformation(columns[i], columns[j]);
  return mrmr(
    scalar.map((h) => estimates[h].value),
    information,
    size,
  );
}

function eliminated(
  { candidates, classes }: Units,
  scalar: readonly number[],
  sample: readonly { unit: number; class: number }[],
  size: number,
) {
  // A linear machine with one price of error needs features of one scale.
  const columns = scalar.map((h) => {
    const values = sample.map(({ unit }) => candidates[h].values![unit]);
    const mean = values.reduce((a, b) => a + b, 0) / values.length;
    const deviation = Math.sqrt(values.reduce((s, v) => s + (v - mean) ** 2, 0) / values.length) || 1;
    return values.map((v) => (v - mean) / deviation);
  });
  const rows = sample.map((_, i) => Float64Array.from(columns, (column) => column[i]));
  return recursiveElimination(
    rows,
    sample.map((each) => each.class),
    classes.length,
    size,
  );
}

/** Estimates of ten random subsets a size, by candidate (Figs. 3 and 4): [sizes][draws]. */
export interface Convergence {
  /** What grows: classes (speakers), or units of each class. */
  readonly of: "classes" | "units of each class";
  readonly sizes: readonly number[];
  readonly values: Readonly<Record<string, readonly (readonly number[])[]>>;
}

/** How fast the estimates settle as the sample grows. */
export function convergence(
  units: Units,
  estimator: Estimator,
  options: EstimateOptions,
  { draws = 10, seed = 1, onDraw = (_: number, __: number): void => {} } = {},
): Convergence {
  const { names } = estimator;
  const classes = estimator.classNames.length;
  if (classes >= 16) {
    // A class's value does not depend on the others, so subsets of classes cost nothing more.
    const sizes = sizesUpTo(classes, 5);
    const alone = names.map((_, h) => estimator.alone(h));
    const values = Object.fromEntries(
      names.map((name, h) => [
        name,
        sizes.map((size) =>
          Array.from({ length: draws }, (_, draw) => {
            const places = Array.from({ length: classes }, (_, i) => i);
            const chosen = random(seed, "convergence", size, draw).shuffle(places).slice(0, size);
            return estimator.aggregate(alone[h], chosen);
          }),
        ),
      ]),
    );
    return { of: "classes", sizes, values };
  }
  const sizes = sizesUpTo(Math.max(...units.classes.map(({ members }) => members.length)), 5);
  const values: Record<string, number[][]> = Object.fromEntries(names.map((name) => [name, []]));
  for (const [s, size] of sizes.entries()) {
    for (const name of names) values[name].push([]);
    for (let draw = 0; draw < draws; draw++) {
      const subset = units.classes.map(({ name, members }) => ({
        name,
        members: Int32Array.from(
          random(seed, "convergence", size, draw, name)
            .shuffle([...members])
            .slice(0, size),
        ),
      }));
      const own = new Estimator({ ...units, classes: subset }, options);
      for (const [h, name] of names.entries()) values[name][s].push(own.aggregate(own.alone(h)));
      onDraw(s * draws + draw + 1, sizes.length * draws);
    }
  }
  return { of: "units of each class", sizes, values };
}

/** Sizes that double up to the whole. */
function sizesUpTo(whole: number, first: number): number[] {
  const sizes: number[] = [];
  for (let size = first; size < whole; size *= 2) sizes.push(size);
  return [...sizes, whole];
}

/** The group's estimate over the triangle of three candidates' weights (Fig. 5): each point with its weights. */
export function ternary(
  units: Units,
  names: readonly [string, string, string],
  options: EstimateOptions,
  steps = 12,
): { weights: readonly [number, number, number]; value: number }[] {
  const candidates = names.map((name) => units.candidates.find((each) => each.name === name)!);
  const estimator = new Estimator({ ...units, candidates }, options);
  const points: { weights: readonly [number, number, number]; value: number }[] = [];
  for (let a = 0; a <= steps; a++)
    for (let b = 0; b <= steps - a; b++) {
      const weights = [a / steps, b / steps, (steps - a - b) / steps] as const;
      points.push({ weights, value: estimator.estimate(Float64Array.from(weights)).value });
    }
  return points;
}

/** How far the ranking by estimates is that of errors of models trained on each candidate (section IV, Fig. 2). */
export interface Agreement {
  readonly candidates: readonly string[];
  readonly spearman: number;
  readonly kendall: number;
}

export function agreement(
  estimates: readonly CandidateEstimate[],
  errors: Readonly<Record<string, number>>,
): Agreement {
  const known = estimates.filter(({ name }) => errors[name] !== undefined);
  const [x, y] = [known.map(({ value }) => value), known.map(({ name }) => errors[name])];
  return { candidates: known.map(({ name }) => name), spearman: spearman(x, y), kendall: kendall(x, y) };
}
