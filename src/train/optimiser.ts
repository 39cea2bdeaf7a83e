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
import type { Graph } from "../tensor/graph.ts";
import type { ParameterStore } from "./store.ts";

/** Elements of a piece: small enough for an update's temporaries to stay in the cache. */
const PIECE = 131_072;
/** Pieces updated by one run of a graph: calling the runtime costs as much as updating one. */
const PIECES = 16;

/** A stretch of the flat buffers. */
export interface Range {
  readonly start: number;
  readonly end: number;
}

/** A stretch with its own settings. */
export interface UpdateRange extends Range {
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
  private readonly options: ProgramOptions;
  private readonly programs = new Map<string, Promise<Program>>();
  private readonly views = new Map<string, Value>();

  constructor(spec: OptimiserSpec, store: ParameterStore, options: ProgramOptions = {}) {
    this.spec = spec;
    this.store = store;
    this.options = options;
    this.states = Object.fromEntries(
      stateNames(spec).map((name) => [name, new Float32Array(store.trainedSize)]),
    );
  }

  /** Euclidean norm of the gradients of the given ranges. */
  async norm(ranges: readonly Range[]): Promise<number> {
    let sum = 0;
    for (const pieces of batches(ranges)) {
      const program = await this.program(`squares ${pieces.length}`, () => squaresGraph(pieces.length));
      const gradients = pieces.map((piece, i) => [
        `gradient.${i}`,
        this.view("gradient", this.store.gradients, piece),
      ]);
      const results = await program.run(Object.fromEntries(gradients));
      for (const { data } of Object.values(results)) sum += (data as Float32Array)[0];
    }
    return Math.sqrt(sum);
  }

  /** One step. `scale` multiplies the gradients (what clipping and accumulation leave of them). */
  async step(ranges: readonly UpdateRange[], scale: number): Promise<void> {
    for (const range of ranges) {
      const scalars: Record<string, Value> = {};
      for (const [name, value] of Object.entries(stepScalars(this.spec, { ...range, scale })))
        scalars[name] = number(value);
      const variant = optimiserVariant(this.spec, range.weightDecay);
      for (const pieces of batches([range])) {
        const program = await this.program(`${variant} ${pieces.length}`, () =>
          optimiserGraph(this.spec, variant, pieces.length),
        );
        const feeds: Record<string, Value> = { ...scalars };
        const into: Record<string, Value> = {};
        for (const [i, piece] of pieces.entries()) {
          feeds[`gradient.${i}`] = this.view("gradient", this.store.gradients, piece);
          const inPlace = { weight: this.store.weights, ...this.states };
          for (const [name, buffer] of Object.entries(inPlace)) {
            const value = this.view(name, buffer, piece);
            feeds[`${name}.${i}`] = into[`new.${name}.${i}`] = value;
          }
        }
        await program.run(feeds, into);
      }
    }
  }

  private program(key: string, graph: () => Graph): Promise<Program> {
    let program = this.programs.get(key);
    if (program === undefined) {
      program = compile(graph(), this.options);
      this.programs.set(key, program);
    }
    return program;
  }

  /** Views are kept: the runtime wraps each array once. */
  private view(name: string, buffer: Float32Array, { start, end }: Range): Value {
    const key = `${name}:${start}:${end}`;
    let view = this.views.get(key);
    if (view === undefined) {
      view = f32([end - start], buffer.subarray(start, end));
      this.views.set(key, view);
    }
    return view;
  }

  async dispose(): Promise<void> {
    for (const program of this.programs.values()) await (await program).dispose();
    this.programs.clear();
  }
}

/** Ranges cut into pieces, up to PIECES of them together. */
function* batches(ranges: readonly Range[]): Generator<Range[]> {
  let pieces: Range[] = [];
  for (const { start, end } of ranges)
    for (let at = start; at < end; at += PIECE) {
      pieces.push({ start: at, end: Math.min(end, at + PIECE) });
      if (pieces.length === PIECES) {
        yield pieces;
        pieces = [];
      }
    }
  if (pieces.length > 0) yield pieces;
}
