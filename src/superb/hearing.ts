import { i32 } from "../runtime/program.ts";
import type { Adapted, AdaptedUpstream } from "./adapted.ts";
import { batchOf, type FeatureSource } from "./features.ts";
import type { Batch } from "./head.ts";
import type { LearnedTask, Learner, Part, Prediction } from "./task.ts";
import type { FrozenUpstream } from "./upstream.ts";

/** Samples of a batch of audio that an upstream which trains hears at once: 80 s. */
const BATCH_SAMPLES = 80 * 16_000;
/** Numbers of a batch of features that are held at once: 128 MB as halves, 256 MB as the graph's floats. */
export const BATCH_FLOATS = 2 ** 26;
/** A head that can be asked: one in training, or one with its parameters as a pack has them. */
export interface Asked {
  readonly task: LearnedTask;
  readonly learner: Learner;
  predict(batch: Batch, items: readonly number[], into: Map<number, Prediction>): Promise<void>;
}

/** How heads hear recordings: as features of a frozen upstream, or as audio where the upstream trains with them. */
export class Hearing {
  private readonly upstream: FrozenUpstream & Partial<AdaptedUpstream>;
  private readonly source: FeatureSource;

  constructor(upstream: FrozenUpstream & Partial<AdaptedUpstream>, source: FeatureSource) {
    this.upstream = upstream;
    this.source = source;
  }

  /** Metrics and predictions of several heads over a part, each batch read once. */
  async evaluate(heads: readonly Asked[], part: Part) {
    const fitted = heads.filter(({ learner }) => learner.fit !== undefined);
    for (const [head, found] of await this.predict(fitted, "train")) head.learner.fit!(found);
    const predictions = await this.predict(heads, part);
    return new Map(
      heads.map((head) => {
        const found = predictions.get(head)!;
        const metrics = head.learner.metrics(found, part);
        const lines = () =>
          head.learner.lines?.(found) ?? [...found].sort((a, b) => a[0] - b[0]).map(([, p]) => p);
        return [head, { metrics, lines }];
      }),
    );
  }

  private async predict(heads: readonly Asked[], part: Part) {
    const predictions = new Map(heads.map((head) => [head, new Map<number, Prediction>()]));
    if (heads.length === 0) return predictions;
    const [{ task }] = heads;
    const positions = task.parts[part].map((_, position) => position);
    const frames = positions.map((position) => this.source.framesOf(task.items[task.parts[part][position]]));
    const ordered = positions.sort((a, b) => frames[b] - frames[a]);
    for (let at = 0; at < ordered.length; at += 32)
      for (const batch of await this.read(task, part, ordered.slice(at, at + 32)))
        for (const head of heads) {
          const items = batch.positions.map((position) => head.task.parts[part][position]);
          await head.predict(batch, items, predictions.get(head)!);
        }
    return predictions;
  }

  /** Features of some positions of a part, in as few batches as memory allows. */
  async read(task: LearnedTask, part: Part, positions: readonly number[]): Promise<Batch[]> {
    const { layers, dim, adapted } = this.upstream;
    if (adapted !== undefined) return this.listen(adapted, task, part, positions);
    return inBatches(positions, {
      read: (position) => this.source.get(task.items[task.parts[part][position]]),
      length: (features) => features.frames,
      fits: (longest, count) => longest * layers * dim * count <= BATCH_FLOATS,
      batch: (held) => {
        const { features, frames } = batchOf(held);
        return { frames, inputs: { features, frames: i32([frames.length], frames) } };
      },
    });
  }

  /** Audio of some positions of a part, where the upstream trains: in as few batches as memory allows. */
  private listen(
    adapted: Adapted,
    task: LearnedTask,
    part: Part,
    positions: readonly number[],
  ): Promise<Batch[]> {
    return inBatches(positions, {
      read: (position) => this.source.wave(task.items[task.parts[part][position]]),
      length: (wave) => wave.length,
      fits: (longest, count) => !adapted.alone && longest * count <= BATCH_SAMPLES,
      batch: (waves) => {
        const frames = waves.map(({ length }) => this.upstream.frames(length));
        return { frames, waves, inputs: adapted.inputs(waves, frames) };
      },
    });
  }
}

/** Reads positions in turn into as few batches as `fits` allows, all padded to the longest; one alone always fits. */
async function inBatches<T>(
  positions: readonly number[],
  how: {
    readonly read: (position: number) => Promise<T>;
    readonly length: (read: T) => number;
    readonly fits: (longest: number, count: number) => boolean;
    readonly batch: (read: readonly T[]) => Omit<Batch, "positions">;
  },
): Promise<Batch[]> {
  const batches: Batch[] = [];
  let held: { position: number; read: T }[] = [];
  let longest = 0;
  const flush = () => {
    if (held.length > 0)
      batches.push({
        positions: held.map(({ position }) => position),
        ...how.batch(held.map(({ read }) => read)),
      });
    held = [];
    longest = 0;
  };
  for (const position of positions) {
    const read = await how.read(position);
    if (!how.fits(Math.max(longest, how.length(read)), held.length + 1)) flush();
    longest = Math.max(longest, how.length(read));
    held.push({ position, read });
  }
  flush();
  return batches;
}
