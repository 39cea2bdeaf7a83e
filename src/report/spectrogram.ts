/** A spectrogram as phoneticians print it: dark where there is energy, 5 ms windows, pre-emphasised. */

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
 * Short-time power over 50 dB below the recording's maximum: Hann windows of `windowSeconds` every `step` seconds, up to
 * `topHz` (at most half the sample rate).
 */
export function spectrogram(
  samples: Float32Array,
  sampleRate: number,
  { windowSeconds = 0.012, step = 0.005, bins = 96, topHz = 8000, range = 50 } = {},
): Spectrogram {
  const top = Math.min(topHz, sampleRate / 2);
  const size = Math.max(8, Math.round(windowSeconds * sampleRate));
  const columns = Math.max(1, Math.floor(samples.length / sampleRate / step));
  const level = new Float32Array(columns * bins);
  const frame = new Float64Array(size);
  // One Goertzel-free projection per bin: bins are few and need not be those of a fast transform.
  const table = Array.from({ length: bins }, (_, b) => {
    const omega = (2 * Math.PI * top * (bins - 1 - b + 0.5)) / bins / sampleRate;
    return {
      cos: Float64Array.from({ length: size }, (_, i) => Math.cos(omega * i)),
      sin: Float64Array.from({ length: size }, (_, i) => Math.sin(omega * i)),
    };
  });
  const hann = Float64Array.from(
    { length: size },
    (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * (i + 0.5)) / size),
  );
  let max = -Infinity;
  for (let column = 0; column < columns; column++) {
    const start = Math.round((column + 0.5) * step * sampleRate - size / 2);
    for (let i = 0; i < size; i++) {
      const at = start + i;
      // Pre-emphasis lifts the weak high frequencies by 6 dB an octave.
      frame[i] = at > 0 && at < samples.length ? hann[i] * (samples[at] - 0.95 * samples[at - 1]) : 0;
    }
    for (let b = 0; b < bins; b++) {
      const { cos, sin } = table[b];
      let [re, im] = [0, 0];
      for (let i = 0; i < size; i++) {
        re += frame[i] * cos[i];
        im += frame[i] * sin[i];
      }
      const decibel = 10 * Math.log10(re * re + im * im + 1e-20);
      level[b * columns + column] = decibel;
      max = Math.max(max, decibel);
    }
  }
  const opacity = Uint8Array.from(level, (v) => Math.round(255 * Math.max(0, 1 - (max - v) / range)));
  return { opacity, columns, bins, step, topHz: top };
}
