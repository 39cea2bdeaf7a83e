import { input } from "../ops/source.ts";
import { random } from "../random.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** How a parameter starts where no checkpoint gives it. */
export type Init =
  | { readonly kind: "constant"; readonly value: number }
  | { readonly kind: "normal"; readonly std: number }
  | { readonly kind: "uniform"; readonly bound: number }
  | { readonly kind: "values"; readonly values: readonly number[] }
  /** Computed from others once they have their values (weight norm's lengths). */
  | { readonly kind: "norm"; readonly of: string; readonly axis: number };

export const constantInit = (value: number): Init => ({ kind: "constant", value });
export const normalInit = (std: number): Init => ({ kind: "normal", std });
export const uniformInit = (bound: number): Init => ({ kind: "uniform", bound });

export interface ParameterSpec {
  /** The checkpoint key, in Hugging Face's spelling. */
  readonly name: string;
  readonly shape: readonly number[];
  readonly init: Init;
}

/** What a layer sees: its own parameters by name, its parts by path. What they *are* is the plan's business. */
export interface Params {
  readonly path: string;
  at(path: string): Params;
  /** The parameter `name` of this layer; tracing the same one twice gives the same tensor. */
  get(name: string, shape: readonly number[], init: Init): Tensor;
}

/** A transformation of parameters inside the graph: what a weight is (itself, a masked product, a sum with an adapter). */
export type Transform = (raw: Tensor, spec: ParameterSpec, params: Params) => Tensor;

/** Collects the parameters that a model asks for while it is traced. */
export class ParameterTable implements Params {
  readonly path = "";
  readonly specs = new Map<string, ParameterSpec>();
  readonly inputs = new Map<string, Tensor>();
  private readonly values = new Map<string, Tensor>();
  private readonly transform: Transform | undefined;

  constructor(transform?: Transform) {
    this.transform = transform;
  }

  at(path: string): Params {
    return new Scope(this, path);
  }

  get(name: string, shape: readonly number[], init: Init): Tensor {
    const known = this.specs.get(name);
    if (known !== undefined) {
      if (known.shape.join() !== shape.join())
        throw new Error(`parameter '${name}' is asked for as [${shape}] and as [${known.shape}]`);
      return this.values.get(name)!;
    }
    const spec: ParameterSpec = { name, shape, init };
    const raw = input(name, shape);
    this.specs.set(name, spec);
    this.inputs.set(name, raw);
    this.values.set(name, this.transform?.(raw, spec, this) ?? raw);
    return this.values.get(name)!;
  }
}

class Scope implements Params {
  readonly path: string;
  private readonly table: ParameterTable;

  constructor(table: ParameterTable, path: string) {
    this.table = table;
    this.path = path;
  }

  at(path: string): Params {
    return new Scope(this.table, `${this.path}.${path}`);
  }

  get(name: string, shape: readonly number[], init: Init): Tensor {
    return this.table.get(`${this.path}.${name}`, shape, init);
  }
}

/** Fills parameters with their starting values: a function of (seed, name) alone. */
export function initialise(
  specs: Iterable<ParameterSpec>,
  seed: number,
  arrayOf: (name: string) => Float32Array,
): void {
  const later: ParameterSpec[] = [];
  for (const spec of specs) {
    const out = arrayOf(spec.name);
    const rng = random(seed, "init", spec.name);
    const { init } = spec;
    if (init.kind === "constant") out.fill(init.value);
    else if (init.kind === "values") out.set(init.values);
    else if (init.kind === "normal") for (let i = 0; i < out.length; i++) out[i] = init.std * rng.normal();
    else if (init.kind === "uniform")
      for (let i = 0; i < out.length; i++) out[i] = init.bound * (2 * rng.next() - 1);
    else later.push(spec);
  }
  for (const { name, shape, init } of later) {
    if (init.kind !== "norm") continue;
    const path = name.slice(0, name.lastIndexOf(".") + 1);
    const of = arrayOf(path + init.of);
    const out = arrayOf(name);
    const squares = new Float64Array(out.length);
    // Only the last axis is kept (weight norm over dim 2 of a convolution).
    for (let i = 0; i < of.length; i++) squares[i % shape[init.axis]] += of[i] ** 2;
    for (let i = 0; i < out.length; i++) out[i] = Math.sqrt(squares[i]);
  }
}
