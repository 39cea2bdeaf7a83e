import type { Framing } from "./frames.ts";
import { vertex } from "./pitch-shs.ts";

/**
 * Strength of the harmonics of F0 in a magnitude spectrum, and of the formants by the strongest harmonic near them
 * (eGeMAPS, Eyben et al. 2016, section 3; harmonic indices and floors as in the published values: "H1" there is the
 * harmonic after the fundamental).
 */
export interface HarmonicLevels {
  /** H1 - H2 and H1 - A3 in dB. */
  h1h2: number;
  h1a3: number;
  /** Strongest harmonic within 20 % of formants 1 to 3, in dB above the fundamental; 0 where there is none. */
  formantLevel: [number, number, number];
}

const maxHarmonics = 100;
/** dB of a harmonic that is not there, and the widest difference reported. */
const floor = -201;
const levelFloor = -200;
export const unvoicedLevel = -201;

/** Returns a function that measures one voiced frame; the result is overwritten by the next call. */
export function harmonicAnalyser({ fftSize, binHz }: Framing) {
  const bins = fftSize / 2 + 1;
  const bin = new Int32Array(maxHarmonics);
  const frequency = new Float64Array(maxHarmonics);
  const magnitude = new Float64Array(maxHarmonics);
  const interpolated = new Float64Array(maxHarmonics);
  const level = new Float64Array(maxHarmonics);
  /** Harmonics below half the sampling rate, and one above. */
  let count = 0;
  const result: HarmonicLevels = { h1h2: 0, h1a3: 0, formantLevel: [0, 0, 0] };

  /** The bin nearest to `hz`; 0 beyond the spectrum, as the reference has it. */
  const nearestBin = (hz: number): number => {
    const above = Math.floor(hz / binHz) + 1;
    if (above >= bins) return 0;
    return above * binHz - hz > hz - (above - 1) * binHz ? above - 1 : above;
  };

  return (spectrum: Float64Array, f0: number, formantHz: Float64Array): HarmonicLevels => {
    const firstBin = nearestBin(0.5 * f0);
    count = Math.min(maxHarmonics, Math.max(3, Math.floor(((bins - 1) * binHz) / f0) + 1));
    for (let h = 0; h < count; h++) {
      const expected = nearestBin((h + 1) * f0);
      const peak = peakNear(spectrum, bins, expected, nearestBin((h + 0.5) * f0), nearestBin((h + 1.5) * f0));
      if (peak >= firstBin && peak > 0 && peak < bins - 1) {
        const v = vertex(spectrum[peak - 1], spectrum[peak], spectrum[peak + 1]);
        bin[h] = peak;
        frequency[h] = (peak + v.offset) * binHz;
        magnitude[h] = spectrum[peak];
        interpolated[h] = v.height;
      } else {
        bin[h] = expected;
        frequency[h] = magnitude[h] = interpolated[h] = 0;
      }
    }
    relativeLevels();

    const strongest = [0, 1, 2].map((f) => strongestNear(formantHz[f]));
    for (let f = 0; f < 3; f++) result.formantLevel[f] = strongest[f] >= 0 ? level[strongest[f]] : 0;
    result.h1h2 = clamp(level[1] - level[2]);
    result.h1a3 = clamp(strongest[2] >= 0 ? level[1] - level[strongest[2]] : level[1] + floor);
    return result;
  };

  /** Levels in dB above the fundamental; a peak that the harmonic below has taken already counts once. */
  function relativeLevels(): void {
    const reference = magnitude[0];
    level[0] = 0;
    for (let h = 1; h < count; h++) {
      if (reference === 0) level[h] = floor;
      else if (interpolated[h] > 0)
        level[h] = Math.max(levelFloor, 20 * Math.log10(interpolated[h] / reference));
      else level[h] = levelFloor;
      if (bin[h] === bin[h - 1]) {
        bin[h] = 0;
        frequency[h] = magnitude[h] = interpolated[h] = 0;
        level[h] = floor;
      }
    }
  }

  function strongestNear(hz: number): number {
    let best = -1;
    let most = 0;
    for (let h = 0; h < count; h++) {
      if (frequency[h] >= 0.8 * hz && frequency[h] <= 1.2 * hz && magnitude[h] > most) {
        most = magnitude[h];
        best = h;
      }
    }
    return best;
  }
}

function clamp(level: number): number {
  return Math.max(floor, Math.min(-floor, level));
}

function isPeak(x: Float64Array, bins: number, n: number): boolean {
  if (n < 0 || n >= bins) return false;
  return (n === 0 || x[n] > x[n - 1]) && (n === bins - 1 || x[n] > x[n + 1]);
}

/** The local maximum closest to `expected` between `low` and `high`, the higher one first; -1 if there is none. */
function peakNear(x: Float64Array, bins: number, expected: number, low: number, high: number): number {
  if (isPeak(x, bins, expected)) return expected;
  for (let left = expected - 1, right = expected + 1; left >= low || right <= high; left--, right++) {
    if (right <= high && isPeak(x, bins, right)) return right;
    if (left >= low && isPeak(x, bins, left)) return left;
  }
  return -1;
}

/**
 * Returns a function to the harmonics-to-noise ratio in dB of a magnitude spectrum with fundamental `f0`: r / (r0 - r), r
 * the autocorrelation at the pitch period, taken at the closest peak of its magnitude. Only the few lags that are
 * looked at are computed. eGeMAPS leaves the window's own decay in r, which bounds its ratio (7 dB at 100 Hz, 17 dB at 300 Hz);
 * where `window` is given, r is freed of it (P. Boersma, IFA Proceedings 17, 1993).
 */
export function harmonicsToNoise(
  { fftSize, sampleRate }: Pick<Framing, "fftSize" | "sampleRate">,
  window?: Float64Array,
) {
  const half = fftSize / 2;
  const cosine = Float64Array.from({ length: fftSize }, (_, i) => Math.cos((2 * Math.PI * i) / fftSize));
  const power = new Float64Array(half + 1);
  const lags = new Float64Array(half + 1);
  const decay = new Float64Array(half + 1).fill(1);
  const magnitude = (lag: number): number => {
    if (lags[lag] >= 0) return lags[lag];
    let sum = 0;
    for (let k = 1, at = lag; k < half; k++, at = (at + lag) & (fftSize - 1)) sum += power[k] * cosine[at];
    return (lags[lag] =
      Math.abs(2 * sum + power[0] + (lag % 2 === 0 ? power[half] : -power[half])) / decay[lag]);
  };
  const peak = (n: number) =>
    (n === 0 || magnitude(n) > magnitude(n - 1)) && (n === half || magnitude(n) > magnitude(n + 1));
  const closestPeak = (at: number): number => {
    if (peak(at)) return at;
    for (let o = 1; at - o > 0 || at + o < half; o++) {
      if (at - o > 0 && peak(at - o)) return at - o;
      if (at + o < half && peak(at + o)) return at + o;
    }
    const start = magnitude(0) > magnitude(at);
    const end = magnitude(half) > magnitude(at);
    if (start && end) return at < half / 2 ? 0 : half;
    return start ? 0 : end ? half : at;
  };
  if (window) {
    // Zero padding to fftSize leaves room for lags up to fftSize - window.length before the ends meet.
    for (let lag = 0; lag <= half; lag++) {
      let sum = 0;
      for (let i = lag; i < window.length; i++) sum += window[i] * window[i - lag];
      decay[lag] = sum;
    }
    for (let lag = half; lag >= 0; lag--) decay[lag] = Math.max(1e-6, decay[lag] / decay[0]);
  }
  return (spectrum: Float64Array, f0: number): number => {
    for (let k = 0; k <= half; k++) power[k] = spectrum[k] * spectrum[k];
    lags.fill(-1);
    const lag = closestPeak(Math.min(half, Math.floor(sampleRate / f0)));
    if (lag === 0) return 0;
    const noise = magnitude(0) - magnitude(lag);
    const ratio = noise <= 0 ? 1e11 : magnitude(lag) / noise;
    return 10 * Math.log10(Math.max(1e-9, Math.min(1e11, ratio)));
  };
}
