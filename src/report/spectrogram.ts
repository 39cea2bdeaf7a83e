import { realFft } from "../audio/fft.ts";

/** A spectrogram as phoneticians print it: dark where there is energy, windows short enough to show the voice's pulses. */
export interface Spectrogram {
  /** Row-major [bins, columns], the highest frequency first, 0 (quiet) to 255 (loud). */
  opacity: Uint8Array;
  columns: number;
  bins: number;
  /** Seconds between columns. */
  step: number;
  topHz: number;
}

/**
 * Power of pre-emphasised samples within `range` dB of the recording's maximum: Hann windows of `windowSeconds` every `step`
 * seconds, bins of 1 / windowSeconds Hz up to 8 kHz or half the sample rate.
 */
export function spectrogram(
  samples: Float32Array,
  sampleRate: number,
  { windowSeconds = 0.012, step = 0.005, range = 50 } = {},
): Spectrogram {
  const topHz = Math.min(8000, sampleRate / 2);
  const fft = realFft(Math.round(windowSeconds * sampleRate));
  const bins = Math.min(fft.bins, Math.round(topHz * windowSeconds));
  const columns = Math.max(1, Math.floor(samples.length / sampleRate / step));
  const level = new Float32Array(columns * bins);
  const frame = new Float64Array(fft.size);
  const [re, im] = [new Float64Array(fft.bins), new Float64Array(fft.bins)];
  let max = -Infinity;
  for (let column = 0; column < columns; column++) {
    const start = Math.round((column + 0.5) * step * sampleRate - fft.size / 2);
    for (let i = 0; i < fft.size; i++) {
      const at = start + i;
      const hann = 0.5 - 0.5 * Math.cos((2 * Math.PI * (i + 0.5)) / fft.size);
      // Pre-emphasis lifts the weak high frequencies by 6 dB an octave.
      frame[i] = at > 0 && at < samples.length ? hann * (samples[at] - 0.95 * samples[at - 1]) : 0;
    }
    fft.forward(frame, re, im);
    for (let b = 0; b < bins; b++) {
      const decibel = 10 * Math.log10(re[b] ** 2 + im[b] ** 2 + 1e-20);
      level[(bins - 1 - b) * columns + column] = decibel;
      max = Math.max(max, decibel);
    }
  }
  const opacity = Uint8Array.from(level, (v) => Math.round(255 * Math.max(0, 1 - (max - v) / range)));
  return { opacity, columns, bins, step, topHz };
}
