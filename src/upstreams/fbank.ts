import { melFilterbank } from "../audio/mel.ts";
import { type WindowName, windowFunction } from "../audio/window.ts";
import * as ops from "../ops/index.ts";
import { addDim, type Dim } from "../tensor/dims.ts";
import type { Tensor } from "../tensor/tensor.ts";

// Kaldi's filterbank features inside the graph, for models that start from them: frames of 25 ms every 10 ms at 16 kHz.

const RATE = 16_000;
const WINDOW = 400;
const SHIFT = 160;
const FFT = 512;
const PREEMPHASIS = 0.97;
/** Float32's epsilon, Kaldi's least energy. */
const LEAST = 2 ** -23;

export const fbankHop = SHIFT;
const framing = { stride: SHIFT, before: 0, after: 0, dilation: 1, groups: 1 };

/** Whole frames in `samples` samples. */
export const fbankFrames = (samples: Dim): Dim => ops.convFrames(samples, WINDOW, framing);

/**
 * Log mel energies [batch, frames, bands] of audio [batch, samples] in [-1, 1], as `torchaudio.compliance.kaldi.fbank` gives
 * them. All before the power spectrum is linear (mean removal, pre-emphasis, window, Fourier transform): one convolution.
 */
export function fbank(audio: Tensor, bands: number, window: WindowName): Tensor {
  const bins = FFT / 2 + 1;
  const [batch, samples] = audio.shape;
  const signal = ops.reshape(audio, [batch, 1, samples]);
  const spectrum = ops.conv1d(
    signal,
    ops.constant([2 * bins, 1, WINDOW], fourierRows(window, bins)),
    framing,
  );
  const [re, im] = [ops.slice(spectrum, 1, 0, bins), ops.slice(spectrum, 1, bins, 2 * bins)];
  const power = ops.add(ops.mul(re, re), ops.mul(im, im));
  const energies = ops.matMul(ops.constant([bands, bins], melRows(bands, bins)), power);
  return ops.transpose(ops.log(ops.maximum(energies, LEAST)), [0, 2, 1]);
}

/** Real parts of all bins, then imaginary parts, each as weights of the WINDOW raw samples: [2 bins, WINDOW]. */
function fourierRows(window: WindowName, bins: number): Float32Array {
  const shape = windowFunction(window, WINDOW, false);
  const rows = new Float32Array(2 * bins * WINDOW);
  for (let row = 0; row < 2 * bins; row++) {
    const [wave, bin] = row < bins ? [Math.cos, row] : [Math.sin, row - bins];
    const wanted = shape.map((w, n) => w * wave((2 * Math.PI * ((bin * n) % FFT)) / FFT));
    // Pre-emphasis takes a part of each sample's predecessor away; the first precedes itself.
    const raw = wanted.map((w, n) => w - PREEMPHASIS * ((wanted[n + 1] ?? 0) + (n === 0 ? w : 0)));
    const mean = raw.reduce((a, b) => a + b, 0) / WINDOW;
    for (let n = 0; n < WINDOW; n++) rows[row * WINDOW + n] = raw[n] - mean;
  }
  return rows;
}

function melRows(bands: number, bins: number): Float32Array {
  const bank = melFilterbank(FFT, RATE, { bands, minHz: 20, slopes: "mel" });
  const rows = new Float32Array(bands * bins);
  for (let band = 0; band < bands; band++) rows.set(bank.weights[band], band * bins + bank.first[band]);
  return rows;
}

/**
 * Zero mean and unit variance of each channel over the valid frames of each utterance (n - 1 in the variance, as s3prl has
 * it); frames of padding become zero. x [batch, frames, dim], valid bool [batch, frames] where frames are padded.
 */
export function normaliseUtterances(x: Tensor, valid: Tensor | undefined): Tensor {
  const [batch, frames] = x.shape;
  const mask = valid && ops.reshape(valid, [batch, frames, 1]);
  const only = (y: Tensor) => (mask ? ops.where(mask, y, 0) : y);
  const weights = mask ? ops.cast(mask, "f32") : ops.expand(ops.scalar(1), [1, frames, 1]);
  const count = ops.reduceSum(weights, [1], true);
  const centred = only(ops.sub(x, ops.div(ops.reduceSum(only(x), [1], true), count)));
  const squares = ops.reduceSum(ops.mul(centred, centred), [1], true);
  const deviation = ops.sqrt(ops.div(squares, ops.maximum(ops.sub(count, 1), 1)));
  return ops.div(centred, ops.add(deviation, 1e-10));
}

/**
 * Slopes over five frames (HTK book, eq. 5.16), the first and the last valid frame repeated at the ends:
 * d_t = (x_{t+1} - x_{t-1} + 2 (x_{t+2} - x_{t-2})) / 10.
 */
export function deltas(x: Tensor, valid: Tensor | undefined): Tensor {
  const [batch, frames] = x.shape;
  let full = x;
  if (valid !== undefined) {
    const mask = ops.cast(valid, "f32");
    // 1 at the last valid frame: it and the frame after it differ.
    const end = ops.sub(mask, ops.pad(ops.slice(mask, 1, 1, frames), 1, 0, 1));
    const last = ops.reduceSum(ops.mul(x, ops.reshape(end, [batch, frames, 1])), [1], true);
    full = ops.where(ops.reshape(valid, [batch, frames, 1]), x, last);
  }
  const [first, last] = [ops.slice(full, 1, 0, 1), ops.slice(full, 1, addDim(frames, -1), frames)];
  const long = ops.concat([first, first, full, last, last], 1);
  const from = (start: number) => ops.slice(long, 1, start, addDim(frames, start));
  const near = ops.sub(from(3), from(1));
  return ops.mul(ops.add(near, ops.mul(ops.sub(from(4), from(0)), 2)), 0.1);
}
