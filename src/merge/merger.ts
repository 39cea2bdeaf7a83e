import { UserError } from "../errors.ts";
import type { Checkpoint } from "../weights/checkpoint.ts";
import {
  combine,
  dareKey,
  elected,
  type Keep,
  MagnitudeSelection,
  signBalance,
  slerp,
  taskVector,
} from "./kernels.ts";
import type { MergeModels } from "./models.ts";
import { type MergeSpec, scaleOf } from "./spec.ts";
import { type Unit, unitsOf } from "./units.ts";

/** Told how many elements have been read of how many in all. */
export type OnProgress = (done: number, total: number) => void;

/** Computes merged tensors one at a time, in buffers that it reuses. */
export class Merger {
  private readonly models: readonly Checkpoint[];
  private readonly spec: MergeSpec;
  private readonly units: readonly Unit[];
  private readonly homes = new Map<string, Unit>();
  private readonly inputs: readonly Float32Array[];
  private readonly out: Float32Array;
  private readonly vectors: readonly Float64Array[];
  private readonly tally: (elements: number) => void;
  /** TIES over the whole model: each tuned model's least magnitude that stays, and the sign that breaks ties. */
  private thresholds: readonly number[] = [];
  private tie = 1;

  constructor(
    { base, tuned, lines }: Omit<MergeModels, "close">,
    spec: MergeSpec,
    onProgress: OnProgress = () => {},
  ) {
    this.models = [base, ...tuned];
    this.spec = spec;
    this.units = unitsOf(base, lines, spec);
    for (const unit of this.units) for (const name of unit.tensors) this.homes.set(name, unit);
    const largest = Math.max(0, ...this.units.map(({ size }) => size));
    this.inputs = this.models.map(() => new Float32Array(largest));
    this.out = new Float32Array(largest);
    const trims = spec.method === "ties" || spec.method === "dare";
    this.vectors = trims ? tuned.map(() => new Float64Array(largest)) : [];
    const elements = this.units.reduce((sum, { size }) => sum + size, 0);
    const global = spec.method === "ties" && spec.scope === "model" && scaleOf(spec) !== 0;
    const passes = 1 + (global ? (spec.density < 1 ? 2 : 0) + (tuned.length > 1 ? 1 : 0) : 0);
    let done = 0;
    this.tally = (count) => onProgress((done += count), passes * elements);
    if (global) this.lookAhead(elements);
  }

  /** One merged tensor; the array is used again for the next one. @throws UserError where it is not finite */
  tensor(name: string): Float32Array {
    const unit = this.homes.get(name)!;
    const { shape } = this.models[0].weights.infos.get(name)!;
    const size = shape.reduce((a, b) => a * b, 1);
    this.tally(size);
    const copied = this.copyOf();
    if (copied !== undefined) return copied.weights.readF32(name, this.out.subarray(0, size));
    const merged = this.merge(unit);
    // The first input is not needed any more.
    const into = unit.tensors.length === 1 ? merged : this.inputs[0].subarray(0, size);
    if (unit.tensors.length > 1) unit.write(name, merged, into);
    this.checkFinite(name, into);
    return into;
  }

  /** The model that the result is equal to, where it is one of them: its tensors are then taken as they are stored. */
  private copyOf(): Checkpoint | undefined {
    const { method, weights } = this.spec;
    const scale = scaleOf(this.spec);
    if (scale === 0) return this.models[0];
    const single = this.models.length === 2 && ["interpolate", "linear", "slerp"].includes(method);
    const last = method === "sequential" && scale === 1;
    return (single && scale === 1 && weights[0] > 0) || last ? this.models.at(-1) : undefined;
  }

  private read(unit: Unit): Float32Array[] {
    return this.models.map((model, i) => {
      const into = this.inputs[i].subarray(0, unit.size);
      unit.read(model, into);
      return into;
    });
  }

  private merge(unit: Unit): Float32Array {
    const { method, alpha, weights, elect } = this.spec;
    const scale = scaleOf(this.spec);
    const out = this.out.subarray(0, unit.size);
    const inputs = this.read(unit);
    const [base, ...tuned] = inputs;
    if (method === "slerp") slerp(out, base, tuned[0], alpha);
    else if (method === "sequential") {
      let from = base;
      for (const next of tuned) {
        combine(out, [from, next], [1 - alpha, alpha]);
        from = out;
      }
    } else if (method === "ties" || method === "dare") {
      const vectors = this.trimmed(unit, base, tuned);
      const tie = this.spec.scope === "model" ? this.tie : 1;
      elected(out, base, vectors, scale, { elect, weights, tie, normalize: method === "ties" });
    } else combine(out, inputs, this.coefficients());
    return out;
  }

  /** Interpolation, mean and task arithmetic are all (1 - sum c) base + sum c_i tuned_i. */
  private coefficients(): number[] {
    const { method, weights } = this.spec;
    const total = ascending(weights);
    const each = weights.map((w) => (scaleOf(this.spec) * w) / (method === "arithmetic" ? 1 : total));
    // For a mean the weights sum to 1 by definition, not by rounding.
    return [1 - (method === "arithmetic" ? ascending(each) : scaleOf(this.spec)), ...each];
  }

  private trimmed(unit: Unit, base: Float32Array, tuned: readonly Float32Array[]): Float64Array[] {
    return tuned.map((x, i) => {
      const out = this.vectors[i].subarray(0, unit.size);
      taskVector(out, base, x, this.keep(unit, i));
      return out;
    });
  }

  private keep(unit: Unit, model: number): Keep {
    const { method, density, scope, seed } = this.spec;
    if (method === "dare") return { kind: "random", density, key: dareKey(seed, model, unit.name) };
    if (density === 1) return { kind: "above", threshold: 0 };
    if (scope === "model") return { kind: "above", threshold: this.thresholds[model] };
    // A tensor of a few values keeps one at least: mergekit stops there.
    return { kind: "largest", count: Math.max(1, Math.trunc(density * unit.size)) };
  }

  /** Passes before the merge: magnitudes that stay, over the whole model, and the balance of elected signs. */
  private lookAhead(elements: number): void {
    const { density, elect, weights } = this.spec;
    const tuned = this.models.length - 1;
    if (density < 1) {
      // The reference keeps what is at least its (d - int(density d))-th smallest magnitude: one more than the share.
      const rank = Math.trunc(density * elements) + 1;
      const selections = Array.from({ length: tuned }, () => new MagnitudeSelection(rank));
      for (const pass of [0, 1]) {
        for (const unit of this.units) {
          const [base, ...others] = this.read(unit);
          for (const [i, x] of others.entries()) selections[i].add(base, x);
          this.tally(unit.size);
        }
        if (pass === 0) for (const selection of selections) selection.next();
      }
      this.thresholds = selections.map((selection) => selection.threshold());
    }
    // With one model no votes cancel.
    if (tuned === 1 || elect === "none") return;
    let balance = 0;
    for (const unit of this.units) {
      const [base, ...others] = this.read(unit);
      balance += signBalance(this.trimmed(unit, base, others), weights, elect);
      this.tally(unit.size);
    }
    this.tie = Math.sign(balance);
  }

  private checkFinite(name: string, values: Float32Array): void {
    let sum = 0;
    for (let i = 0; i < values.length; i++) sum += values[i];
    if (Number.isFinite(sum)) return;
    const source = this.models.find(({ weights }) => {
      const own = weights.readF32(name);
      return own.some((x) => !Number.isFinite(x));
    });
    throw new UserError(
      source === undefined
        ? `"${name}" becomes NaN or infinite by this merge; a smaller --alpha or smaller --weights may help`
        : `${source.path}: "${name}" holds a NaN or an infinity`,
    );
  }
}

const ascending = (x: readonly number[]) => [...x].sort((a, b) => a - b).reduce((a, b) => a + b, 0);
