import { UserError } from "../../errors.ts";
import { random } from "../../random.ts";
import { type Centring, type HsicResult, hsic, type Normaliser } from "./hsic.ts";
import {
  cosineKernel,
  groupKernel,
  KernelStore,
  LEAST_LOG,
  type LogKernel,
  logCosineKernel,
  type PairKernel,
  radialKernel,
  type UnitVectors,
} from "./kernels.ts";

/** A pretext label that may be selected: its mean over each unit, or its downsampled sequence where it is a vector. */
export interface Candidate {
  readonly name: string;
  /** [units]; of `label` candidates. */
  readonly values?: Float64Array;
  /** [units, dim], unit length; of `spectral` candidates. */
  readonly vectors?: UnitVectors;
}

/** Units of speech with their classes, as the estimate needs them. */
export interface Units {
  /** Downsampled spectrograms of unit length: the data that K compares. */
  readonly data: UnitVectors;
  readonly candidates: readonly Candidate[];
  readonly classes: readonly { readonly name: string; readonly members: Int32Array }[];
}

export interface EstimateOptions {
  /** Default "paper". */
  readonly centring?: Centring;
  /** Mean of the classes' values by their size (eq. 6, default) or without (the released code). */
  readonly aggregate?: "weighted" | "mean";
  /** Bring every candidate to mean 0 and variance 1 over all units first (default true). */
  readonly zScore?: boolean;
  /** sigma^2 of the radial basis kernel, or "median": that of each candidate's distances within classes (default). */
  readonly bandwidth?: "median" | number;
  /** Default "data", so that correct centring has gradients worth following. */
  readonly normalise?: Normaliser;
  /** What tr(KHLH) is divided by where it is not normalised: n^2 (eq. 5, default) or (n - 1)^2. */
  readonly divisor?: "n^2" | "(n-1)^2";
  /** Clamp log L to at least -10 as the released code does (default false; cosines are always clamped). */
  readonly clamp?: boolean;
  /** Classes with fewer members count as 0 (default 4). */
  readonly leastMembers?: number;
  /** Bytes that kernels may keep (default 1 GiB). */
  readonly memory?: number;
}

/** Everything as the authors' released code does it. */
export const referenceOptions: EstimateOptions = {
  centring: "reference",
  aggregate: "mean",
  zScore: false,
  bandwidth: 0.05,
  normalise: "none",
  clamp: true,
};

interface ClassKernels {
  readonly name: string;
  readonly members: Int32Array;
  readonly data: PairKernel;
  readonly candidates: readonly LogKernel[];
}

/** The estimate of conditional independence HSIC(X, Z | Y) of weighted groups of candidates (Zaiem et al. 2022, eqs. 5 to 8). */
export class Estimator {
  readonly names: readonly string[];
  /** Half the typical -log L of each candidate: its spread as its kernel sees it. */
  readonly scales: readonly number[];
  readonly units: Units;
  readonly options: EstimateOptions;
  /** What is kept of kernels between passes. */
  readonly store: KernelStore;
  private readonly classes: readonly ClassKernels[];
  private readonly total: number;
  private readonly classCount: number;

  /**
   * @param kept kernels of an estimator of the same units and options, perhaps another thread's
   * @throws UserError where a candidate is the same for all members of every class
   */
  constructor(units: Units, options: EstimateOptions = {}, kept?: KernelStore["triangles"]) {
    this.units = units;
    this.options = options;
    this.names = units.candidates.map(({ name }) => name);
    const { zScore = true, bandwidth = "median", clamp = false, leastMembers = 4 } = options;
    this.store = new KernelStore(options.memory, kept);
    this.total = units.classes.reduce((sum, { members }) => sum + members.length, 0);
    this.classCount = units.classes.length;
    const used = units.classes.filter(({ members }) => members.length >= leastMembers);
    if (used.length === 0)
      throw new UserError(
        `no class has ${leastMembers} members or more, so that nothing can be compared within classes`,
      );
    const pairs = samplePairs(used.map(({ members }) => members));
    const scales: number[] = [];
    const kernels = units.candidates.map(({ name, values, vectors }) => {
      if (values !== undefined) {
        const z = zScore ? standardised(values) : values;
        const typical = median(pairs.map(([i, j]) => (z[i] - z[j]) ** 2));
        if (!(typical > 0))
          throw new UserError(
            `${name}: is the same for most members of a class, so that no kernel can compare them; leave it out`,
          );
        const variance = bandwidth === "median" ? typical : bandwidth;
        scales.push(typical / variance);
        return (members: Int32Array) =>
          radialKernel(z, members, 2 * variance, clamp ? LEAST_LOG : Number.NEGATIVE_INFINITY);
      }
      const { data, dim } = vectors!;
      const typical = median(pairs.map(([i, j]) => -Math.log(Math.max(1e-12, cosine(data, dim, i, j)))));
      const exponent = bandwidth === "median" && typical > 0 ? 0.5 / typical : 1;
      scales.push(2 * typical * exponent);
      return (members: Int32Array) => logCosineKernel(vectors!, members, exponent, this.store);
    });
    this.scales = scales;
    this.classes = used.map(({ name, members }) => ({
      name,
      members,
      data: cosineKernel(units.data, members, this.store),
      candidates: kernels.map((of) => of(members)),
    }));
  }

  /** Whether kernels have to be computed anew in each pass. */
  get streamed(): boolean {
    return this.store.exceeded;
  }

  /** Pairs that a pass looks at. */
  get pairs(): number {
    return this.classes.reduce((sum, { members: { length } }) => sum + (length * (length - 1)) / 2, 0);
  }

  /** The classes that count, in the order of `perClass`. */
  get classNames(): string[] {
    return this.classes.map(({ name }) => name);
  }

  /** Each class's value with its gradient by the weights. */
  perClass(weights: Float64Array): HsicResult[] {
    const { centring = "paper", normalise = "data", divisor } = this.options;
    return this.classes.map(({ members, data, candidates }) =>
      hsic(data, groupKernel(candidates, members.length), weights, { centring, normalise, divisor }),
    );
  }

  /** A candidate's own value in each class. */
  alone(candidate: number): Float64Array {
    const { centring = "paper", normalise = "data", divisor } = this.options;
    const weights = Float64Array.of(1);
    return Float64Array.from(this.classes, ({ members, data, candidates }) => {
      const kernel = groupKernel([candidates[candidate]], members.length);
      return hsic(data, kernel, weights, { centring, normalise, divisor }).value;
    });
  }

  /**
   * Aggregates values of classes (eq. 6).
   * @param chosen places of the classes to use, all by default; a class may be there twice (bootstrap)
   */
  aggregate(values: ArrayLike<number>, chosen?: readonly number[]): number {
    const { aggregate = "weighted" } = this.options;
    const places = chosen ?? this.classes.map((_, i) => i);
    if (aggregate === "mean")
      return (
        places.reduce((sum, i) => sum + values[i], 0) /
        (chosen === undefined ? this.classCount : places.length)
      );
    const points = places.reduce((sum, i) => sum + this.classes[i].members.length, 0);
    const sum = places.reduce((all, i) => all + values[i] * this.classes[i].members.length, 0);
    return sum / (chosen === undefined ? this.total : points);
  }

  /** The group's estimate with its gradient by the weights. */
  estimate(weights: Float64Array): HsicResult {
    const results = this.perClass(weights);
    const gradient = Float64Array.from(weights, (_, h) => this.aggregate(results.map((r) => r.gradient[h])));
    return { value: this.aggregate(results.map(({ value }) => value)), gradient };
  }
}

function standardised(values: Float64Array): Float64Array {
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  const deviation = Math.sqrt(values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / values.length);
  return values.map((v) => (deviation > 0 ? (v - mean) / deviation : 0));
}

function cosine(data: Float32Array, dim: number, i: number, j: number): number {
  let sum = 0;
  for (let d = 0; d < dim; d++) sum += data[i * dim + d] * data[j * dim + d];
  return sum;
}

/** Pairs within classes, each class by its share: enough for a median. */
function samplePairs(classes: readonly Int32Array[], wanted = 20_000): [number, number][] {
  const rng = random(1, "bandwidth");
  const total = classes.reduce((sum, members) => sum + members.length, 0);
  return classes.flatMap((members) => {
    const n = members.length;
    const all = (n * (n - 1)) / 2;
    const count = Math.ceil((wanted * n) / total);
    if (all <= count) {
      const pairs: [number, number][] = [];
      for (let i = 1; i < n; i++) for (let j = 0; j < i; j++) pairs.push([members[i], members[j]]);
      return pairs;
    }
    return Array.from({ length: count }, (): [number, number] => {
      const i = rng.int(n);
      return [members[i], members[(i + 1 + rng.int(n - 1)) % n]];
    });
  });
}

function median(values: number[]): number {
  const sorted = Float64Array.from(values).sort();
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
