import {
  type OptimiserSpec,
  optimiserGraph,
  optimiserVariant,
  squaresGraph,
  stateNames,
  stepScalars,
} from "../nn/optimisers.ts";
import { compile } from "../runtime/cpu.ts";
import { f32, number, type Program, type ProgramOptions, type Value } from "../runtime/program.ts";
import type { ParameterStore } from "./store.ts";

/** Elements updated by one run of the optimiser's graph: small enough for temporaries to stay in the cache. */
const CHUNK = Number(process.env.CHUNK ?? 262_144);

/** A stretch of the flat buffers with its own settings. */
export interface UpdateRange {
  readonly start: number;
  readonly end: number;
  readonly lr: number;
  readonly weightDecay: number;
  /** 1 at the first update of this stretch. */
  readonly step: number;
}

/** Clips and updates the flat buffers of a store in place. */
export class Optimiser {
  readonly spec: OptimiserSpec;
  readonly states: Readonly<Record<string, Float32Array>>;
  private readonly store: ParameterStore;
  private readonly updates = new Map<string, Program>();
  private readonly squares: Program;
  private readonly options: ProgramOptions;
  private readonly views = new Map<string, Value>();

  private constructor(spec: OptimiserSpec, store: ParameterStore, squares: Program, options: ProgramOptions) {
    this.spec = spec;
    this.store = store;
    this.squares = squares;
    this.options = options;
    this.states = Object.fromEntries(
      stateNames(spec).map((name) => [name, new Float32Array(store.trainedSize)]),
    );
  }

  static async create(
    spec: OptimiserSpec,
    store: ParameterStore,
    options: ProgramOptions = {},
  ): Promise<Optimiser> {
    return new Optimiser(spec, store, await compile(squaresGraph(), options), options);
  }

  /** Euclidean norm of the gradients of the given ranges. */
  async norm(ranges: readonly { start: number; end: number }[]): Promise<number> {
    let sum = 0;
    for (const [start, end] of chunks(ranges)) {
      const { squares } = await this.squares.run({
        gradient: this.view("gradient", this.store.gradients, start, end),
      });
      sum += (squares.data as Float32Array)[0];
    }
    return Math.sqrt(sum);
  }

  /** One step. `scale` multiplies the gradients (what clipping and accumulation leave of them). */
  async step(ranges: readonly UpdateRange[], scale: number): Promise<void> {
    for (const range of ranges) {
      const scalars = stepScalars(this.spec, { ...range, scale });
      const fixed: Record<string, Value> = {};
      for (const [name, value] of Object.entries(scalars)) fixed[name] = number(value);
      const update = await this.program(range.weightDecay);
      for (const [start, end] of chunks([range])) {
        const weight = this.view("weight", this.store.weights, start, end);
        const gradient = this.view("gradient", this.store.gradients, start, end);
        const feeds: Record<string, Value> = { ...fixed, weight, gradient };
        const into: Record<string, Value> = { "new.weight": weight };
        for (const [name, buffer] of Object.entries(this.states)) {
          feeds[name] = this.view(name, buffer, start, end);
          into[`new.${name}`] = feeds[name];
        }
        await update.run(feeds, into);
      }
    }
  }

  private async program(weightDecay: number): Promise<Program> {
    const variant = optimiserVariant(this.spec, weightDecay);
    let program = this.updates.get(variant);
    if (program === undefined) {
      program = await compile(optimiserGraph(this.spec, variant), this.options);
      this.updates.set(variant, program);
    }
    return program;
  }

  /** Views are kept: the runtime wraps each array once. */
  private view(name: string, buffer: Float32Array, start: number, end: number): Value {
    const key = `${name}:${start}:${end}`;
    let view = this.views.get(key);
    if (view === undefined) {
      view = f32([end - start], buffer.subarray(start, end));
      this.views.set(key, view);
    }
    return view;
  }

  async dispose(): Promise<void> {
    for (const program of this.updates.values()) await program.dispose();
    await this.squares.dispose();
  }
}

function* chunks(ranges: readonly { start: number; end: number }[]): Generator<[number, number]> {
  for (const { start, end } of ranges)
    for (let at = start; at < end; at += CHUNK) yield [at, Math.min(end, at + CHUNK)];
}
