import { type Framing, frameStepSeconds } from "./frames.ts";
import { vertex } from "./pitch-shs.ts";

/**
 * Jitter and shimmer by waveform matching (F. Eyben 2016, section 2.2.13; Boersma & Weenink's Praat manual names the
 * measures "jitter (local)" and "shimmer (local)"): within a voiced frame each pitch period is found as the lag, near
 * 1 / F0, at which the signal's next stretch correlates best with this one.
 */
export interface VoiceQualityOptions {
  /** How far a period may lie from 1 / F0, as a fraction. */
  searchRange: number;
  /** Periods whose correlation with the next is lower count for neither measure. */
  minCorrelation: number;
}

export interface VoiceQuality {
  /** Mean |T(i) - T(i-1)| over mean T, at most 1; 0 where unvoiced. */
  jitterLocal: Float32Array;
  /** Mean |A(i) - A(i-1)| over mean A, A a period's peak-to-peak amplitude, at most 1; 0 where unvoiced. */
  shimmerLocal: Float32Array;
  /** 20 log10 of the mean period's RMS over the RMS of the periods' deviations from it; -100 where unvoiced. */
  logHnr: Float32Array;
  /** The two measures over all periods of the recording instead of a frame's; NaN without periods. */
  overall: { jitterLocal: number; shimmerLocal: number };
}

/** Periods looked at in one reading: at least two, so that one can be compared with the next. */
const periodsRead = 2;
const hnrFloor = -100;

/**
 * `f0` in Hz, 0 where unvoiced, one value a frame. Periods are followed from frame to frame: what a frame leaves unread
 * of its last period is read again with the next one.
 */
export function voiceQuality(
  samples: Float32Array,
  sampleRate: number,
  f0: Float32Array,
  { size: frameSize, step: frameStep }: Framing,
  { searchRange, minCorrelation }: VoiceQualityOptions,
): VoiceQuality {
  const count = f0.length;
  const out: VoiceQuality = {
    jitterLocal: new Float32Array(count),
    shimmerLocal: new Float32Array(count),
    logHnr: new Float32Array(count).fill(hnrFloor),
    overall: { jitterLocal: Number.NaN, shimmerLocal: Number.NaN },
  };
  const total = {
    periods: 0,
    periodSum: 0,
    differences: 0,
    periodDifference: 0,
    amplitudeSum: 0,
    amplitudeDifference: 0,
  };
  const period = 1 / sampleRate;
  const step = Math.ceil(frameStepSeconds / period);
  let readFrom = 0;
  let unread = 0; // samples before this frame that its reading starts with
  let lastPeriod = 0;
  let jitter = 0;
  let shimmer = 0;

  for (let t = 0; t < count; t++) {
    const frameStart = t * frameStep;
    const target = step + unread;
    let readable = unread + frameSize;
    const hz = f0[t];
    const expected = hz > 0 ? sampleRate / hz : 0;
    const shortest = Math.floor((1 - searchRange) * expected);
    const longest = Math.ceil((1 + searchRange) * expected);
    let reading = hz > 0 ? Math.max(target, periodsRead * longest + periodsRead) : target;
    if (frameStart - unread !== readFrom) {
      readFrom = frameStart;
      readable = Math.min(readable, frameSize);
    }
    reading = Math.min(reading, readable, samples.length - readFrom);
    if (!(hz > 0)) {
      readFrom += target;
      unread = 0;
      lastPeriod = jitter = shimmer = 0;
      continue;
    }

    const x = samples.subarray(readFrom, readFrom + reading);
    const found = matchPeriods(
      x,
      target,
      Math.round(expected),
      shortest,
      longest,
      minCorrelation,
      lastPeriod,
    );
    lastPeriod = found.lastPeriod;
    for (const name of totalled) total[name] += found[name];
    if (found.periods > 0 && found.differences > 0) {
      jitter = found.periodDifference / found.differences / (found.periodSum / found.periods);
    }
    if (found.periods > 0)
      shimmer = found.amplitudeSum > 0 ? found.amplitudeDifference / found.amplitudeSum : 0;
    jitter = Math.min(jitter, 1);
    shimmer = Math.min(shimmer, 1);
    out.jitterLocal[t] = found.periods === 0 || found.differences > 0 ? jitter : 0;
    out.shimmerLocal[t] = shimmer;
    out.logHnr[t] = periodHnr(x, found.starts, Math.round(expected), found.length);
    unread = target - found.consumed;
    readFrom += found.consumed;
  }
  if (total.periods > 0) {
    const meanPeriod = total.periodSum / total.periods;
    out.overall.jitterLocal = total.periodDifference / Math.max(1, total.differences) / meanPeriod;
    out.overall.shimmerLocal = total.amplitudeSum > 0 ? total.amplitudeDifference / total.amplitudeSum : 0;
  }
  return out;
}

const totalled = [
  "periods",
  "periodSum",
  "differences",
  "periodDifference",
  "amplitudeSum",
  "amplitudeDifference",
] as const;

interface Matches {
  /** Sums in samples over the periods that pass the correlation threshold. */
  periods: number;
  periodSum: number;
  differences: number;
  periodDifference: number;
  amplitudeSum: number;
  amplitudeDifference: number;
  /** Length in samples of the last accepted period, 0 before the first. */
  lastPeriod: number;
  /** Samples up to the last period that starts within the frame's own step. */
  consumed: number;
  /** Where matched periods start, and where the last one ends. */
  starts: number[];
  /** Whole-sample length of the period looked at last. */
  length: number;
}

function matchPeriods(
  x: Float32Array,
  target: number,
  expected: number,
  shortest: number,
  longest: number,
  minCorrelation: number,
  lastPeriod: number,
): Matches {
  const m: Matches = {
    periods: 0,
    periodSum: 0,
    differences: 0,
    periodDifference: 0,
    amplitudeSum: 0,
    amplitudeDifference: 0,
    lastPeriod,
    consumed: 0,
    starts: [],
    length: 0,
  };
  const lags = longest - shortest + 1;
  const correlations = new Float64Array(lags);
  let start = 0;
  while (start < x.length - 2 * longest - 1) {
    for (let lag = 0; lag < lags; lag++) correlations[lag] = correlation(x, start, shortest + lag);
    let best = -1;
    for (let lag = 1; lag < lags - 2; lag++) {
      const c = correlations[lag];
      if (correlations[lag - 1] < c && c > correlations[lag + 1] && (best < 0 || c > correlations[best]))
        best = lag;
    }
    if (best < 0) {
      m.length = expected;
      start += expected;
    } else {
      const length = shortest + best;
      m.length = length;
      const next = start + length;
      const a = peakToPeak(x, start, length);
      const b = peakToPeak(x, next, length);
      m.starts.push(start);
      const peak = vertex(correlations[best - 1], correlations[best], correlations[best + 1]);
      if (peak.height > minCorrelation) {
        const period = length + peak.offset;
        m.periods++;
        m.periodSum += period;
        if (m.lastPeriod > 0) {
          m.periodDifference += Math.abs(m.lastPeriod - period);
          m.differences++;
        }
        m.lastPeriod = period;
        m.amplitudeSum += (a + b) / 2;
        m.amplitudeDifference += Math.abs(a - b);
      }
      start = next;
    }
    if (start < target - 1) m.consumed = start;
  }
  m.starts.push(start);
  return m;
}

/** Pearson correlation of the `lag` samples from `start` with the `lag` samples after them. */
function correlation(x: Float32Array, start: number, lag: number): number {
  let sx = 0;
  let sy = 0;
  let sxx = 0;
  let syy = 0;
  let sxy = 0;
  for (let i = start, end = start + lag; i < end; i++) {
    const a = x[i];
    const b = x[i + lag];
    sx += a;
    sy += b;
    sxx += a * a;
    syy += b * b;
    sxy += a * b;
  }
  return (sxy - (sx * sy) / lag) / Math.sqrt((sxx - (sx * sx) / lag) * (syy - (sy * sy) / lag));
}

/** Highest minus lowest sample, without the first and the last, which belong to the neighbouring periods too. */
function peakToPeak(x: Float32Array, start: number, length: number): number {
  let low = x[start + 1];
  let high = low;
  for (let i = start + 1; i < start + length - 1; i++) {
    const v = x[i];
    if (v > high) high = v;
    else if (v < low) low = v;
  }
  return high - low;
}

/**
 * Harmonics-to-noise ratio in dB of a stretch of periods: the mean period is the harmonic part, what deviates from it
 * the noise. The first and last two samples of a period are left out, where neighbours blur.
 */
function periodHnr(x: Float32Array, starts: number[], expected: number, lastLength: number): number {
  const mean = new Float64Array(expected);
  const end = starts[starts.length - 1];
  for (const start of starts) {
    for (let i = 0; i < expected && start + i < x.length; i++) mean[i] += x[start + i];
  }
  let harmonic = 0;
  for (let i = 0; i < expected && end + i < x.length; i++) {
    mean[i] /= starts.length;
    if (i > 2 && i < expected - 2) harmonic += mean[i] * mean[i];
  }
  harmonic = Math.sqrt(expected > 4 ? harmonic / (expected - 4) : harmonic);

  let noise = 0;
  let counted = 0;
  for (let p = 0; p < starts.length; p++) {
    const next = p + 1 < starts.length ? starts[p + 1] : end + lastLength;
    const stop = Math.min(next, starts[p] + expected) - 2;
    for (let j = starts[p] + 2, i = 2; j < stop && j < x.length; j++, i++) {
      const deviation = x[j] - mean[i];
      noise += deviation * deviation;
      counted++;
    }
  }
  noise = Math.sqrt(counted > 0 ? noise / counted : noise);
  if (noise === 0) return 0;
  return harmonic > 0 ? Math.max(hnrFloor, 20 * Math.log10(harmonic / noise)) : hnrFloor;
}
