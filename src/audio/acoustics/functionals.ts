/** Statistics of a contour, as eGeMAPS names and takes them ("functionals" of low-level descriptors). */

/** Arithmetic mean; 0 of nothing. */
export function mean(x: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += x[i];
  return x.length > 0 ? sum / x.length : 0;
}

/** Population standard deviation. */
export function deviation(x: ArrayLike<number>): number {
  const m = mean(x);
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += (x[i] - m) ** 2;
  return x.length > 0 ? Math.sqrt(sum / x.length) : 0;
}

/** Standard deviation over the (signed) mean; where the mean is 0, the deviation itself. */
export function relativeDeviation(x: ArrayLike<number>): number {
  return deviation(x) / (mean(x) || 1);
}

/** The frames that are not 0: of a descriptor of voicing, the voiced ones. */
export function nonZero(x: Float32Array): Float32Array {
  return x.filter((v) => v !== 0);
}

/** Percentile `p` (0..1) of ascending values, linear between ranks; 0 of nothing. */
export function percentile(sorted: ArrayLike<number>, p: number): number {
  if (sorted.length === 0) return 0;
  const rank = p * (sorted.length - 1);
  const below = Math.floor(rank);
  const above = Math.min(sorted.length - 1, below + 1);
  return sorted[below] + (rank - below) * (sorted[above] - sorted[below]);
}

export interface SegmentStatistics {
  count: number;
  /** Mean and standard deviation of the segments' lengths in frames; 0 without a segment. */
  meanFrames: number;
  deviationFrames: number;
}

/**
 * Stretches of at least three frames for which `inside` holds, ended by at least two for which it does not.
 * Two adjoining frames outside therefore part two stretches, a single one does not.
 */
export function segments(frames: number, inside: (frame: number) => boolean): SegmentStatistics {
  const minSegment = 3;
  const minGap = 2;
  const lengths: number[] = [];
  let state: "outside" | "candidate" | "inside" = "outside";
  let start = 0;
  let run = 0;
  let gap = 0;
  for (let t = 0; t < frames; t++) {
    if (inside(t)) {
      if (state === "outside") {
        state = "candidate";
        start = t;
        run++;
      } else if (state === "candidate") {
        gap = 0;
        if (++run >= minSegment) {
          state = "inside";
          run = 0;
        }
      } else gap = 0;
    } else if (state !== "outside" && ++gap >= minGap) {
      if (state === "inside") lengths.push(t - gap - start);
      state = "outside";
      gap = 0;
      run = 0;
    }
  }
  if (state === "inside") lengths.push(frames - (gap + 1) - start);
  return { count: lengths.length, meanFrames: mean(lengths), deviationFrames: deviation(lengths) };
}
