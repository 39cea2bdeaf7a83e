import { UserError } from "../errors.ts";
import { applyBits, packBits } from "../params/mask.ts";
import { bitsOf, TopScores, zerosOf } from "../params/select.ts";
import type { Training } from "./groups.ts";
import { matricesOf, type PrunedMatrix, rankedGroups } from "./masks.ts";
import type { Recipe } from "./recipe-schema.ts";
import type { ParameterStore } from "./store.ts";

export type PruneSpec = NonNullable<Recipe["plan"]["prune"]>;

/**
 * Magnitude pruning of weights that train. One-shot and iterative pruning hold what they pruned at zero; PARP (Lai et al. 2021)
 * lets zeroed weights train on and prunes anew every so often, and PARP-P raises the sparsity on the way. As in PARP's released
 * code everything is ranked together and biases are pruned too, unless the plan says otherwise.
 */
export class Pruner {
  private readonly spec: PruneSpec;
  private readonly store: ParameterStore;
  private readonly totalSteps: number;
  private readonly groups: readonly (readonly PrunedMatrix[])[];
  /** What is held at zero, as bits of what is not. */
  private held: { name: string; bits: Uint8Array }[] = [];

  /** @throws UserError where what is to be pruned does not train */
  constructor(
    spec: PruneSpec,
    store: ParameterStore,
    training: ReadonlyMap<string, Training>,
    totalSteps: number,
  ) {
    const matrices = matricesOf(store.specs.keys(), spec, "plan.prune");
    const frozen = matrices.find(({ name }) => training.get(name)!.frozen);
    if (frozen !== undefined)
      throw new UserError(`plan.prune: \`${frozen.name}\` is frozen; only weights that train can be pruned`);
    const biases = matrices.flatMap((matrix): PrunedMatrix[] => {
      const name = matrix.name.replace(/weight$/, "bias");
      return spec.biases && store.specs.has(name) ? [{ ...matrix, name }] : [];
    });
    this.spec = spec;
    this.store = store;
    this.totalSteps = totalSteps;
    this.groups = rankedGroups([...matrices, ...biases], spec.scope, () => 0).map((group) => group.matrices);
  }

  /** The step after which weights are pruned for the first time, and that from which on sparsity is the target. */
  private get first(): number {
    return Math.round(this.spec.start * this.totalSteps);
  }
  private get last(): number {
    return this.spec.initial === undefined ? this.first : Math.round(this.spec.until * this.totalSteps);
  }

  /** The sparsity in force after `step` updates; 0 before pruning begins. */
  sparsityAt(step: number): number {
    const { initial, sparsity } = this.spec;
    const { first, last } = this;
    if (step < first) return 0;
    if (initial === undefined || step >= last) return sparsity;
    return initial + ((sparsity - initial) * (step - first)) / Math.max(1, last - first);
  }

  /** Whether the sparsity after `step` updates is the target. */
  reached(step: number): boolean {
    return step >= this.last;
  }

  /** After `step` updates: prunes where it is time to, and where the model is about to be judged; holds what is held. */
  after(step: number, judged = false): void {
    const { every, zeros } = this.spec;
    const due = step === this.first || step === this.last || (step > this.first && step % every === 0);
    if (step >= this.first && (due || judged)) this.prune(this.sparsityAt(step));
    else if (zeros === "hold") this.hold();
  }

  /** Prunes the model that is handed out: that of the best evaluation may have been trained on since. */
  finish(): void {
    this.prune(this.spec.sparsity);
  }

  /** After weights were loaded: what is zero had been pruned. */
  resume(step: number): void {
    if (step >= this.first && this.spec.zeros === "hold") this.remember();
  }

  private prune(sparsity: number): void {
    for (const group of this.groups) {
      const arrays = group.map(({ name }) => {
        const weights = bitsOf(this.store.array(name));
        return { scores: weights, weights, effective: weights };
      });
      const entries = arrays.reduce((sum, { weights }) => sum + weights.length, 0);
      new TopScores(arrays, zerosOf(sparsity, entries)).apply();
    }
    if (this.spec.zeros === "hold") this.remember();
  }

  private remember(): void {
    this.held = this.groups.flat().map(({ name }) => {
      const weights = this.store.array(name);
      return { name, bits: packBits((i) => weights[i] !== 0, weights.length) };
    });
  }

  private hold(): void {
    for (const { name, bits } of this.held) {
      const weights = this.store.array(name);
      applyBits(bits, weights, weights);
    }
  }
}
