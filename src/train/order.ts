import { lengthBuckets } from "../corpus/batches.ts";
import type { LoadedBatch } from "../corpus/prefetch.ts";
import { hash32 } from "../random.ts";
import type { Stream } from "./data.ts";

/** Indices of a stream's items, batch by batch, whose gradients make one update. */
export type Update = readonly (readonly number[])[];

/**
 * Which utterances each update of a stream is made from, as a function of (seed, stream, step). Batches that are left
 * over when an epoch's last update has fewer than `accumulate` are used up there: none waits for the next epoch.
 */
export class UpdateOrder {
  private readonly stream: Stream;
  private readonly seed: number;
  /** First step of each epoch known so far, and of the one after. */
  private readonly starts = [0];
  private cached: { epoch: number; updates: readonly Update[] } | undefined;

  constructor(stream: Stream, seed: number) {
    this.stream = stream;
    // The main stream's order is the seed's alone; others must not follow it.
    this.seed = stream.name === "main" ? seed : hash32(seed, stream.name);
  }

  /** Updates of one epoch. */
  epoch(epoch: number): readonly Update[] {
    if (this.cached?.epoch === epoch) return this.cached.updates;
    const { items, parts, batch, spec } = this.stream;
    const batches = lengthBuckets(
      parts.train.map((i) => items[i].samples),
      {
        batchSize: batch.size,
        maxSamples: Math.max(batch.maxSeconds, spec.maxSeconds) * spec.sampleRate,
        seed: this.seed,
        epoch,
      },
    ).map((places) => places.map((place) => parts.train[place]));
    const updates: Update[] = [];
    for (let at = 0; at < batches.length; at += batch.accumulate)
      updates.push(batches.slice(at, at + batch.accumulate));
    this.cached = { epoch, updates };
    return updates;
  }

  /** The batch of the first epoch that takes the most memory: later epochs draw others of about its size. */
  largest(): { batch: number; samples: number } {
    const { items } = this.stream;
    const sizes = this.epoch(0)
      .flat()
      .map((batch) => ({ batch: batch.length, samples: Math.max(...batch.map((i) => items[i].samples)) }));
    return sizes.reduce((a, b) => (b.batch * b.samples > a.batch * a.samples ? b : a));
  }

  /** First step of an epoch. */
  startOf(epoch: number): number {
    while (this.starts.length <= epoch) {
      const last = this.starts.length - 1;
      this.starts.push(this.starts[last] + this.epoch(last).length);
    }
    return this.starts[epoch];
  }

  epochOf(step: number): number {
    let epoch = Math.max(0, this.starts.length - 2);
    while (this.startOf(epoch) > step) epoch--;
    while (this.startOf(epoch + 1) <= step) epoch++;
    return epoch;
  }

  /** Whether `step` updates end an epoch. */
  endsEpoch(step: number): boolean {
    return step > 0 && this.startOf(this.epochOf(step)) === step;
  }

  /** Steps of so many epochs, which need not be whole. */
  stepsOf(epochs: number): number {
    const whole = Math.floor(epochs);
    const rest = epochs - whole;
    return this.startOf(whole) + (rest === 0 ? 0 : Math.round(rest * this.epoch(whole).length));
  }

  /** The updates from a step on, decoded in advance, without end. */
  async *loaded(from: number): AsyncGenerator<LoadedBatch[], never, undefined> {
    for (let step = from; ; ) {
      const epoch = this.epochOf(step);
      const updates = this.epoch(epoch).slice(step - this.startOf(epoch));
      const batches = this.stream.loader.batches(updates.flat());
      for (const update of updates) {
        const group: LoadedBatch[] = [];
        while (group.length < update.length) group.push((await batches.next()).value!);
        yield group;
        step++;
      }
    }
  }
}
