/** Mel scales: O'Shaughnessy's formula as in HTK and Kaldi, or Slaney's Auditory Toolbox (linear below 1 kHz). */
export type MelScale = "htk" | "slaney";

// Slaney: 200/3 Hz a mel up to 1 kHz, from there 27 mels for a factor of 6.4.
const hzPerMel = 200 / 3;
const logStep = Math.log(6.4) / 27;

export function hzToMel(hz: number, scale: MelScale = "htk"): number {
  if (scale === "htk") return 2595 * Math.log10(1 + hz / 700);
  return hz < 1000 ? hz / hzPerMel : 15 + Math.log(hz / 1000) / logStep;
}

export function melToHz(mel: number, scale: MelScale = "htk"): number {
  if (scale === "htk") return 700 * (10 ** (mel / 2595) - 1);
  return mel < 15 ? mel * hzPerMel : 1000 * Math.exp((mel - 15) * logStep);
}

/** Weights of spectral bins, of which each band uses a contiguous stretch. */
export interface Filterbank {
  bands: number;
  bins: number;
  /** First bin of each band [bands]. */
  first: Int32Array;
  /** The weights of each band's bins from its first on. */
  weights: Float64Array[];
}

export interface MelOptions {
  /** Number of bands (default 80). */
  bands?: number;
  /** Hz (default 0). */
  minHz?: number;
  /** Hz (default half the sample rate). */
  maxHz?: number;
  /** Default "htk". */
  scale?: MelScale;
  /** "slaney" divides each triangle by half its width in Hz, so that all have one area (default "none"). */
  norm?: "none" | "slaney";
  /** Where triangles are straight: over Hz as in torchaudio and librosa (default), or over mel as in Kaldi. */
  slopes?: "hz" | "mel";
}

/** Triangular filters, evenly spaced on the mel scale, for the bins of a transform of `fftSize` at `sampleRate` Hz. */
export function melFilterbank(fftSize: number, sampleRate: number, options: MelOptions = {}): Filterbank {
  const {
    bands = 80,
    minHz = 0,
    maxHz = sampleRate / 2,
    scale = "htk",
    norm = "none",
    slopes = "hz",
  } = options;
  if (!(minHz >= 0 && maxHz > minHz && maxHz <= sampleRate / 2))
    throw new RangeError(`mel bands from ${minHz} to ${maxHz} Hz do not fit below ${sampleRate / 2} Hz`);
  const low = hzToMel(minHz, scale);
  const step = (hzToMel(maxHz, scale) - low) / (bands + 1);
  const overHz = slopes === "hz";
  const edge = (i: number) => (overHz ? melToHz(low + i * step, scale) : low + i * step);
  const place = (bin: number) => {
    const hz = (bin * sampleRate) / fftSize;
    return overHz ? hz : hzToMel(hz, scale);
  };
  return filterbank(bands, Math.floor(fftSize / 2) + 1, (band, bin) => {
    const [left, centre, right] = [edge(band), edge(band + 1), edge(band + 2)];
    const height = norm === "slaney" ? 2 / (right - left) : 1;
    return (
      height *
      Math.max(0, Math.min((place(bin) - left) / (centre - left), (right - place(bin)) / (right - centre)))
    );
  });
}

/** Builds a filterbank from its weights, dropping the zeros around each band. */
export function filterbank(
  bands: number,
  bins: number,
  weight: (band: number, bin: number) => number,
): Filterbank {
  const first = new Int32Array(bands);
  const weights = Array.from({ length: bands }, (_, band) => {
    const row = Float64Array.from({ length: bins }, (_, bin) => weight(band, bin));
    const begin = row.findIndex((w) => w !== 0);
    first[band] = Math.max(0, begin);
    return begin < 0 ? new Float64Array(0) : row.slice(begin, row.findLastIndex((w) => w !== 0) + 1);
  });
  return { bands, bins, first, weights };
}

/** output[b] = sum_k weights[b][k] spectrum[first[b] + k] */
export function applyFilterbank(bank: Filterbank, spectrum: ArrayLike<number>, output: Float64Array): void {
  for (let band = 0; band < bank.bands; band++) {
    const weights = bank.weights[band];
    const first = bank.first[band];
    let sum = 0;
    for (let k = 0; k < weights.length; k++) sum += weights[k] * spectrum[first + k];
    output[band] = sum;
  }
}
