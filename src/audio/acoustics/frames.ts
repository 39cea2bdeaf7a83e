import { realFft } from "../fft.ts";

/**
 * Framing shared by the acoustic features: one frame every 10 ms, frame i starting at i * 10 ms (not centred on it),
 * only whole frames, as the published eGeMAPS and ComParE parameter sets have it.
 */
export const frameStepSeconds = 0.01;

export interface Framing {
  sampleRate: number;
  /** Samples of a frame. */
  size: number;
  /** Samples between the starts of two frames. */
  step: number;
  /** The next power of two, to which a frame is zero padded before its transform. */
  fftSize: number;
  /** Hz between two bins of that transform. */
  binHz: number;
}

export function framing(sampleRate: number, frameSeconds: number): Framing {
  const size = Math.round(frameSeconds * sampleRate);
  let fftSize = 4;
  while (fftSize < size) fftSize *= 2;
  // The bin width follows from the nominal duration, also where that is no whole number of samples (11025 Hz).
  return {
    sampleRate,
    size,
    step: Math.round(frameStepSeconds * sampleRate),
    fftSize,
    binHz: 1 / ((frameSeconds * fftSize) / size),
  };
}

/** Whole frames in `samples` samples. */
export function frameCount(samples: number, { size, step }: Framing): number {
  return samples < size ? 0 : Math.floor((samples - size) / step) + 1;
}

/** Symmetric Hamming window. */
export function hammingWindow(size: number): Float64Array {
  return Float64Array.from(
    { length: size },
    (_, i) => 0.54 - 0.46 * Math.cos((2 * Math.PI * i) / (size - 1)),
  );
}

/** Gaussian window; `sigma` is a fraction of half the window's length. */
export function gaussianWindow(size: number, sigma: number): Float64Array {
  const middle = (size - 1) / 2;
  return Float64Array.from({ length: size }, (_, i) =>
    Math.exp(-0.5 * ((i - middle) / (sigma * middle)) ** 2),
  );
}

/** One frame's spectrum; the arrays are overwritten by the next frame's. */
export interface FrameSpectrum {
  /** X[k] = re[k] + i im[k] of the windowed frame in the middle of its zero padding [fftSize / 2 + 1]. */
  re: Float64Array;
  im: Float64Array;
  /** |X[k]|^2 */
  power: Float64Array;
  /** Mean square of the frame before and after windowing. */
  meanSquare: number;
  windowedMeanSquare: number;
}

/** Calls `visit` with the spectrum of each whole frame in turn. */
export function eachSpectrum(
  samples: Float32Array,
  frame: Framing,
  window: Float64Array,
  visit: (t: number, spectrum: FrameSpectrum) => void,
): void {
  const { size, step, fftSize } = frame;
  const fft = realFft(fftSize);
  const padded = new Float64Array(fftSize);
  const before = (fftSize - size) >> 1;
  const re = new Float64Array(fft.bins);
  const im = new Float64Array(fft.bins);
  const power = new Float64Array(fft.bins);
  const spectrum: FrameSpectrum = { re, im, power, meanSquare: 0, windowedMeanSquare: 0 };
  const count = frameCount(samples.length, frame);
  for (let t = 0; t < count; t++) {
    const start = t * step;
    let square = 0;
    let windowedSquare = 0;
    for (let i = 0; i < size; i++) {
      const v = samples[start + i];
      const w = v * window[i];
      square += v * v;
      windowedSquare += w * w;
      padded[before + i] = w;
    }
    fft.forward(padded, re, im);
    for (let k = 0; k < power.length; k++) power[k] = re[k] * re[k] + im[k] * im[k];
    spectrum.meanSquare = square / size;
    spectrum.windowedMeanSquare = windowedSquare / size;
    visit(t, spectrum);
  }
}
