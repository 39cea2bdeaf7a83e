import { UserError } from "../errors.ts";
import { type LoadOptions, loadUtterance, type Recording } from "./load-audio.ts";
import type { Utterance } from "./manifest.ts";
import { WorkerPool } from "./worker-pool.ts";

export interface PrefetchOptions extends LoadOptions {
  /** Worker threads that decode (default 1; 0 decodes in this thread). */
  threads?: number;
  /** Batches that are decoded ahead of the one in use (default 4). */
  ahead?: number;
  /** Decoded audio kept for later epochs, in bytes (default 256 MB); a corpus that fits is decoded once. */
  cacheBytes?: number;
  /** Leave out utterances whose audio cannot be read and tell of each, instead of throwing. */
  onBad?: (utterance: Utterance, error: UserError) => void;
}

export interface LoadedBatch {
  /** Indices into the corpus, without utterances that were left out as bad. */
  indices: number[];
  /** Samples of each utterance [samples]; shared with the cache, so not to be written to. */
  waves: Float32Array[];
}

/** Waves side by side, padded with zeros to the longest. */
export interface PaddedBatch {
  /** [batch * samples], row by row */
  values: Float32Array;
  batch: number;
  samples: number;
  /** Samples of each row before padding [batch]. */
  lengths: number[];
}

/** Decodes a corpus in the background and hands it out in batches. One loader serves all epochs; close it at the end. */
export class AudioLoader {
  readonly #utterances: readonly Utterance[];
  readonly #options: PrefetchOptions;
  readonly #pool: WorkerPool<{ recording: Recording; options: LoadOptions }, Float32Array> | undefined;
  readonly #cache = new Map<number, Float32Array>();
  #cachedBytes = 0;

  constructor(utterances: readonly Utterance[], options: PrefetchOptions) {
    this.#utterances = utterances;
    this.#options = options;
    const threads = options.threads ?? 1;
    if (threads > 0) this.#pool = new WorkerPool(import.meta.url, "load-worker", threads);
  }

  /**
   * The batches in the order given, decoded `ahead` of use and no further.
   *
   * @throws UserError naming the utterance, when the batch that holds it is reached, unless `onBad` is given.
   */
  async *batches(plan: readonly (readonly number[])[]): AsyncGenerator<LoadedBatch, void, undefined> {
    const ahead = Math.max(1, this.#options.ahead ?? 4);
    const queue: Promise<PromiseSettledResult<Float32Array>[]>[] = [];
    for (let at = 0; at < plan.length; at++) {
      while (queue.length < ahead && at + queue.length < plan.length) {
        // Settled, never rejected: a fault in a batch that is never reached must not become an unhandled rejection.
        queue.push(Promise.allSettled(plan[at + queue.length].map((index) => this.load(index))));
      }
      const batch = this.#collect(plan[at], await queue.shift()!);
      if (batch.indices.length > 0) yield batch;
    }
  }

  /** Samples of one utterance of the corpus. */
  async load(index: number): Promise<Float32Array> {
    const cached = this.#cache.get(index);
    if (cached !== undefined) return cached;
    const { id, audio, start, end } = this.#utterances[index];
    const recording = { id, audio, start, end };
    const { sampleRate, refuseOtherRates, channel, normalize } = this.#options;
    const options = { sampleRate, refuseOtherRates, channel, normalize };
    const samples = await (this.#pool?.run({ recording, options }) ?? loadUtterance(recording, options));
    const capacity = this.#options.cacheBytes ?? 256 * 2 ** 20;
    if (!this.#cache.has(index) && this.#cachedBytes + samples.byteLength <= capacity) {
      this.#cache.set(index, samples);
      this.#cachedBytes += samples.byteLength;
    }
    return samples;
  }

  /** Stops the worker threads. */
  async close(): Promise<void> {
    this.#cache.clear();
    await this.#pool?.close();
  }

  #collect(indices: readonly number[], results: PromiseSettledResult<Float32Array>[]): LoadedBatch {
    const batch: LoadedBatch = { indices: [], waves: [] };
    results.forEach((result, i) => {
      if (result.status === "fulfilled") {
        batch.indices.push(indices[i]);
        batch.waves.push(result.value);
      } else if (this.#options.onBad !== undefined && result.reason instanceof UserError) {
        this.#options.onBad(this.#utterances[indices[i]], result.reason);
      } else {
        throw result.reason;
      }
    });
    return batch;
  }
}

/** Puts waves side by side, padded with zeros to the longest (or to `samples`). */
export function padWaves(waves: readonly Float32Array[], samples?: number): PaddedBatch {
  const lengths = waves.map((wave) => wave.length);
  const longest = samples ?? Math.max(0, ...lengths);
  const values = new Float32Array(waves.length * longest);
  waves.forEach((wave, row) => {
    values.set(wave, row * longest);
  });
  return { values, batch: waves.length, samples: longest, lengths };
}
