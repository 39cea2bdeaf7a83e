import { frameStepSeconds } from "./frames.ts";
import { mean, nonZero, percentile, relativeDeviation, segments } from "./functionals.ts";
import { peakStatistics } from "./peaks.ts";
import { smooth3, smoothVoiced } from "./smoothing.ts";

/** What the 88 functionals of eGeMAPS are taken of. */
export interface FunctionalInputs {
  /** Unsmoothed columns in the order of `egemapsDescriptors`. */
  columns: Float32Array[];
  /** F0 in Hz, 0 where unvoiced. */
  voiced: Float32Array;
  /**
   * Frames that the pitch search had decided when the input ended. The published values describe voicing up to there
   * only, so statistics of voiced descriptors leave out the last frames (none to 39 of them).
   */
  decided: number;
  /** Mean over the 20 ms frames of the mean square sample. */
  meanSquare: number;
}

const spectralNames = ["alphaRatio", "hammarbergIndex", "slope", "slope", "spectralFlux"];
const bandSuffix = ["", "", "0-500", "500-1500", ""];
const voicedNames = [
  "jitterLocal",
  "shimmerLocaldB",
  "HNRdBACF",
  "logRelF0-H1-H2",
  "logRelF0-H1-A3",
  "F1frequency",
  "F1bandwidth",
  "F1amplitudeLogRelF0",
  "F2frequency",
  "F2bandwidth",
  "F2amplitudeLogRelF0",
  "F3frequency",
  "F3bandwidth",
  "F3amplitudeLogRelF0",
];
/** Columns: 0 loudness, 1-4 shape, 5 flux, 6-9 cepstrum, 10 F0, 11-24 voice. */
const fluxColumn = 5;
const pitchColumn = 10;

export function egemapsFunctionals({
  columns,
  voiced,
  decided,
  meanSquare,
}: FunctionalInputs): Record<string, number> {
  const out: Record<string, number> = {};
  const end = Math.max(decided, Math.min(1, voiced.length));
  const moments = (name: string, x: Float32Array) => {
    out[`${name}_amean`] = mean(x);
    out[`${name}_stddevNorm`] = relativeDeviation(x);
  };
  const contour = (name: string, x: Float32Array) => {
    moments(name, x);
    const sorted = Float32Array.from(x).sort();
    const [low, middle, high] = [0.2, 0.5, 0.8].map((p) => percentile(sorted, p));
    out[`${name}_percentile20.0`] = low;
    out[`${name}_percentile50.0`] = middle;
    out[`${name}_percentile80.0`] = high;
    out[`${name}_pctlrange0-2`] = high - low;
    const slopes = peakStatistics(x, frameStepSeconds);
    out[`${name}_meanRisingSlope`] = slopes.meanRisingSlope;
    out[`${name}_stddevRisingSlope`] = slopes.deviationRisingSlope;
    out[`${name}_meanFallingSlope`] = slopes.meanFallingSlope;
    out[`${name}_stddevFallingSlope`] = slopes.deviationFallingSlope;
    return slopes;
  };

  // F0 keeps its right-hand neighbour when smoothed; what is derived from it did not get that far.
  const pitch = smoothVoiced(columns[pitchColumn]).subarray(0, end);
  contour("F0semitoneFrom27.5Hz_sma3nz", nonZero(pitch));
  const loudnessSlopes = contour("loudness_sma3", smooth3(columns[0]));
  const loudnessFrames = columns[0].length;
  for (let c = fluxColumn; c < pitchColumn; c++) {
    const name = c === fluxColumn ? "spectralFlux" : `mfcc${c - fluxColumn}`;
    moments(`${name}_sma3`, smooth3(columns[c]));
  }

  voicedNames.forEach((name, i) => {
    const column = columns[pitchColumn + 1 + i];
    // Resonances are found in unvoiced frames too and left out here. The levels of formants are not: their floor of
    // -201 dB in unvoiced frames is part of the published means.
    const x = /^F\d(frequency|bandwidth)/.test(name) ? where(column, (t) => voiced[t] > 0) : column;
    moments(`${name}_sma3nz`, nonZero(smoothVoiced(x, end)));
  });
  const spectral = (c: number, suffix: string) =>
    c <= fluxColumn
      ? `${spectralNames[c - 1]}${suffix}${bandSuffix[c - 1]}`
      : `mfcc${c - fluxColumn}${suffix}`;
  for (let c = 1; c < pitchColumn; c++) {
    const x = where(columns[c].subarray(0, voiced.length), (t) => voiced[t] > 0);
    moments(`${spectral(c, "V")}_sma3nz`, nonZero(smoothVoiced(x).subarray(0, end)));
  }
  for (let c = 1; c <= fluxColumn; c++) {
    const x = where(columns[c].subarray(0, voiced.length), (t) => voiced[t] === 0);
    out[`${spectral(c, "UV")}_sma3nz_amean`] = mean(nonZero(smoothVoiced(x).subarray(0, end)));
  }

  out["loudnessPeaksPerSec"] = loudnessSlopes.peaks / (loudnessFrames * frameStepSeconds);
  const voicedSegments = segments(end, (t) => pitch[t] !== 0);
  const unvoicedSegments = segments(end, (t) => pitch[t] === 0);
  out["VoicedSegmentsPerSec"] = voicedSegments.count / (end * frameStepSeconds);
  out["MeanVoicedSegmentLengthSec"] = voicedSegments.meanFrames * frameStepSeconds;
  out["StddevVoicedSegmentLengthSec"] = voicedSegments.deviationFrames * frameStepSeconds;
  out["MeanUnvoicedSegmentLength"] = unvoicedSegments.meanFrames * frameStepSeconds;
  out["StddevUnvoicedSegmentLength"] = unvoicedSegments.deviationFrames * frameStepSeconds;
  out["equivalentSoundLevel_dBp"] = 10 * Math.log10(Math.max(1e-12, meanSquare));
  return out;
}

function where(x: Float32Array, keep: (frame: number) => boolean): Float32Array {
  return x.map((v, t) => (keep(t) ? v : 0));
}
