import { availableParallelism } from "node:os";
import { WorkerPool } from "../../corpus/worker-pool.ts";
import { RunError } from "../../errors.ts";
import { type EstimateOptions, Estimator, type Units } from "./estimate.ts";
import type { HsicResult } from "./hsic.ts";
import type { KernelStore, UnitVectors } from "./kernels.ts";
import { descend, type OptimiseOptions, type Problem, RESTARTS, type Solution, STEPS } from "./optimise.ts";

/** What is minimised of an estimator's units: their estimate and `penalty` |lambda|^2 (eq. 8). */
export interface WeightsProblem extends Pick<Problem, "groups" | "fixed"> {
  readonly penalty: number;
  readonly optimise: OptimiseOptions;
}

export interface RestartOptions {
  /** Default: all processors. */
  readonly threads?: number;
  readonly signal?: AbortSignal;
  /** Steps done of all starts. */
  readonly onStep?: (done: number, total: number) => void;
}

/** One start for a worker thread. Arrays are in shared memory, so that a message does not copy them. */
export interface RestartTask {
  readonly units: Units;
  readonly estimate: EstimateOptions;
  readonly kernels: KernelStore["triangles"];
  readonly problem: WeightsProblem;
  readonly restart: number;
  /** Steps done of each start. */
  readonly steps: Int32Array;
}

/** Candidates' values at pairs of units that a thread takes about a second for: less is not worth starting others. */
const SMALL = 1e8;

/**
 * All starts of a problem, on worker threads where it is large: the same solutions either way.
 * @throws RunError where the signal came first
 */
export async function solveFromStarts(
  estimator: Estimator,
  problem: WeightsProblem,
  { threads = availableParallelism(), signal, onStep = () => {} }: RestartOptions = {},
): Promise<Solution[]> {
  const { restarts = RESTARTS, steps = STEPS } = problem.optimise;
  const starts = Array.from({ length: restarts }, (_, restart) => restart);
  if (estimator.pairs * estimator.names.length * restarts * steps <= SMALL)
    return starts.map((restart) =>
      solve(estimator, problem, restart, (done) => onStep(restart * steps + done, restarts * steps)),
    );
  const task = {
    units: sharedUnits(estimator.units),
    estimate: estimator.options,
    kernels: estimator.store.triangles,
    problem,
    steps: new Int32Array(new SharedArrayBuffer(restarts * Int32Array.BYTES_PER_ELEMENT)),
  };
  const atOnce = Math.min(threads, restarts);
  const pool = new WorkerPool<RestartTask, Solution>(import.meta.url, "restarts-worker", atOnce);
  const solutions: Solution[] = [];
  const left = starts.slice();
  // Handed out one by one: some settle long before others.
  const takeTurns = async (): Promise<void> => {
    for (let restart = left.shift(); restart !== undefined; restart = left.shift())
      solutions[restart] = await pool.run({ ...task, restart });
  };
  const tell = setInterval(
    () =>
      onStep(
        task.steps.reduce((a, b) => a + b, 0),
        restarts * steps,
      ),
    200,
  );
  const stop = () => void pool.close();
  signal?.addEventListener("abort", stop);
  try {
    if (signal?.aborted) await pool.close();
    await Promise.all(Array.from({ length: atOnce }, takeTurns));
    return solutions;
  } catch (error) {
    throw signal?.aborted ? new RunError("stopped; the same command goes on") : error;
  } finally {
    clearInterval(tell);
    signal?.removeEventListener("abort", stop);
    await pool.close();
  }
}

function solve(
  estimator: Estimator,
  { penalty, optimise, groups, fixed }: WeightsProblem,
  restart: number,
  onStep: (done: number) => void,
): Solution {
  const objective = (weights: Float64Array): HsicResult => {
    const { value, gradient } = estimator.estimate(weights);
    return {
      value: value + penalty * weights.reduce((sum, w) => sum + w * w, 0),
      gradient: gradient.map((g, h) => g + 2 * penalty * weights[h]),
    };
  };
  return descend({ objective, groups, fixed }, optimise, restart, onStep);
}

let own: Estimator | undefined;

/** In a worker thread: a start, by an estimator that is made once for all starts of a problem. */
export async function runStart(task: RestartTask): Promise<Solution> {
  const { units, estimate, kernels, problem, restart, steps } = task;
  own ??= new Estimator(units, estimate, kernels);
  const solution = solve(own, problem, restart, (done) => Atomics.store(steps, restart, done));
  Atomics.store(steps, restart, problem.optimise.steps ?? STEPS); // it may have settled early
  return solution;
}

function sharedUnits({ data, candidates, classes }: Units): Units {
  const vectors = (each: UnitVectors): UnitVectors => ({ data: shared(each.data), dim: each.dim });
  return {
    data: vectors(data),
    candidates: candidates.map((each) =>
      each.vectors === undefined ? each : { ...each, vectors: vectors(each.vectors) },
    ),
    classes,
  };
}

function shared(array: Float32Array): Float32Array {
  if (array.buffer instanceof SharedArrayBuffer) return array;
  const copy = new Float32Array(new SharedArrayBuffer(array.byteLength));
  copy.set(array);
  return copy;
}
