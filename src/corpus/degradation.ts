import { realFft } from "../audio/fft.ts";
import { resample } from "../audio/resample.ts";
import { UserError } from "../errors.ts";
import { random } from "../random.ts";

/** A change for the worse, as a recipe names it. */
export type Degradation =
  /** Noise at a ratio in dB of speech to noise power: white, pink (power falls with frequency), or a given recording. */
  | { kind: "noise"; snr: number; color?: "white" | "pink"; recording?: Float32Array }
  /** A room: seconds until reverberation has fallen by 60 dB, and the power of direct to reverberant sound in dB. */
  | { kind: "reverberation"; seconds: number; direct?: number }
  /** Telephone coding: 8 kHz, 300 to 3400 Hz, 8 bits by mu-law (ITU-T G.711); or plain rounding to so many bits. */
  | { kind: "codec"; codec: "telephone" }
  | { kind: "codec"; codec: "bits"; bits: number }
  /** Tempo and pitch together, as a tape at another speed; above 1 is faster. */
  | { kind: "speed"; factor: number }
  /** Cuts the largest samples so that this share of all is at the limit, and brings the peak back. */
  | { kind: "clipping"; share: number }
  | { kind: "gain"; decibels: number };

/**
 * Applies changes one after another. The result depends only on the arguments.
 *
 * @returns new samples, of another number after "speed" only
 * @throws UserError where a value makes no sense
 */
export function degrade(
  samples: Float32Array,
  sampleRate: number,
  changes: readonly Degradation[],
  seed: number | string,
): Float32Array {
  return changes.reduce<Float32Array>(
    (x, change, i) => apply(x, sampleRate, change, `${seed} ${i}`),
    samples.slice(),
  );
}

function apply(x: Float32Array, sampleRate: number, change: Degradation, seed: string): Float32Array {
  switch (change.kind) {
    case "noise":
      return addNoise(x, change, seed);
    case "reverberation":
      return reverberate(x, sampleRate, change.seconds, change.direct ?? 0, seed);
    case "codec":
      return change.codec === "telephone" ? telephone(x, sampleRate) : roundTo(x, change.bits);
    case "speed": {
      check("factor", change.factor, 0.25, 4);
      return resample(x, Math.round(1000 * change.factor), 1000);
    }
    case "clipping":
      return clip(x, change.share);
    case "gain":
      return x.map((v) => v * 10 ** (change.decibels / 20));
  }
}

function addNoise(
  x: Float32Array,
  { snr, color = "white", recording }: { snr: number; color?: "white" | "pink"; recording?: Float32Array },
  seed: string,
): Float32Array {
  check("snr", snr, -60, 120);
  const noise =
    recording === undefined ? coloredNoise(x.length, color, seed) : excerpt(recording, x.length, seed);
  const power = meanSquare(noise);
  if (power === 0) throw new UserError("the noise is silent, so it cannot be added at a ratio");
  const scale = Math.sqrt(meanSquare(x) / power / 10 ** (snr / 10));
  return x.map((v, i) => v + scale * noise[i]);
}

/** A stretch of a recording that begins by chance, from its start again where it is too short. */
function excerpt(recording: Float32Array, samples: number, seed: string): Float32Array {
  if (recording.length === 0) throw new UserError("the recording of noise is empty");
  const from = random(seed, "excerpt").int(recording.length);
  return Float32Array.from({ length: samples }, (_, i) => recording[(from + i) % recording.length]);
}

function coloredNoise(samples: number, color: "white" | "pink", seed: string): Float32Array {
  const chance = random(seed, "noise");
  if (color === "white") return Float32Array.from({ length: samples }, () => chance.normal());
  // Sum of slower and slower random steps (R. Voss): each source holds its value for 2^k samples.
  const sources = Array.from({ length: 14 }, () => chance.normal());
  return Float32Array.from({ length: samples }, (_, i) => {
    for (let k = 0; k < sources.length; k++) if (i % 2 ** k === 0) sources[k] = chance.normal();
    return sources.reduce((sum, v) => sum + v, 0);
  });
}

/** Convolution with a direct path and exponentially decaying noise (J. Moorer, "About this reverberation business"). */
function reverberate(
  x: Float32Array,
  sampleRate: number,
  seconds: number,
  direct: number,
  seed: string,
): Float32Array {
  check("seconds", seconds, 0.02, 10);
  const chance = random(seed, "room");
  const decay = Math.log(1000) / (seconds * sampleRate); // 60 dB are a factor of 1000
  const gap = Math.round(0.002 * sampleRate);
  const response = new Float32Array(Math.round(seconds * sampleRate));
  for (let i = gap; i < response.length; i++) response[i] = chance.normal() * Math.exp(-decay * i);
  const scale = Math.sqrt(10 ** (-direct / 10) / (meanSquare(response) * response.length));
  for (let i = gap; i < response.length; i++) response[i] *= scale;
  response[0] = 1;
  const wet = convolve(x, response).subarray(0, x.length);
  const level = Math.sqrt(meanSquare(x) / (meanSquare(wet) || 1));
  return wet.map((v) => v * level);
}

/** Linear convolution by one Fourier transform [samples of both - 1]. */
export function convolve(a: Float32Array, b: Float32Array): Float32Array {
  const samples = a.length + b.length - 1;
  const plan = realFft(2 ** Math.ceil(Math.log2(Math.max(2, samples))));
  const spectrum = (x: Float32Array) => {
    const [re, im] = [new Float64Array(plan.bins), new Float64Array(plan.bins)];
    plan.forward(x, re, im);
    return { re, im };
  };
  const [s, t] = [spectrum(a), spectrum(b)];
  const re = s.re.map((v, k) => v * t.re[k] - s.im[k] * t.im[k]);
  const im = s.re.map((v, k) => v * t.im[k] + s.im[k] * t.re[k]);
  const out = new Float64Array(plan.size);
  plan.inverse(re, im, out);
  return Float32Array.from(out.subarray(0, Math.max(0, samples)));
}

function telephone(x: Float32Array, sampleRate: number): Float32Array {
  const narrow = resample(x, sampleRate, 8000);
  const band = bandPass(narrow, 8000, 300, 3400);
  const coded = band.map((v) => {
    const limited = Math.max(-1, Math.min(1, v));
    const compressed = Math.log1p(255 * Math.abs(limited)) / Math.log(256);
    const level = Math.round(compressed * 127) / 127;
    return (Math.sign(limited) * Math.expm1(level * Math.log(256))) / 255;
  });
  return resized(resample(coded, 8000, sampleRate), x.length);
}

/** Keeps the frequencies from `low` to `high` Hz, with the phase as it was (windowed sinc of 20 ms). */
function bandPass(x: Float32Array, sampleRate: number, low: number, high: number): Float32Array {
  const half = Math.round(0.01 * sampleRate);
  const sinc = (f: number, i: number) =>
    i === 0 ? (2 * f) / sampleRate : Math.sin((2 * Math.PI * f * i) / sampleRate) / (Math.PI * i);
  const kernel = Float32Array.from({ length: 2 * half + 1 }, (_, n) => {
    const i = n - half;
    return (sinc(high, i) - sinc(low, i)) * (0.5 + 0.5 * Math.cos((Math.PI * i) / (half + 1)));
  });
  return convolve(x, kernel).slice(half, half + x.length);
}

function roundTo(x: Float32Array, bits: number): Float32Array {
  check("bits", bits, 1, 24);
  const steps = 2 ** (bits - 1);
  return x.map((v) => Math.max(-steps, Math.min(steps - 1, Math.round(v * steps))) / steps);
}

function clip(x: Float32Array, share: number): Float32Array {
  check("share", share, 0, 0.9);
  const sizes = x.map(Math.abs).sort();
  const peak = sizes.at(-1) ?? 0;
  const limit = sizes[Math.max(0, Math.ceil((1 - share) * sizes.length) - 1)] || peak;
  if (limit === 0) return x;
  return x.map((v) => (Math.max(-limit, Math.min(limit, v)) * peak) / limit);
}

function resized(x: Float32Array, samples: number): Float32Array {
  if (x.length === samples) return x;
  const out = new Float32Array(samples);
  out.set(x.subarray(0, samples));
  return out;
}

function meanSquare(x: Float32Array): number {
  let sum = 0;
  for (const v of x) sum += v * v;
  return sum / Math.max(1, x.length);
}

function check(name: string, value: number, low: number, high: number): void {
  if (!(value >= low && value <= high))
    throw new UserError(`${name} must be from ${low} to ${high}, not ${value}`);
}
