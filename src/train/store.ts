import { initialise, type ParameterSpec } from "../params/params.ts";
import { f32, type Value } from "../runtime/program.ts";
import { sizeOf } from "../tensor/evaluate.ts";

/** A piece of the flat buffers. */
export interface Span {
  readonly name: string;
  readonly start: number;
  readonly end: number;
}

/**
 * All weights of a model in one buffer, and gradients in another that covers only what trains: allocated once, read
 * and written in place by the compiled graphs. Of a masked parameter the trained buffer holds the scores, and what the
 * graph reads is an array apart.
 */
export class ParameterStore {
  readonly weights: Float32Array;
  readonly gradients: Float32Array;
  readonly spans = new Map<string, Span>();
  readonly specs: ReadonlyMap<string, ParameterSpec>;
  readonly values: Record<string, Value> = {};
  readonly gradientValues: Record<string, Value> = {};
  /** Weights [0, trainedSize) train at some time of the run. */
  readonly trainedSize: number;

  constructor(
    specs: ReadonlyMap<string, ParameterSpec>,
    trained: (name: string) => boolean,
    masked: (name: string) => boolean = () => false,
  ) {
    this.specs = specs;
    // What trains comes first, so that gradients and optimiser states need no gaps.
    const ordered = [...specs.values()].filter(({ name }) => trained(name));
    const count = (list: readonly ParameterSpec[]) => list.reduce((sum, { shape }) => sum + sizeOf(shape), 0);
    this.trainedSize = count(ordered);
    ordered.push(...[...specs.values()].filter(({ name }) => !trained(name)));
    this.weights = new Float32Array(count(ordered));
    this.gradients = new Float32Array(this.trainedSize);
    let at = 0;
    for (const { name, shape } of ordered) {
      const end = at + sizeOf(shape);
      this.spans.set(name, { name, start: at, end });
      const mine = this.weights.subarray(at, end);
      this.values[name] = f32(shape, masked(name) ? new Float32Array(mine.length) : mine);
      if (end <= this.trainedSize) this.gradientValues[name] = f32(shape, this.gradients.subarray(at, end));
      at = end;
    }
  }

  /** The array of one parameter, as the graph reads it. */
  array(name: string): Float32Array {
    const value = this.values[name];
    if (value === undefined) throw new Error(`there is no parameter '${name}'`);
    return value.data as Float32Array;
  }

  /** What trains in the place of a masked parameter. */
  scores(name: string): Float32Array {
    const { start, end } = this.spans.get(name)!;
    return this.weights.subarray(start, end);
  }

  isTrained(name: string): boolean {
    return name in this.gradientValues;
  }

  /** Random starting values for the given parameters (all by default). */
  initialise(seed: number, names: Iterable<string> = this.specs.keys()): void {
    initialise(
      [...names].map((name) => this.specs.get(name)!),
      seed,
      (name) => this.array(name),
    );
  }
}
