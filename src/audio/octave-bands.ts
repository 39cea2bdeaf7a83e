import { realFft } from "./fft.ts";
import { applyFilterbank, filterbank } from "./mel.ts";
import { emptyMatrix, type FrameMatrix } from "./spectra.ts";
import { windowFunction } from "./window.ts";

/**
 * Two descriptors of musical sound that the pretext-label literature takes from the Yaafe toolbox, by Yaafe's definitions
 * (Mathieu et al., "YAAFE, an easy to use and efficient audio feature extraction software", ISMIR 2010).
 */
export interface BlockOptions {
  /** Samples of a block, which is also the transform's size (default 1024). */
  blockSize?: number;
  /** Samples from block to block (default 512). */
  hop?: number;
}

/** Power spectra of Hann-windowed blocks, the first one centred on the first sample, zeros outside the signal. */
function eachBlock(
  samples: Float32Array,
  { blockSize = 1024, hop = 512 }: BlockOptions,
  dim: number,
  visit: (power: Float64Array, row: Float32Array) => void,
): FrameMatrix {
  const lead = blockSize >> 1;
  const tail = (blockSize - 1) >> 1;
  const frames = Math.max(0, Math.floor((lead + samples.length + tail - blockSize) / hop) + 1);
  const out = emptyMatrix(frames, dim);
  const fft = realFft(blockSize);
  const shape = windowFunction("hann", blockSize);
  const block = new Float64Array(blockSize);
  const re = new Float64Array(fft.bins);
  const im = new Float64Array(fft.bins);
  for (let t = 0; t < frames; t++) {
    for (let n = 0; n < blockSize; n++) block[n] = shape[n] * (samples[t * hop - lead + n] ?? 0);
    fft.forward(block, re, im);
    for (let k = 0; k < fft.bins; k++) re[k] = re[k] * re[k] + im[k] * im[k];
    visit(re, out.data.subarray(t * dim, (t + 1) * dim));
  }
  return out;
}

/** Float64's epsilon: Yaafe's guard against logarithms of zero. */
const epsilon = 2 ** -52;

export interface OctaveIntensityOptions extends BlockOptions {
  /** Hz of the lowest band's peak (default 27.5, the lowest A of a piano). */
  minHz?: number;
}

/**
 * Octave-band signal intensity: the natural logarithm of the power in triangular bands that peak (with weight 2) at
 * `minHz` times powers of two and reach to the peaks beside them (Essid, thesis, UPMC 2005). A band counts for at least
 * the square root of a millionth of the frame's strongest bin, and at least 2^-52, which keeps silence finite.
 * [frames, 1 + floor(log2(sampleRate / 2 / minHz))]
 */
export function octaveIntensity(
  samples: Float32Array,
  sampleRate: number,
  options: OctaveIntensityOptions = {},
): FrameMatrix {
  const { minHz = 27.5, blockSize = 1024 } = options;
  const bands = 1 + Math.floor(Math.log2(sampleRate / 2 / minHz));
  const peak = (i: number) =>
    i === 0 ? 0 : i > bands ? Math.floor(blockSize / 2) : (minHz * 2 ** (i - 1) * blockSize) / sampleRate;
  const bank = filterbank(bands, (blockSize >> 1) + 1, (band, bin) => {
    const [left, centre, right] = [peak(band), peak(band + 1), peak(band + 2)];
    if (bin < left || bin > right) return 0;
    return 2 * (bin >= centre ? 1 - (bin - centre) / (right - centre) : (bin - left) / (centre - left));
  });
  const energies = new Float64Array(bands);
  return eachBlock(samples, options, bands, (power, row) => {
    applyFilterbank(bank, power, energies);
    let strongest = 0;
    for (const p of power) strongest = Math.max(strongest, p);
    const least = Math.max(epsilon, Math.sqrt(strongest * 1e-6));
    for (let b = 0; b < bands; b++) row[b] = Math.log(Math.max(least, energies[b]));
  });
}

/**
 * Spectral flatness, geometric over arithmetic mean of the power, in bands of a quarter octave that overlap by 5 % and
 * start at the half-rate octave nearest 250 Hz; from 1 kHz on, groups of bins are summed first (MPEG-7 audio, ISO/IEC
 * 15938-4, AudioSpectrumFlatness). [frames, bands]
 */
export function bandFlatness(
  samples: Float32Array,
  sampleRate: number,
  options: BlockOptions = {},
): FrameMatrix {
  const bands = flatnessBands(sampleRate, options.blockSize ?? 1024);
  return eachBlock(samples, options, bands.length, (power, row) => {
    bands.forEach(({ first, groups, size }, b) => {
      let sum = 0;
      let logSum = 0;
      for (let g = 0; g < groups; g++) {
        let value = epsilon;
        for (let k = 0; k < size; k++) value += power[first + g * size + k];
        sum += value;
        logSum += Math.log(value);
      }
      row[b] = (Math.exp(logSum / groups) * groups) / sum;
    });
  });
}

const overlap = 0.05;

function flatnessBands(
  sampleRate: number,
  blockSize: number,
): { first: number; groups: number; size: number }[] {
  const top = Math.floor(sampleRate / 2);
  const bottom = top * 2 ** Math.round(Math.log2(250 / top));
  const bins = blockSize & ~1;
  const bands = [];
  for (let k = 0; ; k++) {
    const low = bottom * 2 ** (k / 4);
    const high = bottom * 2 ** ((k + 1) / 4) * (1 + overlap);
    if (low >= top || high > sampleRate / 2) return bands;
    const first = Math.round((low * (1 - overlap) * bins) / sampleRate);
    const last = Math.round((high * bins) / sampleRate);
    const size = low < 1000 ? 1 : 2 ** Math.floor(Math.log2(low / 500));
    // Rounding to whole groups may reach past the last bin.
    const groups = Math.min(Math.round((last - first + 1) / size), Math.floor((bins / 2 + 1 - first) / size));
    bands.push({ first, groups, size });
  }
}
