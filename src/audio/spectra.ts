import { realFft } from "./fft.ts";
import { applyFilterbank, type Filterbank, type MelOptions, melFilterbank } from "./mel.ts";
import { type WindowName, windowFunction } from "./window.ts";

/** Features of a recording, frame by frame: row t is `data[t * dim]` up to `data[(t + 1) * dim]`. */
export interface FrameMatrix {
  /** [frames, dim] */
  data: Float32Array;
  frames: number;
  dim: number;
}

export interface StftOptions {
  /** Samples of the transform (any size). */
  fftSize: number;
  /** Samples from frame to frame. */
  hop: number;
  /** Samples of the window, centred in the transform (default `fftSize`). */
  windowSize?: number;
  /** Default "hann". */
  window?: WindowName;
  /** Periodic (default) or symmetric window. */
  periodic?: boolean;
  /** Frame t is centred on sample t * hop, the signal being padded on both sides (default true). */
  center?: boolean;
  /** What to pad with (default "reflect": the signal mirrored about its first and last sample). */
  pad?: "reflect" | "zeros";
}

/** Frames that a recording of `count` samples has. */
export function frameCount(count: number, { fftSize, hop, center = true }: StftOptions): number {
  const padded = center ? count + 2 * (fftSize >> 1) : count;
  return Math.max(0, Math.floor((padded - fftSize) / hop) + 1);
}

/** Calls `visit` with the spectrum of each frame; the arrays [fftSize / 2 + 1] are reused. */
function eachFrame(
  samples: Float32Array,
  options: StftOptions,
  visit: (frame: number, re: Float64Array, im: Float64Array) => void,
): void {
  const { fftSize, hop, windowSize = fftSize, window = "hann", periodic = true, center = true } = options;
  if (!(hop > 0 && windowSize > 0 && windowSize <= fftSize))
    throw new RangeError(`a window of ${windowSize} with hop ${hop} does not fit a transform of ${fftSize}`);
  const fft = realFft(fftSize);
  const shape = windowFunction(window, windowSize, periodic);
  const lead = (fftSize - windowSize) >> 1;
  const signal = center ? pad(samples, fftSize >> 1, options.pad ?? "reflect") : samples;
  const frames = frameCount(samples.length, options);
  const frame = new Float64Array(fftSize);
  const re = new Float64Array(fft.bins);
  const im = new Float64Array(fft.bins);
  for (let t = 0; t < frames; t++) {
    const from = t * hop + lead;
    for (let n = 0; n < windowSize; n++) frame[lead + n] = shape[n] * signal[from + n];
    fft.forward(frame, re, im);
    visit(t, re, im);
  }
}

/** `amount` samples more on each side. Mirroring walks to and fro where the signal is shorter than the padding. */
function pad(samples: Float32Array, amount: number, mode: "reflect" | "zeros"): Float32Array {
  const out = new Float32Array(samples.length + 2 * amount);
  out.set(samples, amount);
  if (mode === "zeros" || samples.length === 0) return out;
  const period = Math.max(1, 2 * (samples.length - 1));
  const mirrored = (n: number) => {
    const at = ((n % period) + period) % period;
    return samples[Math.min(at, period - at) % samples.length];
  };
  for (let i = 0; i < amount; i++) {
    out[i] = mirrored(i - amount);
    out[amount + samples.length + i] = mirrored(samples.length + i);
  }
  return out;
}

export const emptyMatrix = (frames: number, dim: number): FrameMatrix => ({
  data: new Float32Array(frames * dim),
  frames,
  dim,
});

/** Short-time Fourier transform: real and imaginary parts, each [frames, fftSize / 2 + 1]. As `torch.stft`. */
export function stft(samples: Float32Array, options: StftOptions): { re: FrameMatrix; im: FrameMatrix } {
  const frames = frameCount(samples.length, options);
  const bins = (options.fftSize >> 1) + 1;
  const [re, im] = [emptyMatrix(frames, bins), emptyMatrix(frames, bins)];
  eachFrame(samples, options, (t, real, imaginary) => {
    re.data.set(real, t * bins);
    im.data.set(imaginary, t * bins);
  });
  return { re, im };
}

/** |STFT|^power, [frames, fftSize / 2 + 1]; `power` 2 (default) or 1. */
export function spectrogram(samples: Float32Array, options: StftOptions, power: 1 | 2 = 2): FrameMatrix {
  const out = emptyMatrix(frameCount(samples.length, options), (options.fftSize >> 1) + 1);
  eachFrame(samples, options, (t, re, im) => {
    for (let k = 0; k < re.length; k++) {
      const squared = re[k] * re[k] + im[k] * im[k];
      out.data[t * out.dim + k] = power === 2 ? squared : Math.sqrt(squared);
    }
  });
  return out;
}

/** Filterbank energies of the power (or magnitude) spectrum, [frames, bands]. */
export function bandEnergies(
  samples: Float32Array,
  bank: Filterbank,
  options: StftOptions,
  power: 1 | 2 = 2,
): FrameMatrix {
  const out = emptyMatrix(frameCount(samples.length, options), bank.bands);
  const spectrum = new Float64Array(bank.bins);
  const energies = new Float64Array(bank.bands);
  eachFrame(samples, options, (t, re, im) => {
    for (let k = 0; k < re.length; k++) {
      const squared = re[k] * re[k] + im[k] * im[k];
      spectrum[k] = power === 2 ? squared : Math.sqrt(squared);
    }
    applyFilterbank(bank, spectrum, energies);
    out.data.set(energies, t * out.dim);
  });
  return out;
}

/**
 * Options of the mel features. Defaults: 80 bands, a 25 ms Hann window every 10 ms, a transform as long as the window,
 * frames centred with mirrored edges; torchaudio's `MelSpectrogram` with its HTK scale.
 */
export interface MelFeatureOptions extends MelOptions, Partial<StftOptions> {
  /** Exponent of the magnitude spectrum (default 2). */
  power?: 1 | 2;
}

/** Mel-band energies, [frames, bands]. */
export function mel(samples: Float32Array, sampleRate: number, options: MelFeatureOptions = {}): FrameMatrix {
  const {
    windowSize = options.fftSize ?? Math.round(0.025 * sampleRate),
    hop = Math.round(0.01 * sampleRate),
  } = options;
  const { fftSize = windowSize, power = 2 } = options;
  const bank = melFilterbank(fftSize, sampleRate, options);
  return bandEnergies(samples, bank, { ...options, fftSize, windowSize, hop }, power);
}

/** Energies below this count as this before a logarithm is taken. */
const floor = 1e-10;

/** Natural logarithm of the mel-band energies (at least 1e-10), [frames, bands]. */
export function logMel(
  samples: Float32Array,
  sampleRate: number,
  options: MelFeatureOptions = {},
): FrameMatrix {
  const out = mel(samples, sampleRate, options);
  for (let i = 0; i < out.data.length; i++) out.data[i] = Math.log(Math.max(floor, out.data[i]));
  return out;
}

/** 10 log10 of energies, at least 1e-10 and not more than `range` dB below the largest of the recording; in place. */
export function toDecibels(energies: FrameMatrix, range = 80): FrameMatrix {
  const { data } = energies;
  let top = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < data.length; i++) {
    data[i] = 10 * Math.log10(Math.max(floor, data[i]));
    top = Math.max(top, data[i]);
  }
  for (let i = 0; i < data.length; i++) data[i] = Math.max(data[i], top - range);
  return energies;
}

export interface MfccOptions extends MelFeatureOptions {
  /** Cepstral coefficients, the zeroth counted (default 13). */
  coefficients?: number;
  /** Logarithm: decibels within 80 dB of the maximum as torchaudio and librosa do (default), or natural. */
  log?: "dB" | "ln";
}

/** Mel-frequency cepstral coefficients: orthonormal DCT-II of the log mel energies (default 40 bands), [frames, coefficients]. */
export function mfcc(samples: Float32Array, sampleRate: number, options: MfccOptions = {}): FrameMatrix {
  const { coefficients = 13, log = "dB", bands = 40 } = options;
  const source =
    log === "dB"
      ? toDecibels(mel(samples, sampleRate, { ...options, bands }))
      : logMel(samples, sampleRate, { ...options, bands });
  return cosineTransform(source, coefficients);
}

/** The first `coefficients` of the orthonormal DCT-II of each frame. */
export function cosineTransform(source: FrameMatrix, coefficients: number): FrameMatrix {
  const { frames, dim } = source;
  if (coefficients > dim)
    throw new RangeError(`${coefficients} cepstral coefficients need as many bands, not ${dim}`);
  const basis = Float64Array.from({ length: coefficients * dim }, (_, i) => {
    const [k, n] = [Math.floor(i / dim), i % dim];
    return Math.sqrt((k === 0 ? 1 : 2) / dim) * Math.cos((Math.PI * k * (2 * n + 1)) / (2 * dim));
  });
  const out = emptyMatrix(frames, coefficients);
  for (let t = 0; t < frames; t++)
    for (let k = 0; k < coefficients; k++) {
      let sum = 0;
      for (let n = 0; n < dim; n++) sum += basis[k * dim + n] * source.data[t * dim + n];
      out.data[t * coefficients + k] = sum;
    }
  return out;
}

/**
 * Time derivatives by regression over 2 * `reach` + 1 frames (HTK book, eq. 5.16), the first and last frame repeated at
 * the edges: d_t = sum_n n (c_{t+n} - c_{t-n}) / (2 sum_n n^2).
 */
export function deltas(source: FrameMatrix, reach = 2): FrameMatrix {
  const { frames, dim, data } = source;
  const out = emptyMatrix(frames, dim);
  const norm = (reach * (reach + 1) * (2 * reach + 1)) / 3;
  for (let t = 0; t < frames; t++)
    for (let i = 0; i < dim; i++) {
      let sum = 0;
      for (let n = 1; n <= reach; n++)
        sum += n * (data[Math.min(frames - 1, t + n) * dim + i] - data[Math.max(0, t - n) * dim + i]);
      out.data[t * dim + i] = sum / norm;
    }
  return out;
}

/** Static features, then their derivatives up to `order`, side by side: [frames, (order + 1) * dim]. */
export function withDeltas(source: FrameMatrix, order = 2, reach = 2): FrameMatrix {
  const parts = [source];
  for (let i = 0; i < order; i++) parts.push(deltas(parts[i], reach));
  const { frames, dim } = source;
  const out = emptyMatrix(frames, dim * parts.length);
  for (let t = 0; t < frames; t++)
    parts.forEach((part, i) => {
      out.data.set(part.data.subarray(t * dim, (t + 1) * dim), t * out.dim + i * dim);
    });
  return out;
}
