import { deviation, mean } from "./functionals.ts";

/**
 * Peaks of a contour and the slopes between its salient extrema (F. Eyben 2016, section 2.4.6), used for loudness peaks
 * per second and for the rising and falling slopes of F0 and loudness in eGeMAPS.
 */
export interface PeakStatistics {
  peaks: number;
  /** Slopes in units a second; a falling slope is positive, except the one from the last peak to the contour's end. */
  meanRisingSlope: number;
  deviationRisingSlope: number;
  meanFallingSlope: number;
  deviationFallingSlope: number;
}

interface Extremum {
  peak: boolean;
  frame: number;
  value: number;
}

/** An extremum counts if it stands out by this part of the contour's range. */
const relativeThreshold = 0.1;

export function peakStatistics(x: Float32Array, frameSeconds: number): PeakStatistics {
  if (x.length === 0) {
    return {
      peaks: 0,
      meanRisingSlope: 0,
      deviationRisingSlope: 0,
      meanFallingSlope: 0,
      deviationFallingSlope: 0,
    };
  }
  const extrema = salientExtrema(x);
  const rising: number[] = [];
  const falling: number[] = [];
  let peak = { frame: 0, value: x[0] };
  let valley = peak;
  for (const e of extrema) {
    if (e.peak) {
      peak = e;
      if (e.frame > valley.frame)
        rising.push((e.value - valley.value) / ((e.frame - valley.frame) * frameSeconds));
    } else {
      valley = e;
      if (e.frame > peak.frame)
        falling.push((peak.value - e.value) / ((e.frame - peak.frame) * frameSeconds));
    }
  }
  const risingInner = rising.length;
  const fallingInner = falling.length;
  const end = x.length - 1;
  const last = extrema.at(-1);
  if (last === undefined) {
    const slope = (x[end] - x[0]) / x.length;
    if (slope > 0) rising.push(slope);
    else if (slope < 0) falling.push(slope);
  } else if (end > last.frame) {
    (last.peak ? falling : rising).push((x[end] - last.value) / ((end - last.frame) * frameSeconds));
  }
  return {
    peaks: extrema.filter((e) => e.peak).length,
    meanRisingSlope: mean(rising),
    deviationRisingSlope: spread(rising, risingInner),
    meanFallingSlope: mean(falling),
    deviationFallingSlope: spread(falling, fallingInner),
  };
}

/** Deviation of the first `inner` slopes about the mean of all; the slope to the contour's end is no part of it. */
function spread(slopes: number[], inner: number): number {
  if (inner === slopes.length) return deviation(slopes);
  const m = mean(slopes);
  let sum = 0;
  for (let i = 0; i < inner; i++) sum += (slopes[i] - m) ** 2;
  return Math.sqrt(sum / slopes.length);
}

/** Alternating peaks and valleys that stand out from each other. */
function salientExtrema(x: Float32Array): Extremum[] {
  let low = x[0];
  let high = x[0];
  for (const v of x) {
    if (v < low) low = v;
    if (v > high) high = v;
  }
  const threshold = Math.fround(Math.fround(relativeThreshold) * Math.fround(high - low));
  const all: Extremum[] = [];
  for (let i = 2; i < x.length - 2; i++) {
    if (x[i] > x[i - 1] && x[i] > x[i + 1]) all.push({ peak: true, frame: i, value: x[i] });
    else if (x[i] < x[i - 1] && x[i] < x[i + 1]) all.push({ peak: false, frame: i, value: x[i] });
  }
  return alternate(withoutSmallValleys(withoutSmallPeaks(all, x[0], threshold), x[0], threshold));
}

/** Drops peaks that rise less than the threshold over the last valley; of a staircase of small steps the top stays. */
function withoutSmallPeaks(extrema: Extremum[], first: number, threshold: number): Extremum[] {
  const kept = new Set(extrema);
  let lastValue = first;
  let lastValley = first;
  let lastPeak = first;
  let lastPeakAt: Extremum | undefined;
  let sinceValley = false;
  for (const e of extrema) {
    const step = Math.fround(Math.abs(e.value - lastValue));
    if (e.peak) {
      if (step >= threshold) {
        sinceValley = false;
        lastPeak = e.value;
        lastPeakAt = e;
      } else if (Math.fround(e.value - lastValley) < threshold) {
        kept.delete(e);
      } else {
        if (e.value > lastPeak * 1.05) {
          if (lastPeakAt) kept.delete(lastPeakAt);
          lastPeak = e.value;
          lastPeakAt = e;
        } else if (sinceValley) {
          lastPeak = e.value;
          lastPeakAt = e;
        } else kept.delete(e);
        sinceValley = false;
      }
    } else if (step >= threshold) {
      sinceValley = true;
      lastValley = e.value;
    }
    lastValue = e.value;
  }
  return extrema.filter((e) => kept.has(e));
}

function withoutSmallValleys(extrema: Extremum[], first: number, threshold: number): Extremum[] {
  let lastPeak = first;
  return extrema.filter((e) => {
    if (e.peak) {
      lastPeak = e.value;
      return true;
    }
    return Math.fround(lastPeak - e.value) >= threshold;
  });
}

/** Of neighbours of one kind keeps the highest peak or the lowest valley. */
function alternate(extrema: Extremum[]): Extremum[] {
  const out: Extremum[] = [];
  for (const e of extrema) {
    const last = out.at(-1);
    if (!last || last.peak !== e.peak) out.push(e);
    else if (e.peak ? e.value > last.value : e.value < last.value) out[out.length - 1] = e;
  }
  return out;
}
