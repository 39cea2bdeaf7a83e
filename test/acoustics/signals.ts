import { random } from "../../src/random.ts";

export const rate = 16000;

/** A sum of harmonics of `f0` with falling amplitudes, like a voice without a vocal tract. */
export function harmonicTone(
  f0: (seconds: number) => number,
  seconds: number,
  sampleRate = rate,
): Float32Array {
  const out = new Float32Array(Math.round(seconds * sampleRate));
  let phase = 0;
  for (let i = 0; i < out.length; i++) {
    const hz = f0(i / sampleRate);
    phase += (2 * Math.PI * hz) / sampleRate;
    for (let h = 1; h <= 20 && h * hz < 0.45 * sampleRate; h++) out[i] += (0.3 / h) * Math.sin(h * phase);
  }
  return out;
}

/**
 * Pulses at the given instants (seconds) and heights through resonators (Hz, bandwidth) and the spectral tilt of a voice,
 * -6 dB an octave above 50 Hz: a synthetic vowel.
 */
export function pulsesThroughResonators(
  pulses: { at: number; height: number }[],
  resonators: [hz: number, bandwidth: number][],
  seconds: number,
  sampleRate = rate,
): Float32Array {
  let x: Float64Array = new Float64Array(Math.round(seconds * sampleRate));
  for (const { at, height } of pulses) {
    // Band-limited to a few samples, so that a pulse can fall between two of them.
    const centre = at * sampleRate;
    for (let i = Math.max(0, Math.ceil(centre - 16)); i < Math.min(x.length, centre + 16); i++) {
      const u = i - centre;
      const sinc = u === 0 ? 1 : Math.sin(Math.PI * u) / (Math.PI * u);
      x[i] += height * sinc * (0.5 + 0.5 * Math.cos((Math.PI * u) / 16));
    }
  }
  const tilt = Math.exp((-2 * Math.PI * 50) / sampleRate);
  for (let i = 1; i < x.length; i++) x[i] += tilt * x[i - 1];
  for (const [hz, bandwidth] of resonators) {
    const r = Math.exp((-Math.PI * bandwidth) / sampleRate);
    const b = 2 * r * Math.cos((2 * Math.PI * hz) / sampleRate);
    const y = new Float64Array(x.length);
    for (let i = 0; i < x.length; i++) y[i] = x[i] + b * (y[i - 1] ?? 0) - r * r * (y[i - 2] ?? 0);
    x = y;
  }
  const peak = x.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
  return Float32Array.from(x, (v) => (0.5 * v) / peak);
}

/** Pulse instants of a voice at `f0` with periods alternately longer and shorter by `jitter`, heights by `shimmer`. */
export function alternatingPulses(f0: number, seconds: number, jitter = 0, shimmer = 0) {
  const pulses: { at: number; height: number }[] = [];
  let at = 0.01;
  for (let i = 0; at < seconds; i++) {
    const sign = i % 2 === 0 ? 1 : -1;
    pulses.push({ at, height: 1 + (sign * shimmer) / 2 });
    at += (1 + (sign * jitter) / 2) / f0;
  }
  return pulses;
}

export function noise(seconds: number, amplitude: number, sampleRate = rate): Float32Array {
  const stream = random(7, "noise");
  return Float32Array.from({ length: Math.round(seconds * sampleRate) }, () => amplitude * stream.normal());
}

export function add(x: Float32Array, y: Float32Array): Float32Array {
  return x.map((v, i) => v + y[i]);
}
