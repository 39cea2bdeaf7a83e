import { availableParallelism } from "node:os";
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

/**
 * Elements of a piece, and pieces of a run: small enough for an update's temporaries to stay in the cache, large enough
 * for the runtime's own cost of a node (some 8 us) to be small beside its work.
 */
const PIECE = 131_072;
const PIECES = 16;
/** Runs beside each other at most: memory bounds an update, and the pool that they run in has four threads. */
const LANES = 4;

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

/** Pieces of a stretch, ready to run: the arrays are wrapped for the runtime once. */
interface Bound {
  readonly runs: readonly (() => Promise<void>)[];
  /** What the runs read anew, or leave behind, each time. */
  readonly values: Readonly<Record<string, Float32Array>>;
}

/**
 * Clips and updates the flat buffers of a store in place. Each run has one thread and several go on at once: a piece then
 * stays in one core's cache from node to node.
 */
export class Optimiser {
  readonly spec: OptimiserSpec;
  readonly states: Readonly<Record<string, Float32Array>>;
  private readonly store: ParameterStore;
  private readonly options: ProgramOptions;
  private readonly programs = new Map<string, Promise<Program>>();
  private readonly bound = new Map<string, Promise<Bound>>();

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
    const key = `squares ${ranges.map(({ start, end }) => `${start}:${end}`)}`;
    const { runs, values } = await this.once(key, () => this.bindSquares([...batches(ranges)]));
    await this.runAll(runs);
    return Math.sqrt(Object.values(values).reduce((sum, [squares]) => sum + squares, 0));
  }

  /** One step. `scale` multiplies the gradients (what clipping and accumulation leave of them). */
  async step(ranges: readonly UpdateRange[], scale: number): Promise<void> {
    for (const range of ranges) {
      const scalars = stepScalars(this.spec, { ...range, scale });
      const variant = optimiserVariant(this.spec, range.weightDecay);
      const { runs, values } = await this.once(`${variant} ${range.start}:${range.end}`, () =>
        this.bindStep(variant, Object.keys(scalars), [...batches([range])]),
      );
      for (const [name, value] of Object.entries(scalars)) values[name][0] = value;
      await this.runAll(runs);
    }
  }

  private async bindSquares(work: readonly Range[][]): Promise<Bound> {
    const values: Record<string, Float32Array> = {};
    const runs: Bound["runs"][number][] = [];
    for (const [run, pieces] of work.entries()) {
      const program = await this.program(`squares ${pieces.length}`, () => squaresGraph(pieces.length));
      const feeds: Record<string, Value> = {};
      const into: Record<string, Value> = {};
      for (const [i, piece] of pieces.entries()) {
        feeds[`gradient.${i}`] = view(this.store.gradients, piece);
        into[`squares.${i}`] = number(0);
        values[`${run}.${i}`] = into[`squares.${i}`].data as Float32Array;
      }
      runs.push(program.bind(feeds, into));
    }
    return { runs, values };
  }

  private async bindStep(
    variant: ReturnType<typeof optimiserVariant>,
    scalars: readonly string[],
    work: readonly Range[][],
  ): Promise<Bound> {
    const settings = Object.fromEntries(scalars.map((name) => [name, number(0)]));
    const inPlace = { weight: this.store.weights, ...this.states };
    const runs: Bound["runs"][number][] = [];
    for (const pieces of work) {
      const program = await this.program(`${variant} ${pieces.length}`, () =>
        optimiserGraph(this.spec, variant, pieces.length),
      );
      const feeds: Record<string, Value> = { ...settings };
      const into: Record<string, Value> = {};
      for (const [i, piece] of pieces.entries()) {
        feeds[`gradient.${i}`] = view(this.store.gradients, piece);
        for (const [name, buffer] of Object.entries(inPlace))
          feeds[`${name}.${i}`] = into[`new.${name}.${i}`] = view(buffer, piece);
      }
      runs.push(program.bind(feeds, into));
    }
    const values = Object.fromEntries(
      Object.entries(settings).map(([name, { data }]) => [name, data as Float32Array]),
    );
    return { runs, values };
  }

  private once(key: string, bind: () => Promise<Bound>): Promise<Bound> {
    let bound = this.bound.get(key);
    if (bound === undefined) {
      bound = bind();
      this.bound.set(key, bound);
    }
    return bound;
  }

  private async runAll(runs: Bound["runs"]): Promise<void> {
    const left = runs.values();
    const lane = async () => {
      for (const run of left) await run();
    };
    const lanes = Math.min(this.options.threads ?? availableParallelism(), LANES);
    await Promise.all(Array.from({ length: lanes }, lane));
  }

  private program(key: string, graph: () => Graph): Promise<Program> {
    let program = this.programs.get(key);
    if (program === undefined) {
      program = compile(graph(), { ...this.options, threads: 1 });
      this.programs.set(key, program);
    }
    return program;
  }

  async dispose(): Promise<void> {
    for (const program of this.programs.values()) await (await program).dispose();
    this.programs.clear();
    this.bound.clear();
  }
}

const view = (buffer: Float32Array, { start, end }: Range): Value =>
  f32([end - start], buffer.subarray(start, end));

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
