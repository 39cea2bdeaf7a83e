import { UserError } from "../errors.ts";
import { magnitudeMask, packBits, startScores } from "../params/mask.ts";
import { bitsOf, scoreGradients, TopScores, zerosOf } from "../params/select.ts";
import { fitsName, type Training } from "./groups.ts";
import type { Recipe } from "./recipe-schema.ts";
import type { ParameterStore } from "./store.ts";

export type MaskSpec = NonNullable<Recipe["plan"]["mask"]>;
export type MaskModules = MaskSpec["modules"];

/** The weight matrices of a transformer that masks and pruning reach, by Hugging Face's names. */
const MODULES = {
  ffn: /(?:^|\.)layers\.(\d+)\.feed_forward\.(?:intermediate_dense|output_dense)\.weight$/,
  attention: /(?:^|\.)layers\.(\d+)\.attention\.(?:q_proj|k_proj|v_proj|out_proj)\.weight$/,
} as const;

export interface PrunedMatrix {
  readonly name: string;
  readonly layer: number;
  readonly module: keyof typeof MODULES;
}

/**
 * The matrices among `names` that a plan's `modules` and `layers` mean.
 * @throws UserError where there is none, or a layer is named that the model does not have
 */
export function matricesOf(
  names: Iterable<string>,
  { modules, layers }: { modules: MaskModules; layers: "all" | readonly number[] },
  key = "plan.mask",
): PrunedMatrix[] {
  const all: PrunedMatrix[] = [];
  for (const name of names)
    for (const module of ["ffn", "attention"] as const) {
      const found = MODULES[module].exec(name);
      if (found !== null) all.push({ name, layer: Number(found[1]), module });
    }
  const present = new Set(all.map(({ layer }) => layer));
  if (present.size === 0)
    throw new UserError(`${key}: this upstream has no transformer layers, so there is nothing to mask`);
  const unknown = layers === "all" ? undefined : layers.find((layer) => !present.has(layer));
  if (unknown !== undefined)
    throw new UserError(`${key}.layers: the model has no layer ${unknown}; it has 0 to ${present.size - 1}`);
  return all.filter(
    ({ layer, module }) =>
      (modules === "both" || modules === module) && (layers === "all" || layers.includes(layer)),
  );
}

/** Matrices ranked together by a scope, with the sparsity of each group. */
export function rankedGroups(
  matrices: readonly PrunedMatrix[],
  scope: MaskSpec["scope"],
  sparsityOf: (name: string) => number,
): { sparsity: number; matrices: PrunedMatrix[] }[] {
  const groups = new Map<string, { sparsity: number; matrices: PrunedMatrix[] }>();
  for (const matrix of matrices) {
    const sparsity = sparsityOf(matrix.name);
    const place = scope === "matrix" ? matrix.name : scope === "layer" ? matrix.layer : "";
    const key = `${place} ${sparsity}`;
    const group = groups.get(key) ?? { sparsity, matrices: [] };
    group.matrices.push(matrix);
    groups.set(key, group);
  }
  return [...groups.values()];
}

/** The sparsity of each matrix: the first of `rates` that fits its name, else the plan's own. */
export const sparsityOf =
  (spec: Pick<MaskSpec, "rates" | "sparsity">, bare: (name: string) => string) =>
  (name: string): number =>
    spec.rates.find(({ match }) => fitsName(match, bare(name)))?.sparsity ?? spec.sparsity;

/** A mask as it is kept: one bit a weight. */
export interface MaskBits {
  readonly name: string;
  readonly shape: readonly number[];
  readonly bits: Uint8Array;
  /** Weights that it keeps. */
  readonly kept: number;
}

/**
 * Masks over frozen weights (S3-Router, Fu et al. 2022, section 3.2): W_eff = W * [score ranks among the highest |scores|],
 * learned by straight-through gradients dL/ds = sign(s) W dL/dW_eff. Scores stand in the store where a trained weight
 * would: they have its gradients and its optimiser states, and the frozen weight has none.
 *
 * The effective weights are computed here, outside the graph: the graph of a masked model is that of the model.
 */
export class WeightMasks {
  readonly spec: MaskSpec;
  readonly matrices: readonly PrunedMatrix[];
  private readonly store: ParameterStore;
  private readonly groups: readonly { sparsity: number; matrices: readonly PrunedMatrix[] }[];
  private readonly frozen = new Map<string, Float32Array>();
  private tops: readonly TopScores[] = [];

  constructor(
    spec: MaskSpec,
    matrices: readonly PrunedMatrix[],
    store: ParameterStore,
    bare: (name: string) => string,
  ) {
    this.spec = spec;
    this.matrices = matrices;
    this.store = store;
    this.groups = rankedGroups(matrices, spec.scope, sparsityOf(spec, bare));
  }

  /** Takes the store's present weights as the frozen ones, starts the scores and applies the first mask. */
  start(seed: number): void {
    const { store, spec } = this;
    for (const { name } of this.matrices) {
      const weights = store.array(name).slice();
      this.frozen.set(name, weights);
      const { shape } = store.specs.get(name)!;
      startScores(name, shape, weights, store.scores(name), { ...spec, seed });
    }
    if (spec.init === "magnitude-mask")
      for (const { matrices, zeros } of this.ranked())
        magnitudeMask(
          matrices.map(({ name }) => this.frozen.get(name)!),
          matrices.map(({ name }) => store.scores(name)),
          zeros,
        );
    this.tops = this.ranked().map(
      ({ matrices, zeros }) =>
        new TopScores(
          matrices.map(({ name }) => ({
            scores: bitsOf(store.scores(name)),
            weights: bitsOf(this.frozen.get(name)!),
            effective: bitsOf(store.array(name)),
          })),
          zeros,
        ),
    );
    this.apply();
  }

  private ranked() {
    return this.groups.map(({ sparsity, matrices }) => {
      const entries = matrices.reduce((sum, { name }) => sum + this.store.array(name).length, 0);
      return { matrices, zeros: zerosOf(sparsity, entries) };
    });
  }

  /** The frozen weights of a matrix. */
  weights(name: string): Float32Array {
    return this.frozen.get(name)!;
  }

  /** Makes the effective weights of the scores as they are: after an update, and after scores were loaded. */
  apply(): void {
    for (const top of this.tops) top.apply();
  }

  /** Turns the gradients of effective weights in the store into those of the scores. */
  scoreGradients(reached: ReadonlySet<string>): void {
    const { store } = this;
    for (const { name } of this.matrices)
      if (reached.has(name))
        scoreGradients(
          store.scores(name),
          this.frozen.get(name)!,
          store.gradientValues[name].data as Float32Array,
        );
  }

  /** The masks of the present scores, told apart from weights that are 0 themselves. */
  bits(): MaskBits[] {
    const { store } = this;
    return this.ranked().flatMap(({ matrices, zeros }) => {
      const on = matrices.map(({ name }) => new Float32Array(store.array(name).length));
      const arrays = matrices.map(({ name }, i) => ({
        scores: bitsOf(store.scores(name)),
        weights: bitsOf(new Float32Array(on[i].length).fill(1)),
        effective: bitsOf(on[i]),
      }));
      new TopScores(arrays, zeros).apply();
      return matrices.map(({ name }, i): MaskBits => {
        const bits = packBits((place) => on[i][place] !== 0, on[i].length);
        const kept = on[i].reduce((sum, x) => sum + x, 0);
        return { name, shape: store.specs.get(name)!.shape, bits, kept };
      });
    });
  }
}

/** A recipe's plan of masks, resolved against a model's parameters. */
export interface MaskPlan {
  readonly spec: MaskSpec;
  readonly matrices: readonly PrunedMatrix[];
  readonly masked: ReadonlySet<string>;
  /** A parameter's name as recipes write it. */
  readonly bare: (name: string) => string;
}

/**
 * What a plan masks, and with it what trains of the upstream: the masked matrices (their scores) and what the plan adds; all
 * else of it is frozen in `training`.
 * @param key what errors call it
 * @throws UserError where a pattern fits nothing, or what is to be masked is frozen
 */
export function maskPlan(
  spec: MaskSpec | undefined,
  training: ReadonlyMap<string, Training>,
  prefix: string,
  key = "plan.mask",
): MaskPlan | undefined {
  if (spec === undefined) return undefined;
  const bare = (name: string) => (name.startsWith(prefix) ? name.slice(prefix.length) : name);
  const names = [...training.keys()];
  const matrices = matricesOf(names, spec, key);
  const masked = new Set(matrices.map(({ name }) => name));
  // The default is excepted: a model that hides no frames has no such vector.
  const idle = spec.alsoTrain.find(
    (match) => match !== "masked_spec_embed" && !names.some((name) => fitsName(match, bare(name))),
  );
  if (idle !== undefined) throw new UserError(`plan.mask.alsoTrain: \`${idle}\` fits no parameter`);
  for (const [name, how] of training) {
    if (masked.has(name) && how.frozen)
      throw new UserError(
        `plan.freeze: freezes \`${bare(name)}\`, whose mask is to be learned; leave its layer out of \`plan.mask.layers\` instead`,
      );
    if (name.startsWith(prefix) && !masked.has(name))
      how.frozen ||= !spec.alsoTrain.some((match) => fitsName(match, bare(name)));
  }
  return { spec, matrices, masked, bare };
}

/** The masks of a plan over the weights that the store holds now. */
export function startMasks(plan: MaskPlan, store: ParameterStore, seed: number): WeightMasks {
  const masks = new WeightMasks(plan.spec, plan.matrices, store, plan.bare);
  masks.start(seed);
  return masks;
}
