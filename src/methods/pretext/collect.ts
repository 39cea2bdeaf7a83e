import { existsSync, mkdirSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { ordered } from "../../corpus/ordered.ts";
import { WorkerPool } from "../../corpus/worker-pool.ts";
import { UserError } from "../../errors.ts";
import { hash32 } from "../../random.ts";
import { openSafetensors, writeSafetensors } from "../../weights/safetensors.ts";
import { type CandidateName, isSpectral } from "./candidates.ts";
import type { DescribeTask, Description } from "./describe.ts";
import type { Candidate, Units } from "./estimate.ts";
import type { UnitSource } from "./units.ts";

export interface CollectOptions {
  readonly candidates: readonly CandidateName[];
  /** Bands of the data's spectrogram (default 80). */
  readonly mels?: number;
  /** Frames of downsampled sequences: 10 for phones and words, 30 for utterances in the paper. */
  readonly frames: number;
  /** Keeps what was computed, so that a stopped command goes on and another method costs nothing. */
  readonly folder: string;
  readonly threads?: number;
  /** Leave out recordings that cannot be read instead of stopping at the first. */
  readonly skipBad?: boolean;
  readonly signal?: AbortSignal;
  readonly onSkip?: (message: string) => void;
  readonly onDone?: (recordings: number) => void;
}

const CACHE = "descriptors.safetensors";

/** What is known of the first recordings of a corpus, in order; undefined for one that could not be read. */
type Descriptions = (Description | undefined)[];

/**
 * Describes all units of a corpus by worker threads. Undefined where the signal came first; what was done until then is kept.
 * @throws UserError naming the recording that cannot be read
 */
export async function collectUnits(
  sources: readonly UnitSource[],
  options: CollectOptions,
): Promise<Units | undefined> {
  const { candidates, mels = 80, frames, folder, signal, skipBad = false } = options;
  const tasks = sources.map(
    ({ utterance: { id, audio, start, end }, units }): DescribeTask => ({
      recording: { id, audio, start, end },
      units: units.map((unit) => ({ start: unit.start, end: unit.end })),
      candidates,
      mels,
      frames,
    }),
  );
  const key = hash32(JSON.stringify(tasks)).toString(16);
  const cache = join(folder, CACHE);
  mkdirSync(folder, { recursive: true });
  const done = readCache(cache, key, tasks);
  const left = tasks.slice(done.length);
  options.onDone?.(done.length);
  if (left.length > 0) {
    const threads = Math.min(options.threads ?? availableParallelism(), left.length);
    const pool = new WorkerPool<DescribeTask, Description>(import.meta.url, "describe-worker", threads);
    try {
      for await (const [, result] of ordered(left, 2 * threads, (task) => pool.run(task))) {
        if (signal?.aborted) break;
        if (result.status === "fulfilled") done.push(result.value);
        else if (skipBad && result.reason instanceof UserError) {
          options.onSkip?.(result.reason.message);
          done.push(undefined);
        } else throw result.reason;
        options.onDone?.(done.length);
      }
    } finally {
      await pool.close();
      if (done.length > 0) writeCache(cache, key, tasks, done);
    }
    if (done.length < tasks.length) return undefined;
  }
  return assemble(sources, candidates, done);
}

function assemble(
  sources: readonly UnitSource[],
  names: readonly CandidateName[],
  descriptions: Descriptions,
): Units {
  const classOf = sources.flatMap(({ units }, i) =>
    descriptions[i] === undefined ? [] : units.map((unit) => unit.class),
  );
  const known = descriptions.filter((each) => each !== undefined);
  if (known.length === 0) throw new UserError("none of the recordings can be read");
  const joined = (of: (each: Description) => Float32Array) => {
    const parts = known.map(of);
    const out = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
    let at = 0;
    for (const part of parts) {
      out.set(part, at);
      at += part.length;
    }
    return out;
  };
  const vectors = (data: Float32Array) => ({ data, dim: data.length / classOf.length });
  const classes = [...new Set(classOf)].sort().map((name) => ({
    name,
    members: Int32Array.from(classOf.flatMap((each, i) => (each === name ? [i] : []))),
  }));
  return {
    data: vectors(joined(({ data }) => data)),
    candidates: names.map((name, c): Candidate => {
      const values = joined(({ candidates }) => candidates[c]);
      return isSpectral(name)
        ? { name, vectors: vectors(values) }
        : { name, values: Float64Array.from(values) };
    }),
    classes,
  };
}

/** The arrays of all recordings, back to back: what a stopped command leaves and the next one reads. */
function writeCache(path: string, key: string, tasks: readonly DescribeTask[], done: Descriptions): void {
  const parts = tasks[0].candidates.length + 1;
  const arrays = Array.from({ length: parts }, (_, p) =>
    done.flatMap((each) => (each === undefined ? [] : [p === 0 ? each.data : each.candidates[p - 1]])),
  );
  const skipped = done.flatMap((each, i) => (each === undefined ? [i] : []));
  writeSafetensors(
    path,
    arrays.map((list, p) => {
      const data = new Float32Array(list.reduce((sum, { length }) => sum + length, 0));
      let at = 0;
      for (const part of list) {
        data.set(part, at);
        at += part.length;
      }
      return { name: String(p), dtype: "F32" as const, shape: [data.length], data };
    }),
    { key, done: String(done.length), skipped: JSON.stringify(skipped) },
  );
}

function readCache(path: string, key: string, tasks: readonly DescribeTask[]): Descriptions {
  if (!existsSync(path)) return [];
  const file = openSafetensors(path);
  try {
    // Of other recordings, candidates or settings: of no use here, and replaced in the end.
    if (file.metadata.key !== key) return [];
    const count = Number(file.metadata.done);
    const skipped = new Set<number>(JSON.parse(file.metadata.skipped));
    const arrays = Array.from({ length: tasks[0].candidates.length + 1 }, (_, p) => file.readF32(String(p)));
    const units = tasks
      .slice(0, count)
      .reduce((sum, task, i) => sum + (skipped.has(i) ? 0 : task.units.length), 0);
    const at = arrays.map(() => 0);
    return tasks.slice(0, count).map((task, i) => {
      if (skipped.has(i)) return undefined;
      const [data, ...candidates] = arrays.map((array, p) => {
        const size = (array.length / units) * task.units.length;
        at[p] += size;
        return array.slice(at[p] - size, at[p]);
      });
      return { data, candidates };
    });
  } finally {
    file.close();
  }
}
