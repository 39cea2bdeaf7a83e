import { realFft } from "./fft.ts";
import { applyFilterbank, melFilterbank } from "./mel.ts";
import { cosineTransform, emptyMatrix, type FrameMatrix } from "./spectra.ts";
import { type WindowName, windowFunction } from "./window.ts";

/** Options of Kaldi's feature programs, with their defaults; dither is always 0 so that features are functions of the audio. */
export interface KaldiOptions {
  /** Mel bands (default 23; speech models mostly use 80). */
  bands?: number;
  /** Milliseconds (default 25 and 10). */
  frameLength?: number;
  frameShift?: number;
  /** Default "povey". */
  window?: Exclude<WindowName, "blackman">;
  /** Default 0.97. */
  preemphasis?: number;
  /** Hz (default 20). */
  lowHz?: number;
  /** Hz; zero or less counts down from half the sample rate (default 0). */
  highHz?: number;
  /** Only frames that fit into the signal (default); otherwise one every shift, the signal mirrored at its ends. */
  snipEdges?: boolean;
  /** Subtract each frame's mean (default true). */
  removeDcOffset?: boolean;
  /** Kaldi reads 16-bit integers: samples in [-1, 1) are multiplied by this first (default 32768). */
  scale?: number;
}

/** Float32's epsilon, Kaldi's least energy. */
const epsilon = 2 ** -23;

/** Log mel energies as `compute-fbank-feats` and `torchaudio.compliance.kaldi.fbank` give them, [frames, bands]. */
export function kaldiFbank(
  samples: Float32Array,
  sampleRate: number,
  options: KaldiOptions = {},
): FrameMatrix {
  const { bands = 23, frameLength = 25, frameShift = 10, window = "povey", preemphasis = 0.97 } = options;
  const { lowHz = 20, highHz = 0, snipEdges = true, removeDcOffset = true, scale = 32768 } = options;
  const size = Math.floor((sampleRate * frameLength) / 1000);
  const shift = Math.floor((sampleRate * frameShift) / 1000);
  if (size < 2 || shift < 1)
    throw new RangeError(`frames of ${frameLength} ms every ${frameShift} ms are too short`);
  const fft = realFft(2 ** Math.ceil(Math.log2(size)));
  const maxHz = highHz > 0 ? highHz : sampleRate / 2 + highHz;
  const bank = melFilterbank(fft.size, sampleRate, { bands, minHz: lowHz, maxHz, slopes: "mel" });
  const shape = windowFunction(window, size, false);
  const frames = snipEdges
    ? Math.max(0, Math.floor((samples.length - size) / shift) + 1)
    : Math.floor((samples.length + (shift >> 1)) / shift);
  const lead = snipEdges ? 0 : (size >> 1) - (shift >> 1);
  const out = emptyMatrix(frames, bands);
  const frame = new Float64Array(size);
  const re = new Float64Array(fft.bins);
  const im = new Float64Array(fft.bins);
  const energies = new Float64Array(bands);
  for (let t = 0; t < frames; t++) {
    const from = t * shift - lead;
    let mean = 0;
    for (let n = 0; n < size; n++) mean += frame[n] = scale * samples[mirror(from + n, samples.length)];
    mean = removeDcOffset ? mean / size : 0;
    // From the end, so that each sample's predecessor is still the original one; the first precedes itself.
    for (let n = size - 1; n >= 0; n--)
      frame[n] = (frame[n] - mean - preemphasis * (frame[Math.max(0, n - 1)] - mean)) * shape[n];
    fft.forward(frame, re, im);
    for (let k = 0; k < fft.bins; k++) re[k] = re[k] * re[k] + im[k] * im[k];
    applyFilterbank(bank, re, energies);
    for (let b = 0; b < bands; b++) out.data[t * bands + b] = Math.log(Math.max(epsilon, energies[b]));
  }
  return out;
}

/** Mirrors an index at the ends of a signal, the end samples doubled: 2 1 0 | 0 1 2. */
function mirror(at: number, count: number): number {
  let n = at;
  while (n < 0 || n >= count) n = n < 0 ? -n - 1 : 2 * count - 1 - n;
  return n;
}

export interface KaldiMfccOptions extends KaldiOptions {
  /** Cepstral coefficients, the zeroth counted (default 13). */
  coefficients?: number;
  /** Liftering of the coefficients (default 22; 0 for none). */
  lifter?: number;
}

/** Cepstral coefficients as `compute-mfcc-feats --use-energy=false` gives them, [frames, coefficients]. */
export function kaldiMfcc(
  samples: Float32Array,
  sampleRate: number,
  options: KaldiMfccOptions = {},
): FrameMatrix {
  const { coefficients = 13, lifter = 22 } = options;
  const out = cosineTransform(kaldiFbank(samples, sampleRate, options), coefficients);
  if (lifter > 0)
    for (let i = 0; i < out.data.length; i++)
      out.data[i] *= 1 + (lifter / 2) * Math.sin((Math.PI * (i % coefficients)) / lifter);
  return out;
}
