import { resample } from "../../resample.ts";
import { percentile } from "../functionals.ts";
import { PolynomialRoots } from "../polynomial-roots.ts";
import { type PhoneInterval, phoneClassifier } from "./phones.ts";
import type { VowelMeasure } from "./vowel-space.ts";

export interface VowelFormantOptions {
  /** Highest frequency in which five formants are sought: 5500 Hz for women and children, 5000 Hz for men. */
  maxHz?: number;
}

const formantsSought = 5;
const windowSeconds = 0.05;
const stepSeconds = 0.00625;
const preEmphasisHz = 50;

/**
 * F1 and F2 in Hz of each vowel among `phones`: the medians over the middle third of its interval. Formants are
 * found as Praat finds them ("To Formant (burg)"): resampling to twice `maxHz`, pre-emphasis from 50 Hz, 50 ms Gaussian
 * windows, linear prediction by Burg's method, order 10. Vowels without two formants are left out.
 */
export function vowelFormants(
  samples: Float32Array,
  sampleRate: number,
  phones: readonly PhoneInterval[],
  { maxHz = 5500 }: VowelFormantOptions = {},
): VowelMeasure[] {
  const rate = 2 * maxHz;
  const signal = preEmphasise(resample(samples, sampleRate, rate), rate);
  const track = burgFormants(rate);
  const classOf = phoneClassifier(phones.map(({ label }) => label));
  const measures: VowelMeasure[] = [];
  for (const { start, end, label } of phones) {
    if (classOf(label) !== "vowel" || end <= start) continue;
    const third = (end - start) / 3;
    const first: number[] = [];
    const second: number[] = [];
    const steps = Math.max(1, Math.round(third / stepSeconds));
    for (let s = 0; s < steps; s++) {
      const found = track(signal, (start + third + ((s + 0.5) / steps) * third) * rate);
      if (found.length < 2) continue;
      first.push(found[0]);
      second.push(found[1]);
    }
    if (first.length > 0) measures.push({ label, f1: median(first), f2: median(second) });
  }
  return measures;
}

function median(x: number[]): number {
  return percentile(
    x.sort((a, b) => a - b),
    0.5,
  );
}

function preEmphasise(x: Float32Array, rate: number): Float32Array {
  const factor = Math.exp((-2 * Math.PI * preEmphasisHz) / rate);
  return x.map((v, i) => (i > 0 ? v - factor * x[i - 1] : v));
}

/** Returns a function to the formants (Hz, ascending) of a window around sample `centre`. */
export function burgFormants(rate: number) {
  const size = Math.round(windowSeconds * rate);
  const order = 2 * formantsSought;
  // Praat's Gaussian window: down to its edge value at the ends, which is subtracted.
  const edge = Math.exp(-12);
  const window = Float64Array.from({ length: size }, (_, i) => {
    const x = (2 * (i + 0.5)) / size - 1;
    return (Math.exp(-12 * x * x) - edge) / (1 - edge);
  });
  const frame = new Float64Array(size);
  const roots = new PolynomialRoots(order);
  return (signal: Float32Array, centre: number): number[] => {
    const start = Math.round(centre - size / 2);
    for (let i = 0; i < size; i++) frame[i] = (signal[start + i] ?? 0) * window[i];
    const predictor = burg(frame, order);
    if (!predictor) return [];
    const count = roots.solve(predictor);
    const found: number[] = [];
    for (let r = 0; r < count; r++) {
      const hz = (Math.atan2(roots.im[r], roots.re[r]) * rate) / (2 * Math.PI);
      if (hz > 50 && hz < rate / 2 - 50) found.push(hz);
    }
    return found.sort((a, b) => a - b);
  };
}

/**
 * Linear prediction by Burg's method (N. Andersen, "On the calculation of filter coefficients for maximum entropy spectral
 * analysis", Geophysics 39, 1974). Returns 1, a[1] ... a[order] of the prediction error filter, undefined for silence.
 */
export function burg(x: Float64Array, order: number): Float64Array | undefined {
  const n = x.length;
  const forward = Float64Array.from(x);
  const backward = Float64Array.from(x);
  const a = new Float64Array(order + 1);
  const previous = new Float64Array(order + 1);
  a[0] = 1;
  for (let m = 1; m <= order; m++) {
    let numerator = 0;
    let denominator = 0;
    for (let i = m; i < n; i++) {
      numerator += forward[i] * backward[i - 1];
      denominator += forward[i] * forward[i] + backward[i - 1] * backward[i - 1];
    }
    if (!(denominator > 0)) return m === 1 ? undefined : a;
    const reflection = (-2 * numerator) / denominator;
    previous.set(a);
    for (let k = 1; k <= m; k++) a[k] = previous[k] + reflection * previous[m - k];
    for (let i = n - 1; i >= m; i--) {
      const f = forward[i];
      forward[i] = f + reflection * backward[i - 1];
      backward[i] = backward[i - 1] + reflection * f;
    }
  }
  return a;
}
