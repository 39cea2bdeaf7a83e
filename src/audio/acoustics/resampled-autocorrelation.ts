import { loadFilterKernel } from "../simd.ts";

/**
 * Resamples a frame in the frequency domain and correlates it with itself: from the real FFT of a zero-padded frame
 * (X[k] = re[k] + i im[k]) the inverse transform of the kept bins is evaluated at the instants of the new rate, as a
 * matrix product, because its period is seldom a size that a fast transform has (44.1 kHz: 255.4 instants). As in
 * eGeMAPS, bins are kept up to half the number of new *samples* of the unpadded frame, not of its padded transform, so that
 * of 11 kHz only the lower 3.4 kHz are filled, and the mean counts twice. Arithmetic is float32 (vector kernel).
 *
 * Returns a function to the autocorrelations at lags 0 ... `lags - 1`, overwritten by the next call. Plans are kept: a
 * WebAssembly memory reserves gigabytes of address space, so there must not be one a recording.
 */
export function resampledAutocorrelation(frame: Frame, targetRate: number, lags: number): Plan {
  const key = [frame.size, frame.fftSize, frame.sampleRate, targetRate, lags].join();
  let plan = plans.get(key);
  if (!plan) {
    // A corpus has one or two rates; odd ones must not gather plans without end.
    if (plans.size >= 8) plans.clear();
    plan = makePlan(frame, targetRate, lags);
    plans.set(key, plan);
  }
  return plan;
}

interface Frame {
  size: number;
  fftSize: number;
  sampleRate: number;
}

type Plan = (re: Float64Array, im: Float64Array) => Float32Array;

const plans = new Map<string, Plan>();

function makePlan({ size, fftSize, sampleRate }: Frame, targetRate: number, lags: number): Plan {
  const instants = Math.round((size * targetRate) / sampleRate);
  const period = (instants / size) * fftSize;
  const bins = Math.min(fftSize, instants) >> 1; // 0 ... bins - 1
  const nyquist = instants >= fftSize;
  const terms = wholeVectors(2 * bins);
  const padded = wholeVectors(instants);
  // The kernel makes four outputs a turn: rows of zeros, and lags that nobody reads, fill the last ones.
  const [rowTurns, lagTurns] = [Math.ceil(instants / 4), Math.ceil(lags / 4)];

  // Memory, in floats: cosine and sine parts of the spectrum, one row of the matrix an instant, the resampled frame
  // with zeros behind it, the correlations.
  const matrixAt = terms;
  const frameAt = matrixAt + 4 * rowTurns * terms;
  const outAt = frameAt + wholeVectors(padded + 4 * lagTurns);
  const memory = new WebAssembly.Memory({ initial: Math.ceil((4 * (outAt + 4 * lagTurns)) / 65536) });
  const floats = new Float32Array(memory.buffer);
  const multiply = loadFilterKernel(memory);
  const scale = 2 / fftSize;
  for (let i = 0; i < instants; i++) {
    const row = floats.subarray(matrixAt + i * terms, matrixAt + (i + 1) * terms);
    for (let k = 0; k < bins; k++) {
      const angle = (2 * Math.PI * ((k * i) % period)) / period;
      row[2 * k] = scale * Math.cos(angle);
      row[2 * k + 1] = -scale * Math.sin(angle);
    }
    // The imaginary part of the mean is 0: its place is free for the bin at half the rate.
    if (nyquist) row[1] = scale * Math.cos((Math.PI * fftSize * i) / period);
  }
  const out = floats.subarray(outAt, outAt + lags);
  return (re, im) => {
    for (let k = 0; k < bins; k++) {
      floats[2 * k] = re[k];
      floats[2 * k + 1] = im[k];
    }
    floats[1] = nyquist ? re[fftSize / 2] : 0;
    multiply(4 * matrixAt, 0, 4 * frameAt, 4 * terms, 4 * terms, 4, rowTurns);
    multiply(4 * frameAt, 4 * frameAt, 4 * outAt, 4 * padded, 4, 4, lagTurns);
    return out;
  };
}

/** The kernel reads eight floats at a time. */
function wholeVectors(floats: number): number {
  return 8 * Math.ceil(floats / 8);
}
