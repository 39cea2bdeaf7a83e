import { UserError } from "../errors.ts";
import { random } from "../random.ts";

export interface BatchOptions {
  /** Utterances in a batch, at most. */
  batchSize: number;
  /** Upper bound of a batch's padded size: utterances x samples of the longest. Bounds the memory of a step. */
  maxSamples?: number;
  seed?: number;
  epoch?: number;
  /** A new order in each epoch (default true). Without it batches go from the longest to the shortest utterances. */
  shuffle?: boolean;
  /**
   * Number of duration classes of equal count, from which batches are drawn. Many mean little padding and little
   * chance in who meets whom. Default: classes of about eight batches each.
   */
  buckets?: number;
}

/**
 * Groups utterances of similar length. Every index appears exactly once; the result depends only on the arguments.
 *
 * Utterances are put in order of their bucket, by chance within it, and that order is cut into batches; so no bucket
 * leaves a remainder behind, and a batch's padding is bounded by the durations of two neighbouring buckets.
 *
 * @param durations in samples, one per utterance
 * @returns lists of indices into `durations`
 * @throws UserError where one utterance alone exceeds `maxSamples`
 */
export function lengthBuckets(durations: ArrayLike<number>, options: BatchOptions): number[][] {
  const { batchSize, maxSamples = Number.POSITIVE_INFINITY, seed = 0, epoch = 0, shuffle = true } = options;
  if (!Number.isInteger(batchSize) || batchSize < 1)
    throw new UserError(`batchSize must be 1 or more, not ${batchSize}`);
  // Longest first: a step that does not fit in memory then fails at once when the order is not shuffled.
  const byLength = Array.from({ length: durations.length }, (_, i) => i).sort(
    (a, b) => durations[b] - durations[a] || a - b,
  );
  if (byLength.length > 0 && durations[byLength[0]] > maxSamples) {
    throw new UserError(
      `utterance ${byLength[0]} has ${durations[byLength[0]]} samples, more than maxSamples (${maxSamples}) ` +
        "allows for a whole batch: raise maxSamples or leave the utterance out",
    );
  }
  if (!shuffle) return cut(byLength, durations, batchSize, maxSamples);
  const chance = random(seed, "batches", epoch);
  const buckets = options.buckets ?? Math.max(1, Math.round(byLength.length / (8 * batchSize)));
  const size = Math.max(1, Math.ceil(byLength.length / buckets));
  const order: number[] = [];
  for (let i = 0; i < byLength.length; i += size) order.push(...chance.shuffle(byLength.slice(i, i + size)));
  return chance.shuffle(cut(order, durations, batchSize, maxSamples));
}

function cut(
  order: number[],
  durations: ArrayLike<number>,
  batchSize: number,
  maxSamples: number,
): number[][] {
  const batches: number[][] = [];
  let batch: number[] = [];
  let longest = 0;
  for (const index of order) {
    const grown = Math.max(longest, durations[index]);
    if (batch.length === batchSize || (batch.length > 0 && grown * (batch.length + 1) > maxSamples)) {
      batches.push(batch);
      batch = [];
      longest = 0;
    }
    batch.push(index);
    longest = Math.max(longest, durations[index]);
  }
  if (batch.length > 0) batches.push(batch);
  return batches;
}

/** Share of samples that are padding, 0 to 1. */
export function paddingShare(batches: readonly number[][], durations: ArrayLike<number>): number {
  let padded = 0;
  let used = 0;
  for (const batch of batches) {
    padded += batch.length * batch.reduce((longest, i) => Math.max(longest, durations[i]), 0);
    used += batch.reduce((sum, i) => sum + durations[i], 0);
  }
  return padded === 0 ? 0 : 1 - used / padded;
}
