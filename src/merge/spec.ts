import { UserError } from "../errors.ts";

export const METHODS = [
  "interpolate",
  "linear",
  "arithmetic",
  "ties",
  "dare",
  "slerp",
  "sequential",
] as const;
export type Method = (typeof METHODS)[number];

/** What a merge does to the weights of a base and of models that were tuned from it. */
export interface MergeSpec {
  readonly method: Method;
  /** How far to go from the base towards what the method makes: 0 is the base. */
  readonly alpha: number;
  /** A factor beside alpha: TIES' lambda. */
  readonly lambda: number;
  /** One factor a tuned model, which may be negative in task arithmetic. */
  readonly weights: readonly number[];
  /** Share of each task vector's entries that TIES and DARE keep. */
  readonly density: number;
  /** TIES: entries compete within the whole model (the reference code) or within their tensor (mergekit). */
  readonly scope: "model" | "tensor";
  /** How an entry's sign is elected: by the sum of values, by the count of signs, or not at all. */
  readonly elect: "mass" | "count" | "none";
  /** DARE's random entries follow from it. */
  readonly seed: number;
  /** Weight normalisation g v / |v|: g and v are merged as stored, or the product that they stand for. */
  readonly weightNorm: "stored" | "effective";
  /** Task heads: merged where every model has the same, or left out. */
  readonly heads: "auto" | "drop";
}

/** Each method in a few words, for plans. */
export const DOES: Record<Method, string> = {
  interpolate: "base + alpha (tuned - base)",
  linear: "base + alpha (weighted mean of the tuned - base)",
  arithmetic: "base + alpha * sum of weight (tuned - base)",
  ties: "base + alpha * (trimmed task vectors, signs elected, mean of those that agree)",
  dare: "base + alpha * sum of weight (tuned - base), entries dropped at random and the others scaled up",
  slerp: "along the arc from base to tuned, alpha of its angle",
  sequential: "interpolation towards one tuned model after the other, each from the result so far",
};

/** Speech-FT's 0.25 where the paper pulls back; task vectors that are added are added whole. */
const DEFAULT_ALPHA: Record<Method, number> = {
  interpolate: 0.25,
  linear: 0.25,
  arithmetic: 1,
  ties: 0.25,
  dare: 1,
  slerp: 0.25,
  sequential: 0.25,
};

/** Task vectors are small in most entries: TIES keeps a fifth (Yadav et al. 2023), DARE a tenth (Yu et al. 2023). */
const DEFAULT_DENSITY: Partial<Record<Method, number>> = { ties: 0.2, dare: 0.1 };

/**
 * Fills in what is not given and refuses what makes no sense.
 * @throws UserError naming the option
 */
export function mergeSpec(given: Partial<MergeSpec> & { method: Method }, tuned: number): MergeSpec {
  const { method } = given;
  const spec: MergeSpec = {
    alpha: DEFAULT_ALPHA[method],
    lambda: 1,
    density: DEFAULT_DENSITY[method] ?? 1,
    scope: "model",
    elect: method === "ties" ? "mass" : "none",
    seed: 1,
    weightNorm: "stored",
    heads: "auto",
    ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)),
    method,
    weights: given.weights ?? Array.from({ length: tuned }, () => 1),
  };
  const fault = (option: string, what: string): never => {
    throw new UserError(`${option}: ${what}`);
  };
  if (tuned < 1) fault("merge", "name at least one tuned model behind the base");
  if ((method === "interpolate" || method === "slerp") && tuned !== 1)
    fault("--method", `${method} takes one tuned model, not ${tuned}; linear takes several`);
  const between = ["interpolate", "linear", "slerp", "sequential"].includes(method);
  if (!Number.isFinite(spec.alpha) || (between && (spec.alpha < 0 || spec.alpha > 1)))
    fault("--alpha", `must be ${between ? "between 0 and 1" : "a number"} for ${method}, not ${spec.alpha}`);
  if (!Number.isFinite(spec.lambda)) fault("--lambda", `must be a number, not ${spec.lambda}`);
  if (spec.lambda !== 1 && (between || method === "dare"))
    fault("--lambda", `belongs to ties and arithmetic; ${method} has --alpha alone`);
  if (spec.weights.length !== tuned)
    fault("--weights", `must give one number a tuned model: ${tuned}, not ${spec.weights.length}`);
  if (!spec.weights.every(Number.isFinite)) fault("--weights", "must be numbers");
  if (given.weights !== undefined && !["linear", "arithmetic", "ties", "dare"].includes(method))
    fault("--weights", `means nothing to ${method}`);
  if (method === "linear" && (spec.weights.some((w) => w < 0) || spec.weights.every((w) => w === 0)))
    fault("--weights", "must not be negative for linear, nor all 0; arithmetic takes signs");
  if (method === "ties" && spec.weights.some((w) => w <= 0))
    fault("--weights", "must be above 0 for ties, which elects signs itself");
  if (!(spec.density > 0 && spec.density <= 1))
    fault("--density", `must be above 0 and at most 1, not ${spec.density}`);
  if (given.density !== undefined && method !== "ties" && method !== "dare")
    fault("--density", `means nothing to ${method}; ties and dare drop entries`);
  if (given.scope !== undefined && method !== "ties") fault("--scope", `means nothing to ${method}`);
  if (given.elect !== undefined && method !== "ties" && method !== "dare")
    fault("--elect", `means nothing to ${method}; ties and dare elect signs`);
  if (method === "ties" && spec.elect === "none")
    fault("--elect", "ties elects signs by mass or count; without election it is arithmetic");
  return spec;
}

/** What multiplies the merged task vector. */
export const scaleOf = ({ alpha, lambda }: MergeSpec): number => alpha * lambda;
